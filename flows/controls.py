"""Controls: the file of control events: what is decided outside the log while the line runs, and from which window on it holds.

Append-only, one JSON object a line: silences and their early ends, written by the command line; that the run is blind or
sees again, written by its watcher; that a dataset is not waited for, and stamps, written by the run. A stamp says from which
window end of a dataset an event holds. It is on the disk before it takes effect, so a resume and a replay that find the file
decide as was decided. A dataset has its own stamp because each has its own barriers.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from flows.matcher import MatchError, parse_match
from flows.run_folder import private
from flows.silence import Silence, blindness


class ControlsBroken(Exception):
    """The file holds what is no control event; the sentence says where."""


class SilenceEvent(msgspec.Struct, frozen=True, tag_field="kind", tag="silence", kw_only=True):
    """A silence as it was asked for; times in ms UTC, `start` 0 is at once."""

    id: str
    match: tuple[str, ...]
    author: str
    reason: str
    start: int
    end: int
    at: int

    def silence(self) -> Silence:
        """Make it ready; raises MatchError."""
        return Silence(
            id=self.id,
            matchers=parse_match(self.match),
            author=self.author,
            reason=self.reason,
            start=self.start,
            end=self.end,
        )


class ExpireEvent(msgspec.Struct, frozen=True, tag_field="kind", tag="expire", kw_only=True):
    """The early end of a silence."""

    id: str
    silence: str
    at: int


class BlindEvent(msgspec.Struct, frozen=True, tag_field="kind", tag="blind", kw_only=True):
    """That datasets are blind (`on`), or not any more; of one dataset, the later event counts."""

    id: str
    on: bool
    datasets: tuple[str, ...]
    causes: tuple[str, ...]
    text: str
    at: int


class Stamp(msgspec.Struct, frozen=True, tag_field="kind", tag="stamp", kw_only=True):
    """From the window of a dataset that ends at `end` on, event `of` holds."""

    of: str
    dataset: str
    end: int


class GaveUpEvent(msgspec.Struct, frozen=True, tag_field="kind", tag="gave_up", kw_only=True):
    """Windows of other datasets that end in (`after`, `end`] were judged without this one: it was too far behind.

    It needs no stamp: it says itself for which windows it holds.
    """

    dataset: str
    after: int
    end: int
    at: int


class BeganEvent(msgspec.Struct, frozen=True, tag_field="kind", tag="began", kw_only=True):
    """The first window of a dataset whose silence was judged ends at `end`: a live run begins to listen at some time.

    It needs no stamp.
    """

    dataset: str
    end: int
    at: int


Event = SilenceEvent | ExpireEvent | BlindEvent | GaveUpEvent | BeganEvent
Control = Event | Stamp
_DECODER = msgspec.json.Decoder(Control)


class Controls:
    """The events of a state folder as one process sees them; reads on when the file has grown."""

    def __init__(self, path: Path, closed: Mapping[str, int] | None = None, *, live: bool = False) -> None:
        """Read what is there; windows that end up to `closed`, by dataset, were judged before and are not changed.

        Only a `live` run becomes blind: elsewhere what has no stamp never took effect, and does not now.
        """
        self._path = path
        self._live = live
        self._closed = dict(closed or {})
        self._read = self._lines = 0
        self._silences: dict[str, Silence] = {}
        self._expired: dict[str, str] = {}  # silence -> the event that ended it
        self._stamps: dict[tuple[str, str], int] = {}
        self._blind: list[BlindEvent] = []
        self._gave_up: list[GaveUpEvent] = []
        self._began_at: dict[str, int] = {}
        self._refresh()

    def at(self, dataset: str, end: int) -> Sequence[Silence]:
        """Give the silences in force at a window's end, and blindness as one; events not seen before are stamped first."""
        self._refresh()
        if end > self._closed.get(dataset, -1):
            self._stamp(dataset, end)
        found = [each for each in self._silences.values() if each.holds(end) and self._holds(each.id, dataset, end)]
        last = next((each for each in reversed(self._blind) if self._began(each, dataset, end)), None)
        return [*found, blindness(last.id, last.text)] if last is not None and last.on else found

    def blinded(self) -> set[str]:
        """Give the datasets that are blind by their last event, whether a window has closed since or not."""
        self._refresh()
        return {name for name, on in {n: each.on for each in self._blind for n in each.datasets}.items() if on}

    def known(self, dataset: str, end: int) -> Sequence[Silence]:
        """Give those that will be in force at a window's end, as far as is known now; nothing is stamped."""
        blind = [blindness("", "")] if self._live and dataset in self.blinded() else []
        return [*(each for each in self.silences() if each.holds(end)), *blind]

    def gave_up(self, dataset: str, end: int) -> bool:
        """Tell whether windows of other datasets that end at `end` are judged without this one."""
        return any(each.dataset == dataset and each.after < end <= each.end for each in self._gave_up)

    def give_up(self, dataset: str, closed: int, end: int) -> None:
        """Keep that windows that end in (`closed`, `end`] are; durable when it returns."""
        append(self._path, [GaveUpEvent(dataset=dataset, after=closed, end=end, at=time.time_ns() // 1_000_000)])
        self._refresh()

    def began(self, dataset: str) -> int | None:
        """Give the end of the first window of a dataset whose silence was judged."""
        return self._began_at.get(dataset)

    def begin(self, dataset: str, end: int) -> None:
        """Keep which it is; durable when it returns."""
        append(self._path, [BeganEvent(dataset=dataset, end=end, at=time.time_ns() // 1_000_000)])
        self._refresh()

    def silences(self) -> list[Silence]:
        """Give all that have not been ended early, in the order they were added."""
        return [silence for name, silence in self._silences.items() if name not in self._expired]

    def expired(self) -> list[Silence]:
        """Give those that have been."""
        return [silence for name, silence in self._silences.items() if name in self._expired]

    def _holds(self, name: str, dataset: str, end: int) -> bool:
        began = self._stamps.get((name, dataset))
        over = self._stamps.get((self._expired.get(name, ""), dataset))
        return began is not None and began <= end and (over is None or end < over)

    def _began(self, event: BlindEvent, dataset: str, end: int) -> bool:
        stamp = self._stamps.get((event.id, dataset))
        return dataset in event.datasets and stamp is not None and stamp <= end

    def _stamp(self, dataset: str, end: int) -> None:
        """Stamp what may still matter and has no stamp."""
        due = [name for name, silence in self._silences.items() if silence.end > end]
        due += [self._expired[name] for name in due if name in self._expired]
        due += [each.id for each in self._blind if self._live and dataset in each.datasets]
        stamps = [Stamp(of=name, dataset=dataset, end=end) for name in due if (name, dataset) not in self._stamps]
        if stamps:
            append(self._path, stamps)
            self._refresh()

    def _refresh(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size <= self._read:
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the rest is still being written
        for line in whole.splitlines():
            self._lines += 1
            self._take(line)
        self._read += len(whole)

    def _take(self, line: bytes) -> None:
        try:
            control = _DECODER.decode(line)
            if isinstance(control, SilenceEvent):
                self._silences.setdefault(control.id, control.silence())
            elif isinstance(control, ExpireEvent):
                self._expired.setdefault(control.silence, control.id)
            elif isinstance(control, BlindEvent):
                self._blind.append(control)
            elif isinstance(control, GaveUpEvent):
                self._gave_up.append(control)
            elif isinstance(control, BeganEvent):
                self._began_at.setdefault(control.dataset, control.end)
            else:
                self._stamps.setdefault((control.of, control.dataset), control.end)
        except (msgspec.DecodeError, MatchError) as error:
            raise ControlsBroken(f"{self._path}, line {self._lines}: not a control event: {error}") from error


def append(path: Path, controls: Sequence[Control]) -> None:
    """Add events; they are on the disk when it returns. A last line that a crash tore never took effect and is cut off."""
    with _locked(path) as file:
        data = path.read_bytes()
        file.truncate(data.rfind(b"\n") + 1)
        file.write(b"".join(msgspec.json.encode(control) + b"\n" for control in controls))
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open the file for appending; the command line and the run take turns."""
    with open(path, "ab", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
