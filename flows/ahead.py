"""Ahead: the next span of a history is read while the last one is judged; a thread waits for the server, or for the disk."""

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from flows.history import Chunk, History, Wanted

_POLL_S = 0.1

Report = Callable[[int, int | None], None]  # windows handed out, event time reached (ms)
_Item = tuple[Chunk, ...] | BaseException | None  # None: that was all


class Ahead:
    """A history whose chunks are read one span ahead, so three of them are held: one is judged, one waits, one is read."""

    def __init__(self, history: History, report: Report = lambda *_: None) -> None:
        """Take the history, and what is told how far it is."""
        self._history = history
        self._report = report
        self._windows = 0

    def starts(self, dataset: str) -> NDArray[np.int64]:
        """Give the starts (ms) of the windows of a dataset that left rows."""
        return self._history.starts(dataset)

    def chunks(self, start: int, end: int, wanted: Wanted | None = None) -> Iterator[tuple[Chunk, ...]]:
        """Give what the history gives, and raise what it raises."""
        found: queue.Queue[_Item] = queue.Queue(maxsize=1)
        stop = threading.Event()

        def read() -> None:
            try:
                for chunks in self._history.chunks(start, end, wanted):
                    if not _put(found, chunks, stop):
                        return
                _put(found, None, stop)
            except BaseException as error:  # noqa: BLE001 (raised again where it is read)
                _put(found, error, stop)

        thread = threading.Thread(target=read, name="history", daemon=True)
        thread.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
                self._windows += sum(len(chunk.starts) for chunk in item)
                self._report(self._windows, item[0].end)
        finally:
            stop.set()
            thread.join()


def _put(found: "queue.Queue[_Item]", item: _Item, stop: threading.Event) -> bool:
    """Put an item; False where nobody wants it any more."""
    while not stop.is_set():
        try:
            found.put(item, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False
