"""Console: each notification as one or two readable lines on standard output.

Guarantee: at least once; a crash right after printing prints it again.
"""

import datetime as dt
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from sinks.notification import DeliveryError, Notification, key_text, number, one_line
from sinks.own_words import TEXT, TITLE, OwnWords, own_text, template_problems, text_lines
from sinks.runbook import evidence_beside, runbook_of

_COLOURS = {"critical": "\033[1;31m", "warning": "\033[33m", "resolved": "\033[32m"}
_DIM, _PLAIN = "\033[2m", "\033[0m"
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleOptions:
    """Options of a console channel."""

    colour: str = field(default="auto", metadata={"help": "auto (on a terminal), always or never"})
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if self.colour not in {"auto", "always", "never"}:
            yield "colour", f"{self.colour!r} is not one of auto, always, never"
        yield from template_problems(self)


class Console:
    """Prints; never fails but where standard output is gone."""

    def __init__(self, name: str, options: ConsoleOptions, out: TextIO | None = None) -> None:
        """Print to `out`, standard output by default."""
        self.name = name
        self._options = options
        self._words = OwnWords(name, options)
        self._out = out

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Print it."""
        out = self._out or sys.stdout
        try:
            said = self._words.reworded(notification)
            title = said.title if self._options.title else ""
            text = render(said, name=self.name, colour=self._coloured(out), title=title, lines=text_lines(said.text))
            with _LOCK:
                out.write(text)
                out.flush()
        except (OSError, ValueError) as error:
            message = f"{self.name}: standard output is closed"
            raise DeliveryError(message, retryable=False, code="closed") from error
        return memory

    def _coloured(self, out: TextIO) -> bool:
        if self._options.colour == "auto":
            return out.isatty() and "NO_COLOR" not in os.environ
        return self._options.colour == "always"


def build(name: str, options: ConsoleOptions) -> Console:
    """Make the channel."""
    return Console(name, options)


def render(
    notification: Notification, *, name: str = "console", colour: bool = False, title: str = "", lines: Sequence[str] = ()
) -> str:
    """Write a notification as text: what happened, then, dimmed, the words on it and the first evidence.

    A `title` takes the place of rule, key and values, `lines` that of the text.
    """
    status = "RESOLVED" if notification.status == "resolved" else "FIRING"
    loud = _COLOURS.get("resolved" if status == "RESOLVED" else notification.severity, "")
    head = f"{status:<8} {notification.severity:<8}"
    words = [
        _time(notification.at),
        f"{loud}{head}{_PLAIN}" if colour and loud else head,
        title or f"{one_line(notification.rule)} [{one_line(key_text(notification.key))}]",
        "" if title else _values(notification),
        "" if notification.reason in {"first", "resolved"} else f"({notification.reason})",
        "" if name == "console" else f"-> {name}",
    ]
    first = "  ".join(word for word in words if word)
    lines = lines or text_lines(own_text(notification))
    if not title and (notification.value is None or not lines):  # the title is all that says what it is about
        lines = [one_line(notification.title), *lines]
    more = [f"{_DIM}{line}{_PLAIN}" if colour and line else line for line in _with_evidence(notification, lines)]
    return "\n".join([first, *(f"    {line}".rstrip() for line in more)]) + "\n"


def _with_evidence(notification: Notification, lines: Sequence[str]) -> list[str]:
    """Give the lines with the first evidence and the runbook behind the last."""
    runbook = runbook_of(notification)
    link = "" if runbook is None else f"runbook: {runbook.link}"
    last = " | ".join(filter(None, (*lines[-1:], next(iter(evidence_beside(notification)), ""), link)))
    return [*lines[:-1], *([last] if last else [])]


def _values(notification: Notification) -> str:
    if notification.value is None:
        return ""
    limit = "" if notification.threshold is None else f" (threshold {number(notification.threshold)})"
    return f"{number(notification.value)}{limit}"


def _time(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms // 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
