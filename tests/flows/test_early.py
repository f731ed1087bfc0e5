"""Early messages over crashes: whatever is read again, in whatever order, nobody is left with an incident that is not one."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.controls import Controls, SilenceEvent, append
from flows.early_log import EarlyLog
from flows.early_word import Word
from flows.policy import PolicyOptions
from sinks.notification import Notification
from tests.flows.history import START, Settings
from tests.flows.test_event import METRIC, ROUTES, STEP, A, B, alerting, event, open_episodes, rule, window


class Live:
    """A run with a folder: what leaves is known by its id, a crash goes back to the last snapshot."""

    def __init__(self, folder):
        self._folder = folder
        self._closed: dict[str, int] = {}
        self._kept: Any = (None, frozenset())
        self.left: dict[str, tuple[str, Notification]] = {}  # id/channel -> (channel, notification), as a spool takes it
        self.early: dict[str, str] = {}  # id -> episode
        self.lines: dict[int, list[bytes]] = {}
        self.crash()

    def crash(self):
        controls = Controls(self._folder / "controls.ndjson", self._closed, live=True)
        log = EarlyLog(self._folder / "early.ndjson", self._closed)
        self._judge = Alerting(CONFIG, PolicyOptions(), controls, log)
        state, done = self._kept
        self.done = set(done)
        if state is not None:
            self._judge.restore(state)

    def snapshot(self):
        self._kept = self._judge.snapshot(), frozenset(self.done)

    def hear(self, number, key, *, lost):
        said = self._judge.early(event(number, key))
        if not lost:
            self._leave(said)
            self.early |= {each.id: each.episode for each in said}

    def close(self, number, counts):
        decided = self._judge.evaluate(window(number, counts))
        self.lines[number] = lines_of(decided)
        self._closed["d"] = max(self._closed.get("d", 0), START + (number + 1) * STEP)
        self._leave(decided.messages)

    def silence(self, number, service):
        name, match = f"{service}{number}", (f"service={service}",)
        asked = SilenceEvent(id=name, match=match, author="me", reason="x", start=0, end=2**62, at=0)
        append(self._folder / "controls.ndjson", [asked])

    def _leave(self, said):
        for each in said:
            for channel in each.channels:
                self.left.setdefault(f"{each.id}/{channel}", (channel, each))

    def heard(self):
        """Give what each channel heard of each episode: reasons, in order."""
        out: dict[tuple[str, str], list[str]] = {}
        for channel, each in self.left.values():
            out.setdefault((channel, each.episode), []).append(each.reason)
        return out


CONFIG = Settings((rule(),), metrics=(METRIC,), routes=ROUTES)


def lines_of(decided):
    return [each.line() for each in (*decided.notifications, *decided.transitions)]


def read(live, history, plan):
    """Read what was not read yet, and close windows in turn; stop where the plan has a crash."""
    random, ahead, extras, crash = plan
    steps = order_of(history, ahead, random)
    for place, step in enumerate(each for each in steps if each not in live.done):
        extra = extras[place % len(extras)]
        if place == crash:
            live.crash()
            return
        live.done.add(step)
        if len(step) == 3:
            # What a crash loses was not in a snapshot.
            live.hear(step[0], step[1], lost=extra == "lost" and place + 1 == crash)
            continue
        (number,) = step
        if extra in "ab" and number not in live.lines:
            live.silence(number, extra)
        live.close(number, history[number])
        if extra == "snapshot":
            live.snapshot()


def order_of(history, ahead, random):
    """Give events (window, key, number) and closes (window,): each window closes after its events, others are read before."""
    events = [[(n, key, i) for key, count in sorted(counts.items()) for i in range(count)] for n, counts in enumerate(history)]
    out, upto = [], 0
    for number in range(len(history)):
        due = [each for one in events[upto : number + ahead + 1] for each in one]
        upto = max(upto, number + ahead + 1)
        random.shuffle(due)
        out += [*due, (number,)]
    return out


HISTORY = st.lists(st.dictionaries(st.sampled_from([A, B]), st.integers(0, 2)), min_size=2, max_size=7)
EXTRAS = st.lists(st.sampled_from(["", "", "snapshot", "lost", "a", "b"]), min_size=5, max_size=12)
PLANS = st.tuples(st.randoms(use_true_random=False), st.integers(0, 2), EXTRAS, st.integers(0, 25))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(HISTORY, st.lists(PLANS, min_size=1, max_size=4))
def test_whoever_heard_early_is_confirmed_or_told_that_it_is_over_whatever_is_read_again(history, plans):
    with tempfile.TemporaryDirectory() as name:
        live = Live(Path(name))
        for plan in plans:
            read(live, history, plan)
        read(live, history, (*plans[0][:3], None))
        plain = Alerting(CONFIG, PolicyOptions(), Controls(Path(name) / "controls.ndjson"))
        decided = [plain.evaluate(window(number, counts)) for number, counts in enumerate(history)]
    assert [live.lines[number] for number in range(len(history))] == [lines_of(each) for each in decided]
    said = {each.id for one in decided for each in one.messages}
    heard = live.heard()
    ended = {episode for (_, episode), reasons in heard.items() if "resolved" in reasons}
    assert [each for each, episode in live.early.items() if each not in said and episode not in ended] == []
    assert {episode for (_, episode), reasons in heard.items() if reasons[-1] != "resolved"} <= open_episodes(plain)
    for reasons in heard.values():  # nobody is paged twice for what he has open
        assert all("resolved" in pair for pair in pairwise(reasons) if pair[1] == "first")


def word(number):
    said = alerting().early(event(number))[0]
    return Word(dataset="d", end=START + (number + 1) * STEP, key=A, said=said)


def test_the_log_gives_the_words_of_windows_that_are_not_decided_and_cuts_off_a_torn_line(tmp_path):
    path = tmp_path / "early.ndjson"
    EarlyLog(path, {}).add([word(0), word(1)])
    with path.open("ab") as file:
        file.write(b'{"dataset":"d","en')
    log = EarlyLog(path, {"d": START + STEP})
    assert log.since(None) == [word(1)]
    assert log.since({}) == [word(0), word(1)]
    log.add([word(2)])
    assert EarlyLog(path, {}).since({"d": START + STEP}) == [word(1), word(2)]


def test_the_log_of_a_long_run_keeps_its_last_words(tmp_path):
    log = EarlyLog(tmp_path / "early.ndjson", {}, kept=2)
    for number in range(8):
        log.add([word(number)])
    kept = log.since({})
    assert kept[-2:] == [word(6), word(7)]
    assert len(kept) <= 5
