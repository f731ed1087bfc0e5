"""What every channel does alike: what is retried, what errors may show, what log data cannot do, what people read.

The same questions to every entry of `conformance/registry.py`. Where one has no meaning for a kind, the entry says why.
"""

import dataclasses
import logging
from typing import Any

import pytest

from sinks.channels import CHANNELS, destinations, kind_of
from sinks.notebook import KeepsNotebook
from sinks.notification import Channel, DeliveryError, Notification
from tests.fakes.notifications import notification, story
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There
from tests.sinks.conformance.registry import ENTRIES, each, every, marked

pytestmark = pytest.mark.slow

QUESTIONS = ("secrets", "answers", "waits", "breaks", "away", "false_success", "echoes", "passing", "injections", "moved")
LETTERS = ("x", "<", "é", "\U0001f600", "*", '"', "\\", "{", "\n")
SIZES = (1, 127, 150, 151, 255, 256, 257, 1024, 1025, 3001, 25_001, 200_000)


def refused(channel: Channel, memory: dict[str, str], said: Notification | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        channel.send(said or notification(), memory)
    return raised.value


def channel_of(entry: Entry, there: There, case: Case) -> Channel:
    """Give the channel that a case is for: its options changed, its patience short where it waits in vain."""
    given = there.options if case.change is None else case.change(there.options)
    return entry.channel(given, **({"timeout_ms": entry.patience_ms} if case.slow else {}))


def meets(
    entry: Entry, there: There, case: Case, usual: Channel | None = None
) -> tuple[Channel, DeliveryError, dict[str, str]]:
    """Let a channel meet a fault, the `usual` one where the case asks for no other; gives it, its error and its memory."""
    channel = usual if usual and not (case.slow or case.change) else channel_of(entry, there, case)
    memory: dict[str, str] = {}
    there.meet(case.fault)
    error = refused(channel, memory)
    there.mend()
    return channel, error, memory


def sent(entry: Entry, there: There, before: Channel, memory: dict[str, str]) -> dict[str, str]:
    """Send it again, by a channel that waits as long as usual."""
    channel = entry.channel(there.options)
    if isinstance(channel, KeepsNotebook) and isinstance(before, KeepsNotebook):
        channel.notebook = before.notebook
    return channel.send(notification(), memory)


def heard(there: There) -> list[tuple[str, str]]:
    return [(told.rule, told.status) for told in there.told()]


def test_every_kind_of_channel_has_an_entry() -> None:
    assert {entry.kind for entry in ENTRIES} == set(CHANNELS)
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered_or_has_no_meaning_for_a_reason(question: str) -> None:
    answers = {entry.name: getattr(entry, question) for entry in ENTRIES}
    reasons = {name: given.reason if isinstance(given, NotMeant) else "asked" for name, given in answers.items() if given != ()}
    assert (set(reasons), [name for name, reason in reasons.items() if not reason]) == ({e.name for e in ENTRIES}, [])
    assert "asked" in reasons.values()


def test_configured_channels_become_destinations_under_their_names() -> None:
    console = CHANNELS["console"].options()
    made = destinations({"console": console, "pager": console})
    assert ([each.name for each in made], kind_of(console)) == (["console", "pager"], CHANNELS["console"])


@pytest.mark.parametrize("entry", every())
def test_each_answer_is_retried_or_final(entry: Entry, there: There) -> None:
    """One channel meets them all; what was refused was told to nobody, and its next attempt is taken."""
    assert not isinstance(entry.answers, NotMeant)
    at_once = [case for case in entry.answers if " at call " not in case.name]
    got, want = {}, {}
    channel = entry.channel(there.options)
    for case in at_once:
        error = meets(entry, there, case, channel)[1]
        want[case.name] = (case.retried, case.code or error.code, True)
        got[case.name] = (error.retryable, error.code, case.words in str(error) and "planted" not in f"{error} {error.code}")
    assert {name: found for name, found in got.items() if found != want[name]} == {}
    assert heard(there) == []
    channel.send(notification(), {})
    assert heard(there) == [("high_error_rate", "firing")]


@pytest.mark.parametrize(("entry", "case"), [param for param in each("answers") if " at call " in param.id])
def test_an_answer_to_a_later_call_of_an_attempt_counts_alike(entry: Entry, case: Case, there: There) -> None:
    channel, error, memory = meets(entry, there, case)
    assert (error.retryable, case.words in str(error)) == (case.retried, True)
    channel.send(notification(), memory)
    assert (heard(there), there.wrong()) == ([("high_error_rate", "firing")], [])


@pytest.mark.parametrize(("entry", "case"), each("waits"))
def test_who_says_when_to_come_again_is_heard(entry: Entry, case: Case, there: There) -> None:
    got = meets(entry, there, case)[1].retry_after
    if case.wait is None:
        assert got is None
    else:
        assert got is not None
        assert case.wait[0] <= got <= case.wait[1]


@pytest.mark.parametrize(("entry", "case"), each("breaks"))
def test_a_time_out_or_a_broken_connection_is_retried_and_repeats_little(entry: Entry, case: Case, there: There) -> None:
    """Whether it broke before or after the message was taken: what can be recognised is read once, else twice at most."""
    channel, error, memory = meets(entry, there, case)
    assert (error.retryable, error.code if case.code else "", case.words in str(error)) == (True, case.code, True)
    before = len(there.told())
    sent(entry, there, channel, memory)
    assert heard(there) == [("high_error_rate", "firing")] * (entry.repeats if before else 1)
    assert there.wrong() == []


@pytest.mark.parametrize(("entry", "case"), each("away"))
def test_nobody_there_is_an_error_of_its_own(entry: Entry, case: Case, there: There) -> None:
    channel = channel_of(entry, there, case)
    there.leave()
    error = refused(channel, {})
    assert (error.retryable, error.code, case.words in str(error)) == (case.retried, case.code, True)


@pytest.mark.parametrize(("entry", "case"), each("false_success"))
def test_a_refusal_that_looks_like_success_is_a_failure(entry: Entry, case: Case, there: There) -> None:
    channel, error, memory = meets(entry, there, case)
    assert (error.retryable, error.code) == (case.retried, case.code)
    channel.send(notification(), memory)
    assert heard(there) == [("high_error_rate", "firing")]


@pytest.mark.parametrize(("entry", "case"), each("echoes"))
def test_no_error_log_or_representation_holds_a_secret(
    entry: Entry, case: Case, there: There, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not isinstance(entry.secrets, NotMeant)
    with caplog.at_level(logging.DEBUG):
        channel, error, memory = meets(entry, there, case)
        sent(entry, there, channel, memory)
    assert error.retryable == case.retried
    chain: list[BaseException | None] = [error, error.__cause__]
    if not error.__suppress_context__:
        chain.append(error.__context__)
    shown = [repr(channel), repr(there.options), str(there.options), caplog.text, *capfd.readouterr()]
    shown += [f"{each!r} {each} {getattr(each, 'code', '')}" for each in chain]
    assert [secret for secret in entry.secrets if secret in " ".join(shown)] == []
    assert [secret for secret in entry.secrets if secret not in _deep(there.options)] == []


def _deep(options: Any) -> str:
    """Write all values of the options: what is not among them could not be found elsewhere either."""
    return str(dataclasses.asdict(options))


@pytest.mark.parametrize(("entry", "mark"), each("injections"))
def test_log_data_injects_nothing(entry: Entry, mark: str, there: There) -> None:
    text = f"before {mark} behind"
    channel = entry.channel(there.options)
    memory: dict[str, str] = {}
    for said in story("first", "repeat", "resolved"):
        named = {"title": text, "text": text, "key": {"path": text, text: "x"}, "labels": {text: text}}
        exemplars = [{"reason": text, "ray_id": text, "event_time": text}]
        evidence = {"exemplars": exemplars, "contribution": [{text: text}]}
        memory = channel.send(dataclasses.replace(said, **named, evidence=evidence), memory)
    assert there.wrong() == []
    assert {status for _, status in heard(there)} == {"firing", "resolved"}
    assert ("behind" in there.shown()) is entry.shows_logs


@pytest.mark.parametrize(
    ("entry", "letter"),
    [
        marked(entry, letter, name=f"{entry.name}: {letter!a}")
        for entry in ENTRIES
        for letter in (LETTERS[:1] if entry.too_large else LETTERS)
    ],
)
def test_a_text_of_any_length_is_taken_or_refused_for_good(entry: Entry, letter: str, there: There) -> None:
    channel = entry.channel(there.options)
    for place, size in enumerate(entry.too_large or SIZES):
        said = long(letter, size, place)
        if entry.too_large:
            error = refused(channel, {}, said)
            assert (error.retryable, error.code) == (False, "MSG_SIZE_TOO_LARGE")
            channel.send(notification(id=f"{place:032x}"), {})
        else:
            channel.send(said, {})
    assert (there.wrong(), len(there.told()) > 0) == ([], True)


def long(letter: str, size: int, place: int) -> Notification:
    """Make a notification of which whatever may be long is."""
    text = letter * size
    shorter = text[:5000]
    return notification(
        id=f"{place:032x}",
        title=text,
        text=text,
        key={f"{n}{text[:50]}": text for n in range(3)},
        labels={f"{n}{text[:100]}": shorter for n in range(30)},
        evidence={"exemplars": [{"reason": shorter, "ray_id": shorter} for _ in range(40)]},
        dedup_key=f"edgewatch/{text[:500]}/high_error_rate/{place}",
        environment=f"production{text[:300]}",
    )


@pytest.mark.parametrize("entry", every())
def test_people_read_what_they_need(entry: Entry, there: There) -> None:
    entry.channel(there.options).send(notification(), {})
    assert [words for words in entry.reads if words not in there.shown()] == []


@pytest.mark.parametrize("entry", every())
def test_a_whole_episode_goes_through(entry: Entry, there: There) -> None:
    channel = entry.channel(there.options)
    memory: dict[str, str] = {}
    for said in story("first", "repeat", "escalated", "de-escalated", "resolved", "reopened", "forgotten"):
        memory = channel.send(said, memory)
    statuses = [status for _, status in heard(there)]
    turns = [status for place, status in enumerate(statuses) if statuses[:place][-1:] != [status]]
    assert (turns, there.wrong()) == (["firing", "resolved"] * 2, [])
