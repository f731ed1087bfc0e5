"""Observe: progress of what takes longer than 2 s, on standard error."""

import datetime
import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from flows.output import rfc3339

_AFTER_S, _EVERY_S = 2.0, 10.0


class RunProgress:
    """Shows records (or what else is counted), event time reached, how many a second, and of a bounded input the time left.

    A bar that moves on a terminal, a line every 10 s otherwise.
    """

    def __init__(self, title: str) -> None:
        """Show nothing in the first two seconds."""
        self._title = title
        self._unit = "records"
        self._start = time.monotonic()
        self._console = Console(stderr=True)
        self._next = self._start + (_AFTER_S if self._console.is_terminal else _EVERY_S)
        self._shown: Progress | None = None
        self._first: tuple[int, float] | None = None

    def begin(self, unit: str) -> None:
        """Count something else from now on."""
        self._unit, self._start, self._first = unit, time.monotonic(), None

    def __call__(self, records: int, event_ms: int | None, share: float | None = None) -> None:
        """Take the figures of now; a resumed run counts its speed, and what is left, from here."""
        now = time.monotonic()
        if self._first is None or (share or 0.0) < self._first[1]:  # the first word of a step
            self._start, self._first = now if self._first else self._start, (records, share or 0.0)
        if now < self._next:
            return
        rate = (records - self._first[0]) / max(now - self._start, 1e-9)
        left = _left(share, self._first[1], now - self._start)
        reached = "" if event_ms is None else f", at {rfc3339(event_ms // 1000 * 1000)}"
        speed = f"{records:,} {self._unit}{reached}, {rate:,.0f} {self._unit.split()[0]}/s"
        # Before the first record there is no speed, and what judges windows that are there may count none.
        text = f"{self._title}: {speed if records else reached.removeprefix(', ') or f'no {self._unit} yet'}"
        if not self._console.is_terminal:
            done = "" if share is None else f", {share:.0%} done{left}"
            sys.stderr.write(text + done + "\n")
            self._next = now + _EVERY_S
            return
        columns = _columns(bounded=share is not None)  # how much there is may be known only once all have begun
        if self._shown is None:
            self._shown = Progress(*columns, console=self._console, transient=True)
            self._shown.add_task(text, total=1.0, left="")
            self._shown.start()
        self._shown.columns = columns
        self._shown.update(self._shown.task_ids[0], description=text, completed=share or 0.0, left=left.removeprefix(", "))

    def stop(self) -> None:
        """Take the line away."""
        if self._shown is not None:
            self._shown.stop()


def _columns(*, bounded: bool) -> tuple[ProgressColumn, ...]:
    bar = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.fields[left]}")) if bounded else ()
    return SpinnerColumn(), TextColumn("{task.description}"), *bar, TimeElapsedColumn()


def _left(share: float | None, first: float, seconds: float) -> str:
    """Say how long it takes yet, at the pace so far; nothing where that is not known."""
    if share is None or share <= first or share >= 1:
        return ""
    left = datetime.timedelta(seconds=round((1 - share) / (share - first) * seconds))
    return f", {left} left"
