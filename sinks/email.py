"""Email: a notification as a mail, by SMTP.

Guarantee: at-least-once. A mail whose last answer got lost is sent again under the same Message-ID, by which readers fold the
two. A recipient that took it gets it no second time: what is left to do is remembered address by address. Who once heard of an
episode also hears how it goes on and ends.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.letter import Letter, Mailbox, mailbox, subject_of
from sinks.notification import DeliveryError, Notification, Pace
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems
from sinks.smtp import PORTS, Reply, SmtpClient, SmtpServer

PACE = Pace(per_second=2.0, burst=10)
_SEVERITIES = ("critical", "warning")
_QUIET = frozenset({"resolved", "forgotten", "rule_removed", "de-escalated"})
_HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_HEARD, _SUBJECT, _LEFT = "heard", "subject", "left|"
_KEPT = 20  # notifications of an episode whose undelivered rest is remembered
_PREFIX, _SAID = 60, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailOptions:
    """Options of an email channel: a server that mail is handed in to, and who gets it."""

    host: str = field(metadata={"help": "SMTP server"})
    port: int | None = field(
        default=None, metadata={"unit": "TCP port", "help": "default 587 (starttls), 465 (tls) or 25 (none)"}
    )
    security: str = field(default="starttls", metadata={"help": "starttls (required of the server), tls or none"})
    user: str = field(default="", metadata={"help": "user name, empty for none"})
    password: str = field(default="", repr=False, metadata={"secret": True, "help": "password, empty for none"})
    ca_file: str = field(default="", metadata={"help": "CA certificates (PEM) to trust instead of the system's"})
    from_: str = field(metadata={"help": "sender: an address, or Name <address>"})
    to: tuple[str, ...] = field(default=(), metadata={"help": "who gets mail"})
    to_by_severity: dict[str, tuple[str, ...]] = field(
        default_factory=dict, metadata={"help": "who gets it instead at a severity (critical, warning)"}
    )
    subject_prefix: str = field(default="[edgewatch]", metadata={"help": "what a subject begins with"})
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    timeout_ms: int = field(default=30_000, metadata={"duration": True, "help": "how long one answer may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not _HOST.fullmatch(self.host):
            yield "host", f"{self.host!r} is not a host name"
        if self.port is not None and not 0 < self.port < 1 << 16:
            yield "port", f"must be 1 to 65535, not {self.port}"
        if self.security not in PORTS:
            yield "security", f"{self.security!r} is not one of {', '.join(PORTS)}"
        if self.timeout_ms <= 0:
            yield "timeout", "must be longer than 0 s"
        if len(self.subject_prefix) > _PREFIX or not self.subject_prefix.isprintable():
            yield "subject_prefix", f"must be one line of {_PREFIX} characters at most"
        yield from self._login_problems()
        yield from self._address_problems()
        yield from template_problems(self)

    def _login_problems(self) -> Iterator[tuple[str, str]]:
        if bool(self.user) != bool(self.password):
            yield "user", "user and password go together"
        if self.password and self.security == "none" and self.host not in _HERE:
            yield "security", "a password is sent over TLS only: starttls or tls"

    def _address_problems(self) -> Iterator[tuple[str, str]]:
        boxes = [("from", self.from_), *(("to", each) for each in self.to)]
        boxes += [(f"to_by_severity.{severity}", each) for severity, many in self.to_by_severity.items() for each in many]
        for key, text in boxes:
            try:
                if not mailbox(text).ascii and key == "from":
                    yield key, f"{text!r}: the part before the @ must be ASCII"
            except ValueError as error:
                yield key, str(error)
        for severity in self.to_by_severity:
            if severity not in _SEVERITIES:
                yield "to_by_severity", f"{severity!r} is not one of {', '.join(_SEVERITIES)}"
        unheard = [severity for severity in _SEVERITIES if not (self.to_by_severity.get(severity) or self.to)]
        if unheard:
            yield "to", f"is empty, so nobody gets what is {' or '.join(unheard)}"


class Email:
    """Remembers for an episode who heard of it, and for a notification who does not have it yet."""

    def __init__(self, name: str, options: EmailOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._options = options
        self._words = OwnWords(name, options)
        self._sender = mailbox(options.from_)
        server = SmtpServer(
            host=options.host,
            port=options.port or PORTS[options.security],
            security=options.security,
            user=options.user,
            password=options.password,
            ca_file=options.ca_file,
            timeout_s=options.timeout_ms / 1000,
        )
        self._smtp = SmtpClient(name, server)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Send it to those that do not have it; what is settled goes into `memory` at once."""
        key = _LEFT + notification.id
        left = _loaded(memory, key, {}) or dict.fromkeys(self._recipients(notification, memory), "")
        letter = self._letter(notification, memory)
        later: dict[str, str] = {}
        for group in _apart(text for text, said in left.items() if not said):
            replies = self._deliver(letter, group)
            settled = {text: reply for text, reply in replies.items() if reply.accepted or reply.final}
            later |= {text: str(reply) for text, reply in replies.items() if text not in settled}
            if settled:
                _settle(settled, left, memory, key)
            if self._options.title and settled:
                memory[_SUBJECT] = letter.subject  # a template may well write what changes, which would split the thread
        if left:
            raise self._unserved(left, later, memory, key)
        memory.pop(key, None)
        return memory

    def _deliver(self, letter: Letter, group: dict[str, Mailbox]) -> dict[str, Reply]:
        boxes = list(group.values())
        mail = dataclasses.replace(letter, to=boxes).to_bytes()
        addresses = list(dict.fromkeys(box.address for box in boxes))
        replies = self._smtp.deliver(self._sender.address, addresses, mail, utf8=not boxes[0].ascii)
        return {text: replies[box.address] for text, box in group.items()}

    def _unserved(self, left: dict[str, str], later: dict[str, str], memory: dict[str, str], key: str) -> DeliveryError:
        """Say who did not get it: for now, or for good once nobody is left that still may."""
        if later:
            return self._smtp.error(f"not yet: {_listed(later)}", retryable=True, code="refused")
        # Refused for good: who sets it right and retries it by hand is to be tried anew.
        memory[key] = _dumped(dict.fromkeys(left, ""))
        return self._smtp.error(f"refused: {_listed(left)}", retryable=False, code="refused")

    def _recipients(self, notification: Notification, memory: dict[str, str]) -> list[str]:
        heard: list[str] = _loaded(memory, _HEARD, [])
        if heard and (notification.reason in _QUIET or notification.status == "resolved"):
            return heard
        chosen = self._options.to_by_severity
        to = chosen.get(notification.severity) or self._options.to or next(iter(chosen.values()))
        return list(dict.fromkeys([*heard, *to]))

    def _letter(self, notification: Notification, memory: dict[str, str]) -> Letter:
        said = self._words.reworded(notification)
        subject = memory.get(_SUBJECT) or subject_of(said, self._options.subject_prefix, self._options.title and said.title)
        return Letter(notification=said, sender=self._sender, to=(), subject=subject)


