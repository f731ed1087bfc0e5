"""Bar: how far a long step is, on standard error: a bar on a terminal, otherwise a line every ten seconds.

A step that is done within two seconds shows nothing.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_AFTER_S, _EVERY_S = 2.0, 10.0


class Bar:
    """Progress of one step of `total` records: `with Bar("reading", total) as bar: bar.advance(done)`."""

    def __init__(self, title: str, total: int, unit: str = "records") -> None:
        """Show nothing yet."""
        self._title = title
        self._total = total
        self._unit = unit
        self._console = Console(stderr=True)
        self._next = time.monotonic() + (_AFTER_S if self._console.is_terminal else _EVERY_S)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Begin the step."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take the bar away."""
        if self._progress:
            self._progress.stop()

    def advance(self, done: int) -> None:
        """Say that `done` records in all are through."""
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=done)
        elif time.monotonic() >= self._next:
            self._show(done)

    def print(self, out: Console, text: str) -> None:
        """Print lines (they may hold colours) to `out`: on a screen above the bar, wrapped with an indent."""
        if not out.is_terminal:
            out.file.write(text)
            out.file.flush()
            return
        screen = self._progress.console if self._progress else out
        for line in text.splitlines():
            indent = len(line) - len(line.lstrip(" "))
            screen.print(Padding(Text.from_ansi(line[indent:]), (0, 0, 0, indent), expand=False), highlight=False)

    def _show(self, done: int) -> None:
        if not self._console.is_terminal:
            share = 100 * done // max(self._total, 1)
            sys.stderr.write(f"{self._title}: {share} % ({done} of {self._total} {self._unit})\n")
            self._next += _EVERY_S
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._progress.add_task(self._title, total=self._total, completed=done)
        self._progress.start()
