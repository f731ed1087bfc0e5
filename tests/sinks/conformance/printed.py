"""Printed: the console, whose counterpart is standard output."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator

import pytest

from sinks.console import ConsoleOptions
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There, Told

_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  (FIRING  |RESOLVED) \w+ +(\S+) \[")
_NO_ANSWER = "standard output takes a line or is closed, and says nothing"
_AT_ONCE = "printing is not waited for and not repeated"


@contextlib.contextmanager
def _opened(request: pytest.FixtureRequest) -> Iterator[There]:
    captured = request.getfixturevalue("capsys")
    printed: list[str] = []
    closed = io.StringIO()
    closed.close()

    def text() -> str:
        printed.append(captured.readouterr().out)
        return "".join(printed)

    with contextlib.ExitStack() as stack:
        yield There(
            options=ConsoleOptions(),
            meet=lambda fault: stack.enter_context(contextlib.redirect_stdout(closed if fault == "closed" else sys.stdout)),
            mend=stack.close,
            leave=lambda: stack.enter_context(contextlib.redirect_stdout(closed)),
            told=lambda: [_told(line) for line in _heads(text())],
            shown=text,
            wrong=lambda: _wrong(text()),
        )


def _heads(text: str) -> list[str]:
    return [line for line in text.split("\n") if line and not line.startswith("    ")]


def _told(line: str) -> Told:
    found = _LINE.match(line)
    assert found is not None, line
    return Told(found[2], "resolved" if found[1] == "RESOLVED" else "firing")


def _wrong(text: str) -> list[str]:
    """Find lines that log data drew, and what a terminal would obey."""
    drawn = [line for line in _heads(text) if not _LINE.match(line)]
    return drawn + [f"{c!r}" for c in text if not c.isprintable() and c != "\n"]


CONSOLE = Entry(
    name="console",
    kind="console",
    open=_opened,
    secrets=NotMeant("a console has no secret"),
    answers=(Case(name="closed", fault="closed", retried=False, code="closed", words="standard output is closed"),),
    waits=NotMeant(_NO_ANSWER),
    breaks=NotMeant(_AT_ONCE),
    away=(Case(name="closed", retried=False, code="closed", words="standard output is closed"),),
    false_success=NotMeant(_NO_ANSWER),
    echoes=NotMeant(_NO_ANSWER),
    passing=NotMeant("a closed standard output does not come back, so nothing is retried"),
    repeats=1,
    injections=("\x1b[2J\x1b[31m", "\x9b31m", "\r\n2025-12-01 00:00:00Z  RESOLVED", "\u2028x", "\u202etxet", "\x00", "\x07"),
    reads=(
        "high_error_rate [ClientRequestHost=api.example.com]",
        "critical",
        "0.0731",
        "path /api/checkout contributes 71 %",
    ),
    moved=NotMeant("there is one standard output"),
)
