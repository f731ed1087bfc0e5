"""Letter: a notification as a mail: headers that thread and filter, the text, and the same as HTML.

The subject says what is wrong and where, nothing that changes: Gmail threads by subject too. How things stand is the first
thing in the body, which is what an inbox shows beside the subject. Every mail of an episode answers one message that never
was, so that they meet in one thread whichever of them arrived (RFC 5322 3.6.4).

Why the headers are written here: the standard library decodes what looks encoded in a value (a CR LF of the logs among it), and
encodes the commas between long addresses and identifiers that are longer than a line.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

from sinks.notification import Notification, key_text, one_line, provenance_lines, rfc3339
from sinks.runbook import Runbook, dashboard_of, evidence_beside, runbook_of

_SUBJECT, _TITLE, _TEXT, _NAME, _FACT, _LINE, _PREHEADER = 190, 300, 3000, 80, 300, 300, 180
_SOURCE = 1000
_FACTS, _LINES, _LINKS, _WIDTH, _SHORT = 20, 12, 6, 24, 60
_TONES = frozenset({"critical", "warning", "resolved", "closed"})
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_ADDRESS = re.compile(r"(?:(?P<name>[^<>\"\\]*?)\s*<(?P<named>[^<>]*)>|(?P<bare>[^<>]*))")
_PLAIN = re.compile(r"[^\s@<>()\[\],;:\\\"]{1,64}@[^\s@<>()\[\],;:\\\"]{1,250}")
_ATOMS = re.compile(r"[A-Za-z0-9 _-]*")
_LINK = re.compile(r"https?://[^\s<>\"'`]{3,2000}")
_REASONS = {"repeat": "still firing", "forgotten": "", "rule_removed": "", "first": "", "resolved": ""}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, its domain in ASCII, and the name in front of it."""

    local: str
    domain: str
    name: str = ""

    @property
    def address(self) -> str:
        """The address as it is given to the server."""
        return f"{self.local}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Whether every server can take it."""
        return self.local.isascii()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail but for the moment it is sent."""

    notification: Notification
    sender: Mailbox
    to: Sequence[Mailbox]
    subject: str

    def to_bytes(self, at: datetime | None = None) -> bytes:
        """Give the mail as it is sent, in ASCII unless an address is not."""
        said, domain = self.notification, self.sender.domain
        root = f"<episode-{_id(said.episode.replace(':', '-'))}@{domain}>"
        headers = {
            "From": _written(self.sender),
            "To": ",\r\n ".join(map(_written, self.to)),
            "Subject": _word(self.subject),
            "Date": format_datetime(at or datetime.now(UTC)),
            "Message-ID": f"<{_id(said.id)}@{domain}>",
            "In-Reply-To": root,
            "References": root,
            "List-Id": f"<{_id(said.environment or 'alerts')}.edgewatch.{domain}>",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            "X-Edgewatch-Rule": _word(_cut(one_line(said.rule), _NAME)),
            "X-Edgewatch-Severity": _word(one_line(said.severity)),
            "X-Edgewatch-Status": _word(one_line(said.status)),
        }
        if said.severity == "critical" and said.status == "firing":
            headers["Importance"] = "high"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head.encode() + _body(_shown(said))


def mailbox(text: str) -> Mailbox:
    """Read `a@example.com` or `Name <a@example.com>`; raises ValueError with what is wrong."""
    found = _ADDRESS.fullmatch(text)
    address = (found["bare"] if found["named"] is None else found["named"]) if found else ""
    if found is None or not text.isprintable() or not _PLAIN.fullmatch(address):
        raise ValueError(f"{text!r} is not an address such as a@example.com or Name <a@example.com>")
    local, _, domain = address.partition("@")
    try:
        return Mailbox(local, domain.encode("idna").decode(), (found["name"] or "").strip())
    except UnicodeError:
        raise ValueError(f"{text!r}: there can be no domain {domain!r}") from None


def subject_of(notification: Notification, prefix: str, title: str = "") -> str:
    """Give a subject that is the same for the whole episode, below 200 characters; `title` replaces what is wrong."""
    name = one_line(notification.rule).replace("_", " ")
    where = ", ".join(one_line(value) for _, value in sorted(notification.key.items()))
    what = one_line(title) or f"{name[:1].upper()}{name[1:]}{f' on {where}' if where else ''}"
    environment = _cut(one_line(notification.environment), _SHORT)
    head, foot = (f"{prefix} " if prefix else "", f" ({environment})" if environment else "")
    return head + _cut(what, _SUBJECT - len(head) - len(foot)) + foot


def _shown(said: Notification) -> dict[str, Any]:
    """Give what both parts of the mail show: strings without control characters, each cut to a length."""
    ended = "closed" if said.reason in {"forgotten", "rule_removed"} else "resolved"
    tone = ended if said.status == "resolved" else said.severity
    title = _cut(one_line(said.title) or one_line(said.rule), _TITLE)
    lines = [one_line(line) for line in _cut(said.text, _TEXT).split("\n")]
    reason, environment = _REASONS.get(said.reason, one_line(said.reason)), _cut(one_line(said.environment), _SHORT)
    word = one_line(tone).capitalize()
    return {
        "tone": tone if tone in _TONES else "other",
        "word": word,
        "title": title,
        "lines": lines if any(lines) else [],
        "preheader": _cut(f"{word}{f', {reason}' if reason else ''}: {' '.join(lines).strip() or title}", _PREHEADER),
        "facts": list(islice(_facts(said), _FACTS)),
        **_first_steps(runbook_of(said)),
        "evidence": [_cut(line, _LINE) for line in islice(evidence_beside(said), _LINES)],
        "source": [_cut(line, _SOURCE) for line in provenance_lines(said.provenance)],
        "links": [(_cut(one_line(name), _NAME), link) for name, link in islice(_links(said), _LINKS)],
        "marks": [each for each in (reason, environment, _time(said.at)) if each],
        "episode": _cut(one_line(said.episode), _LINE),
    }


def _facts(said: Notification) -> Iterator[tuple[str, str]]:
    facts = {"Rule": said.rule, "Key": key_text(said.key)}
    facts |= {"Severity": said.severity}
    links = dict(_links(said))
    labels = {name: value for name, value in said.labels.items() if name not in links and name not in said.key}
    for name, value in [*facts.items(), *labels.items()]:
        yield _cut(one_line(name), _NAME), _cut(one_line(value), _FACT)


def _first_steps(runbook: Runbook | None) -> dict[str, Any]:
    """Give the runbook, its address where it has one, and its first steps."""
    if runbook is None:
        return {"runbook": "", "address": "", "steps": []}
    steps = [_cut(step, _LINE) for step in runbook.numbered()]
    return {"runbook": _cut(runbook.link, _LINE), "address": runbook.address, "steps": steps[:_LINES]}


def _links(said: Notification) -> Iterator[tuple[str, str]]:
    """Give the dashboard, and the labels that are links. A key comes from the logs: whoever sends requests could write one."""
    if dashboard_of(said):
        yield "Dashboard", dashboard_of(said)
    for name, value in said.labels.items():
        if name not in said.key and value.isprintable() and _LINK.fullmatch(value):
            yield name, value


def _body(shown: dict[str, Any]) -> bytes:
    """Give both parts, behind the headers that say so."""
    from sinks.template import page  # noqa: PLC0415 (takes a tenth of a start)

    mail = EmailMessage(policy=SMTP)
    mail.set_content(_text(shown), cte="quoted-printable")
    mail.add_alternative(page(_html(), shown), subtype="html", cte="quoted-printable")
    return mail.as_bytes()


def _text(shown: dict[str, Any]) -> str:
    """Write the plain part."""
    parts = [[f"{shown['word'].upper()}: {shown['title']}", " | ".join(shown["marks"])], shown["lines"]]
    parts.append([*(["First steps"] if shown["steps"] else []), *(f"  {step}" for step in shown["steps"])])
    parts[-1] += [f"Runbook: {shown['address'] or shown['runbook']}"] if shown["runbook"] else []
    width = max((len(name) for name, _ in shown["facts"] if len(name) <= _WIDTH), default=0)
    parts.append([f"{name:<{width}}  {value}" for name, value in shown["facts"]])
    parts.append([f"  {line}" for line in shown["evidence"]])
    if shown["evidence"]:
        parts[-1].insert(0, "Evidence")
    parts.append([f"  {line}" for line in shown["source"]])
    if shown["source"]:
        parts[-1].insert(0, "Read from")
    parts.append([f"{name}: {link}" for name, link in shown["links"]])
    parts.append([f"edgewatch | episode {shown['episode']}"])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _time(ms: int) -> str:
    return rfc3339(ms).replace("T", " ").removesuffix("Z").removesuffix(":00") + " UTC"


def _id(text: str) -> str:
    """Give what may stand in an identifier; whatever else there is, is kept apart by a hash."""
    return text if _SAFE.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:32]


def _word(text: str) -> str:
    """Encode what is not ASCII, or what a reader would take for encoded (RFC 2047)."""
    return text if text.isascii() and "=?" not in text else Header(text, "utf-8").encode(linesep="\r\n")


def _written(box: Mailbox) -> str:
    name = _word(box.name)
    if name == box.name and not _ATOMS.fullmatch(name):
        name = f'"{name}"'
    return f"{name} <{box.address}>" if box.name else box.address


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


@cache
def _html() -> str:
    return resources.files("sinks").joinpath("email.html").read_text(encoding="utf-8")
