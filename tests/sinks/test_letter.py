"""Letters: what people see, what threads them, and what log data cannot do to a mail."""

import dataclasses
import email
import email.policy
import re
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.letter import Letter, mailbox, subject_of
from sinks.notification import Notification
from tests.fakes.notifications import notification, story

NASTY = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> </td></table> \"quoted\" 'single' & &amp; {{ 7 * 7 }} {% if %}"
    "\r\nBcc: evil@example.com\r\n\r\n\x1b[31mred\x1b[0m \u202etxet \u2028 \x85 \x00 \U0001f600 =?utf-8?q?x?= " + "é" * 50
)
LETTER = Letter(notification=notification(), sender=mailbox("alerts@example.com"), to=[mailbox("a@x.org")], subject="")
LINKED = {"team": "edge", "runbook": "https://wiki.example.com/run?a=1&b=2"}


class Page(HTMLParser):
    """The tags, links and shown text of a page; every tag must be closed in its order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.shown: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] not in {"style", "title"}:
            self.shown.append(data.strip())

    @property
    def links(self) -> list[str | None]:
        return [value for name, value in self.attributes if name in {"href", "src"}]


def letter(said: Notification, *, sender: str = "edgewatch <alerts@example.com>", to: tuple[str, ...] = ("a@x.org",)) -> bytes:
    boxes = [mailbox(each) for each in to]
    return Letter(notification=said, sender=mailbox(sender), to=boxes, subject=subject_of(said, "[edgewatch]")).to_bytes()


def read(raw: bytes) -> EmailMessage:
    made = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(made, EmailMessage)
    assert made.defects == []
    return made


def part(raw: bytes, kind: str) -> str:
    content: str = read(raw).get_body((kind,)).get_content()
    return content


def page(**changes: Any) -> str:
    return part(letter(notification(**changes)), "html")


def test_the_plain_part_comes_first_and_reads_well() -> None:
    raw = letter(notification(labels=LINKED))
    assert [each.get_content_type() for each in read(raw).iter_parts()] == ["text/plain", "text/html"]
    assert part(raw, "plain").splitlines() == [
        "CRITICAL: high_error_rate on api.example.com",
        "production | 2025-12-01 00:05 UTC",
        "",
        "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "",
        "Rule      high_error_rate",
        "Key       ClientRequestHost=api.example.com",
        "Severity  critical",
        "team      edge",
        "",
        "Evidence",
        "  path /api/checkout contributes 71 % of the excess errors (640 of 902)",
        "  error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
        "",
        "runbook: https://wiki.example.com/run?a=1&b=2",
        "",
        "edgewatch | episode 0123456789abcdef:1764547200",
    ]


def test_the_page_shows_the_same() -> None:
    raw = letter(notification(labels=LINKED))
    shown = " ".join(Page(part(raw, "html")).shown)
    words = re.findall(r"[\w:/.=]+", part(raw, "plain").replace("CRITICAL", "Critical").partition("runbook:")[0])
    assert [word for word in words if word.rstrip(":") not in shown] == []
    assert Page(part(raw, "html")).links == [LINKED["runbook"]]


def test_first_steps_come_before_the_facts_and_their_runbook_is_a_button() -> None:
    runbook = {"link": "https://wiki.example.com/errors.md", "steps": ["Look <b>here</b>.", "Roll back."]}
    raw = letter(notification(evidence={"runbook": runbook}))
    assert part(raw, "plain").splitlines()[4:9] == [
        *("", "First steps", "  1. Look <b>here</b>.", "  2. Roll back.", "Runbook: https://wiki.example.com/errors.md"),
    ]
    assert Page(part(raw, "html")).links == [runbook["link"]]
    shown = " ".join(Page(part(raw, "html")).shown)
    assert "First steps 1. Look <b>here</b>. 2. Roll back. Runbook" in re.sub(r"\s+", " ", shown)
    named = letter(notification(evidence={"runbook": {"link": "docs/errors.md", "steps": []}}))
    assert ("Runbook: docs/errors.md" in part(named, "plain"), Page(part(named, "html")).links) == (True, [])


def test_the_headers_keep_answers_away_and_let_readers_filter() -> None:
    mail = read(letter(notification(), to=("a@x.org", "Ops <b@x.org>")))
    got = {name: mail[name] for name in mail.keys() if name not in {"Date", "Content-Type", "MIME-Version"}}  # noqa: SIM118
    assert got == {
        "From": "edgewatch <alerts@example.com>",
        "To": "a@x.org, Ops <b@x.org>",
        "Subject": "[edgewatch] High error rate on api.example.com (production)",
        "Message-ID": f"<{'a' * 32}@example.com>",
        "In-Reply-To": "<episode-0123456789abcdef-1764547200@example.com>",
        "References": "<episode-0123456789abcdef-1764547200@example.com>",
        "List-Id": "<production.edgewatch.example.com>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-Edgewatch-Rule": "high_error_rate",
        "X-Edgewatch-Severity": "critical",
        "X-Edgewatch-Status": "firing",
        "Importance": "high",
    }


def test_only_what_is_critical_and_fires_is_important() -> None:
    calm = [notification(severity="warning"), notification(status="resolved", reason="resolved")]
    assert [read(letter(said))["Importance"] for said in calm] == [None, None]


def test_identifiers_stay_whole_however_long_the_domain_is() -> None:
    domain = "alerts." + "very-long-label." * 9 + "example.com"
    raw = letter(notification(), sender=f"alerts@{domain}")
    assert f"\r\nReferences: <episode-0123456789abcdef-1764547200@{domain}>\r\n".encode() in raw
    assert f"\r\nIn-Reply-To: <episode-0123456789abcdef-1764547200@{domain}>\r\n".encode() in raw
    assert f"\r\nMessage-ID: <{'a' * 32}@{domain}>\r\n".encode() in raw


def test_a_whole_episode_has_one_subject_and_one_thread() -> None:
    reasons = ("first", "repeat", "escalated", "de-escalated", "resolved", "reopened", "forgotten")
    mails = [read(letter(said)) for said in story(*reasons, severities=("warning",) * 2 + ("critical",) * 5)]
    assert {(mail["Subject"], mail["References"]) for mail in mails} == {
        ("[edgewatch] High error rate on api.example.com (production)", "<episode-0123456789abcdef-1764547200@example.com>")
    }
    assert len({mail["Message-ID"] for mail in mails}) == len(reasons)


def test_another_episode_is_another_thread() -> None:
    assert read(letter(notification(episode="0123456789abcdef:1764550000")))["References"].startswith(
        "<episode-0123456789abcdef-1764550000@"
    )


@pytest.mark.parametrize(
    ("changes", "word", "colour"),
    [
        ({}, "Critical", "#d92d20"),
        ({"severity": "warning"}, "Warning", "#dc6803"),
        ({"status": "resolved", "reason": "resolved"}, "Resolved", "#079455"),
        ({"status": "resolved", "reason": "fired and resolved"}, "Resolved", "#079455"),
        ({"status": "resolved", "reason": "forgotten"}, "Closed", "#667085"),
        ({"severity": "info"}, "Info", "#667085"),
    ],
)
def test_the_bar_and_the_word_say_how_it_stands(changes: dict[str, Any], word: str, colour: str) -> None:
    html = page(**changes)
    assert re.findall(r'<td bgcolor="(#\w+)"', html) == [colour]
    assert word in Page(html).shown


def test_how_it_stands_opens_the_body_where_inboxes_show_it() -> None:
    shown = Page(page(reason="repeat", text="Not over after 1 h.")).shown
    assert shown[0].startswith("Critical, still firing: Not over after 1 h.")


def test_what_is_absent_leaves_no_trace() -> None:
    bare: dict[str, Any] = {
        "value": None,
        "threshold": None,
        "evidence": {},
        "labels": {},
        "key": {},
        "text": "",
        "environment": "",
    }
    shown = Page(page(**bare)).shown
    assert [name for name in ("Value", "Threshold", "Evidence", "None", "-") if name in shown] == []
    assert [shown[shown.index("Key") + 1], "all" in part(letter(notification(**bare)), "plain")] == ["all", True]


def test_a_page_is_for_light_and_dark_and_loads_nothing() -> None:
    html = page(labels=LINKED)
    assert "prefers-color-scheme: dark" in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert Page(html).tags.isdisjoint({"img", "script", "link", "iframe", "form"})
    assert "url(" not in html


def test_log_data_writes_neither_headers_nor_markup() -> None:
    said = notification(
        title=NASTY,
        text=NASTY,
        rule=NASTY,
        key={"path": NASTY, NASTY: "x"},
        labels={NASTY: NASTY, "path": NASTY},
        evidence={"exemplars": [{"reason": NASTY, "ray_id": NASTY, "event_time": NASTY}], "contribution": [{NASTY: NASTY}]},
        environment=NASTY,
        reason=NASTY,
        episode=NASTY,
        id=NASTY,
    )
    raw = letter(said)
    mail = read(raw)
    assert mail["Bcc"] is None
    assert max(len(line) for line in raw.split(b"\r\n")) < 998
    assert len(mail["Subject"]) < 200
    html = Page(part(raw, "html"))
    assert html.tags <= {"html", "head", "meta", "title", "style", "body", "div", "table", "tr", "td", "span", "br"}
    assert [name for name, _ in html.attributes if name.startswith("on")] == []
    shown = "".join(html.shown) + part(raw, "plain")
    assert [mark for mark in "\x1b\u202e\u2028\x85\x00" if mark in shown] == []
    assert "{{ 7 * 7 }}" in shown


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", 'https://x.org/"onmouseover="x', "https://x.org/ y", "ftp://x.org", "https://", "//x.org/y"]
)
def test_what_is_no_link_is_shown_as_text(link: str) -> None:
    assert Page(page(labels={"runbook": link})).links == []


def test_a_link_in_the_logs_is_no_link_in_the_mail() -> None:
    key = {"url": "https://evil.example/log-in"}
    html = Page(page(key=key, labels=key))
    assert (html.links, html.shown.count("url=https://evil.example/log-in")) == ([], 1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 189, 200, 3001, 200_000])
@pytest.mark.parametrize("letter_", ["x", "<", "é", "\U0001f600", " "])
def test_any_size_makes_a_mail_of_bounded_size(size: int, letter_: str) -> None:
    long = letter_ * size
    said = notification(
        title=long,
        text=long,
        rule=long[:200],
        key={f"{n}{long[:50]}": long for n in range(3)},
        labels={f"{n}": long for n in range(40)},
        evidence={"exemplars": [{"reason": long, "ray_id": long} for _ in range(40)]},
        environment=long,
    )
    raw = letter(said)
    assert len(read(raw)["Subject"]) < 200
    assert len(raw) < 400_000
    assert len(part(raw, "html").encode()) < 102_000  # where Gmail cuts


def test_a_subject_that_is_not_ascii_comes_through() -> None:
    said = notification(rule="zu_viele_fehler", key={"host": "münchen.example.com"}, environment="größe")
    raw = letter(said)
    assert raw.isascii()
    assert read(raw)["Subject"] == "[edgewatch] Zu viele fehler on münchen.example.com (größe)"


def test_addresses_are_read_and_domains_made_ascii() -> None:
    box = mailbox("Jürgen Groß <ops@münchen.example>")
    assert (box.name, box.address, box.ascii) == ("Jürgen Groß", "ops@xn--mnchen-3ya.example", True)
    mail = read(letter(notification(), to=("Jürgen Groß <ops@münchen.example>", "jürgen@x.org")))
    assert mail["To"] == "Jürgen Groß <ops@xn--mnchen-3ya.example>, jürgen@x.org"


def test_names_and_long_addresses_stay_apart() -> None:
    long = tuple(f"{n}{'a' * 59}@{'label.' * 10}example.com" for n in range(3))
    to = ("Smith, Bob <bob@x.org>", "Groß, Jürgen <ops@x.org>", *long)
    read_back = read(letter(notification(), to=to))["To"].addresses
    assert [(box.display_name, box.addr_spec) for box in read_back] == [
        ("Smith, Bob", "bob@x.org"),
        ("Groß, Jürgen", "ops@x.org"),
        *(("", each) for each in long),
    ]


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from(["", "x" * 90, "é" * 60, "=?utf-8?q?=0D=0ABcc:?="]))
def test_a_subject_comes_through_whatever_it_is(title: str, more: str) -> None:
    subject = subject_of(notification(), "[edgewatch]", title + more)
    made = dataclasses.replace(LETTER, subject=subject).to_bytes()
    assert (read(made)["Subject"], made.isascii(), len(subject) < 200) == (subject, True, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@x.org",
        "ann@",
        "a b@x.org",
        "a@x.org, b@x.org",
        "a@x.org\r\nBcc: e@x.org",
        "<a@x.org",
        "a@x..org",
        '"a"@x.org',
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|domain"):
        mailbox(text)


def test_a_title_of_ones_own_becomes_the_subject_on_one_line() -> None:
    assert subject_of(notification(environment=""), "", "Down:\r\nBcc: x") == "Down:  Bcc: x"