def build(name: str, options: EmailOptions) -> Email:
    """Make the channel."""
    return Email(name, options)


def _apart(texts: Iterable[str]) -> list[dict[str, Mailbox]]:
    """Give addresses that every server takes, and the others, which go in a mail of their own."""
    boxes = {text: mailbox(text) for text in texts}
    groups = [{text: box for text, box in boxes.items() if box.ascii is plain} for plain in (True, False)]
    return [group for group in groups if group]


def _settle(settled: dict[str, Reply], left: dict[str, str], memory: dict[str, str], key: str) -> None:
    """Cross out who has it, and write behind who never will what the server said; in `left` and in `memory`."""
    heard = [text for text, reply in settled.items() if reply.accepted]
    for text in heard:
        del left[text]
    left |= {text: str(reply) for text, reply in settled.items() if reply.final}
    if heard:
        memory[_HEARD] = _dumped(list(dict.fromkeys([*_loaded(memory, _HEARD, []), *heard])))
    memory[key] = _dumped(left)
    for old in [each for each in memory if each.startswith(_LEFT)][:-_KEPT]:
        del memory[old]


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def _loaded(memory: dict[str, str], key: str, default: Any) -> Any:
    return orjson.loads(memory[key]) if key in memory else default


def _listed(answers: dict[str, str]) -> str:
    return "; ".join(f"{text}: {said[:_SAID]}" for text, said in answers.items())
