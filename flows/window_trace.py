"""Window trace: how long a window took in each stage, from decode to delivery, for Sentry and OpenTelemetry.

The stages take turns while a window is open, so a span begins where its stage first worked and lasts as long as it worked in
all. `spool` is the handing over; each attempt to deliver what the window led to is a span of its own in its trace,
maybe long after. The clock is read for this alone; nothing that is decided sees it. Where nobody takes
traces nothing is kept, and the clock is not read.
"""

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.batch import DONE, Batch
from flows.output import Block, Closed, rfc3339
from flows.spool_ids import rows_id, said_id
from sinks.notification import DeliveryError, Notification
from sinks.spool import Waiting

STAGES = ("decode", "metric", "window", "rules", "spool")
_REMEMBERED = 20_000  # items that wait for their delivery


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trace; times in s since 1970. `error` says what went wrong, without secrets."""

    name: str
    began: float
    ended: float
    error: str = ""


class Taker(Protocol):
    """Who takes traces."""

    def begin(self, dataset: str, began: float, closed_up_to: str) -> Any:
        """Begin the trace of a window; None where this one is not among the share that is kept."""

    def finish(self, window: Any, stages: Sequence[Span], ended: float) -> None:
        """End the window's own part."""

    def delivered(self, window: Any, attempt: Span, destination: str, items: int) -> None:
        """Add an attempt to deliver."""

    def close(self) -> None:
        """Send what is left, or give it up soon."""


class Untraced:
    """What a run has that nobody takes traces of."""

    def now(self) -> float:
        """Give no time."""
        return 0.0

    def decoded(self, batches: Sequence[Batch], began: float) -> None:
        """Do nothing."""

    def add(self, stage: str, dataset: str, began: float) -> None:
        """Do nothing."""

    def judged(self, dataset: str, out: Sequence[Any], began: float) -> None:
        """Do nothing."""

    def spooled(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def delivering(self, destination: str, items: Sequence[Waiting]) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Do nothing."""


_Handle = tuple[Taker, Any]


class WindowTrace(Untraced):
    """Adds up seconds by dataset and stage, and gives them to those who take traces when windows close.

    What is tied to a window is known in this process only: of what waits in the spool at a restart no attempt is traced.
    """

    def __init__(self, takers: Sequence[Taker], *, tables: Collection[str] = ()) -> None:
        """Start with nothing open; rows of `tables` (kinds of blocks) go to the spool."""
        self._takers, self._tables = list(takers), frozenset(tables)
        self._open: dict[str, dict[str, tuple[float, float]]] = {}  # dataset -> stage -> when it first worked, seconds
        self._judged: list[tuple[str, Sequence[Any]]] = []
        self._lock = threading.Lock()
        self._tied: dict[str, list[_Handle]] = {}  # id in the spool -> traces of its window, the oldest first

    def now(self) -> float:
        """Give the time (s since 1970)."""
        return time.time()

    def decoded(self, batches: Sequence[Batch], began: float) -> None:
        """Share out the time of a read, since `began`, by records."""
        seconds, records = time.time() - began, sum(map(len, batches))
        for batch in batches:
            if len(batch):
                self._took("decode", batch.dataset, began, seconds * len(batch) / records)

    def add(self, stage: str, dataset: str, began: float) -> None:
        """Add the time since `began` to a stage."""
        self._took(stage, dataset, began, time.time() - began)

    def judged(self, dataset: str, out: Sequence[Any], began: float) -> None:
        """Add the time since `began` to the rules, and take note of what a dataset's windows led to."""
        self.add("rules", dataset, began)
        if any(isinstance(item, Closed) for item in out):
            self._judged.append((dataset, out))

    @contextlib.contextmanager
    def spooled(self) -> Iterator[None]:
        """Trace the windows that closed, around the handing over of what they led to."""
        judged, self._judged = self._judged, []
        began = time.time()
        windows = {item.dataset: item for _, out in judged for item in out if isinstance(item, Closed)}
        begun = {name: self._begun(item, began) for name, item in windows.items() if name in self._open}
        for dataset, out in judged:
            closed = [item.dataset for item in out if isinstance(item, Closed)]
            self._tie(begun.get(dataset if dataset in closed else closed[0], []), out)
        yield
        ended = time.time()
        for name, handles in begun.items():
            stages = self._open.pop(name) | {"spool": (began, ended - began)}
            spans = [Span(stage, stages[stage][0], sum(stages[stage])) for stage in STAGES if stage in stages]
            for taker, window in handles:
                taker.finish(window, spans, ended)

    @contextlib.contextmanager
    def delivering(self, destination: str, items: Sequence[Waiting]) -> Iterator[None]:
        """Trace an attempt to deliver some items, in the trace of each window that led to any of them."""
        began, error = time.time(), ""
        try:
            yield
        except DeliveryError as failed:
            error = str(failed)
            raise
        except Exception as failed:
            error = type(failed).__name__
            raise
        finally:
            attempt = Span("delivery", began, time.time(), error)
            for (taker, window), count in self._of(items, keep=bool(error)).values():
                taker.delivered(window, attempt, destination, count)

    def close(self) -> None:
        """Send what is left, or give it up soon."""
        for taker in self._takers:
            taker.close()

    def _begun(self, closed: Closed, now: float) -> list[_Handle]:
        began = min((first for first, _ in self._open[closed.dataset].values()), default=now)
        end = "" if closed.end == DONE else rfc3339(closed.end)
        found = [(taker, taker.begin(closed.dataset, began, end)) for taker in self._takers]
        return [(taker, window) for taker, window in found if window is not None]

    def _tie(self, handles: list[_Handle], out: Sequence[Any]) -> None:
        if not handles:
            return
        with self._lock:
            for item in out:
                if isinstance(item, Notification):
                    self._tied |= {said_id(item.id, channel): handles for channel in item.channels}
                elif isinstance(item, Block) and item.kind in self._tables:
                    self._tied[rows_id(item)] = handles
            while len(self._tied) > _REMEMBERED:
                del self._tied[next(iter(self._tied))]

    def _of(self, items: Sequence[Waiting], *, keep: bool) -> Mapping[int, tuple[_Handle, int]]:
        """Give the traces of items and how many each has among them; what will be tried again stays known."""
        found: dict[int, tuple[_Handle, int]] = {}
        with self._lock:
            for item in items:
                handles = self._tied.get(item.id, []) if keep else self._tied.pop(item.id, [])
                for handle in handles:
                    found[id(handle)] = handle, found.get(id(handle), (handle, 0))[1] + 1
        return found

    def _took(self, stage: str, dataset: str, began: float, seconds: float) -> None:
        first, before = self._open.setdefault(dataset, {}).get(stage, (began, 0.0))
        self._open[dataset][stage] = first, before + seconds
