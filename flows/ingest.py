"""Ingest: the files of a folder to Kafka, each exactly once: a file's lines and the word that it is done are one transaction.

Killed anywhere, the next start finds a file either whole in the topic and marked as done, or not there at all.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from connectors.dead_letters import WHOLE
from connectors.folder import Folder, Found
from connectors.forward import NotTaken, check_topics, shared_settings
from connectors.ingest_options import IngestOptions
from connectors.log_file import UNREADABLE, open_log
from connectors.logpush import Door
from connectors.receive_options import ReceiveOptions
from connectors.sorted_lines import BadLine
from connectors.transaction import Transaction, ensure_compacted, read_all
from connectors.upload import cut, is_validation
from flows.config import Config
from flows.options import ConfigError
from flows.output import canonical, rfc3339
from flows.receive import dead_letter, doors_of

_log = logging.getLogger(__name__)
_STEP = 262_144
_AGAIN_S = 5.0


@dataclass(slots=True)
class Ingested:
    """What was taken so far."""

    files: int = 0
    records: int = 0
    dead_letters: int = 0


class Ingest:
    """Takes the files of one folder."""

    def __init__(self, config: Config, root: Path, dataset: str | None, progress: Callable[[int], None]) -> None:
        """Connect, take over, and read which files are done. Raises ConfigError, TopicMissing, NotTaken."""
        if config.kafka is None:
            raise ConfigError("input.kafka", "is missing: it says which brokers files are sent to")
        self._receive = config.receive or ReceiveOptions()
        self._options = config.ingest or IngestOptions()
        self._doors = doors_of(config)
        self._progress = progress
        self.total = Ingested()
        client = {**config.kafka.client, **self._receive.client}
        settings = shared_settings(config.kafka.brokers, client)
        letters = [self._receive.dead_letters] if self._receive.dead_letters else []
        check_topics(settings, [door.topic for door in self._doors.values()] + letters)
        ensure_compacted(settings, self._options.done)
        identity = hashlib.blake2b(f"{root.absolute()}|{self._options.done}".encode(), digest_size=8).hexdigest()
        self._transaction = Transaction(
            config.kafka.brokers,
            client,
            identity=f"edgewatch-ingest-{identity}",
            timeout_ms=self._options.transaction_timeout_ms,
        )
        self._done = set(read_all(settings, self._options.done))
        _log.info("%s: %d files were taken before", root, len(self._done))
        self._folder = Folder(root, _order(list(self._doors), dataset))

    def run(self, *, follow: bool, stopped: Callable[[float], bool]) -> None:
        """Take what is there, and with `follow` what comes; `stopped` waits some seconds and tells whether to end.

        Raises TakenOver. Without `follow` it ends when all files are taken, and raises NotTaken.
        """
        while True:
            waiting = self._round(follow=follow, stopped=stopped)
            if stopped(0.0) or (not follow and not waiting):
                return
            if stopped(min(self._options.every_ms, self._options.settle_ms + 100) / 1000):
                return

    def _round(self, *, follow: bool, stopped: Callable[[float], bool]) -> int:
        """Look once and take what is complete; gives how many files are not."""
        waiting = 0
        for found in self._folder.look(time.monotonic(), self._done):
            if stopped(0.0):
                return waiting
            if not self._is_settled(found):
                waiting += 1
                continue
            try:
                taken = self._take(found, must_be_whole=follow and not self._is_old(found), stopped=stopped)
            except NotTaken as error:
                if not follow:
                    raise
                _log.warning("%s; tried again in %g s", error, _AGAIN_S)
                stopped(_AGAIN_S)
                taken = False
            waiting += not taken
        return waiting

    def _is_settled(self, found: Found) -> bool:
        return time.monotonic() - found.since >= self._options.settle_ms / 1000

    def _is_old(self, found: Found) -> bool:
        return time.monotonic() - found.since >= self._options.torn_after_ms / 1000

    def _take(self, found: Found, *, must_be_whole: bool, stopped: Callable[[float], bool]) -> bool:
        """Send one file on, in one transaction; False where it is left for later. Raises NotTaken, TakenOver."""
        if must_be_whole and (torn := _tear(found)):
            _log.info("%s is not whole yet: %s", found.name, torn)
            return False
        self._transaction.begin()
        committed = False
        try:
            taken = self._send(found, stopped)
            if taken is not None:
                self._transaction.commit()
                committed = True
        finally:
            if not committed:
                self._transaction.abort()
        if taken is None:
            return False
        self._done.add(found.name)
        self.total.files += 1
        self.total.records += taken.records
        self.total.dead_letters += taken.dead_letters
        _log.info("%s: %d records, %d dead letters", found.name, taken.records, taken.dead_letters)
        self._progress(self.total.records)
        return True

    def _send(self, found: Found, stopped: Callable[[float], bool]) -> Ingested | None:
        """Queue a file's lines and the word that it is done; None where it is to stop, or where the file went."""
        door = self._doors[found.dataset]
        taken, lines = Ingested(files=1), 0
        torn: list[str] = []
        try:
            for block in cut(_pieces(found.path, torn), self._receive.message_bytes):
                if stopped(0.0):
                    return None
                if lines == 0 and is_validation(block):
                    continue
                part = door.sorter.sort(block, lines)
                lines += part.lines
                taken.records += part.records
                if part.value:
                    self._transaction.send(door.topic, part.value, part.key)
                for bad in part.bad:
                    self._letter(found, door, bad, taken)
        except FileNotFoundError:
            return None
        for reason in torn:
            self._letter(found, door, BadLine(lines, f"the file cannot be read further: {reason}", b""), taken)
        self._transaction.send(self._options.done, _word(found, taken, torn), found.name.encode())
        return taken

    def _letter(self, found: Found, door: Door, bad: BadLine, taken: Ingested) -> None:
        taken.dead_letters += 1
        place = f"line {bad.line + 1} of {found.name}"
        if self._receive.dead_letters:
            kept = [(WHOLE, bad.whole)] if bad.whole and self._receive.keep_whole else []
            self._transaction.send(self._receive.dead_letters, dead_letter(door, bad, place), b"", headers=kept)
        else:
            _log.warning("%s: %s", place, bad.reason)


def _word(found: Found, taken: Ingested, torn: list[str]) -> bytes:
    """Say that a file is done."""
    at = rfc3339(time.time_ns() // 1_000_000_000 * 1000)
    words = {"dataset": found.dataset, "at": at, "size": found.size, "torn": "".join(torn)}
    return canonical(words | {"records": taken.records, "dead_letters": taken.dead_letters})


def _order(datasets: list[str], first: str | None) -> list[str]:
    """Put the dataset of files outside of dataset folders first. Raises ConfigError."""
    if first is None:
        return datasets
    if first not in datasets:
        raise ConfigError("--dataset", f"no topic holds {first!r}; there are: {', '.join(datasets)}")
    return [first, *(name for name in datasets if name != first)]


def _pieces(path: Path, torn: list[str]) -> Iterator[bytes]:
    """Give a file's text piece by piece; where it ends before its compressed stream does, or breaks, `torn` gets the reason."""
    try:
        with open_log(path) as stream:
            while piece := stream.read1(_STEP):  # type: ignore[attr-defined]
                yield piece
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        torn.append(str(error))


def _tear(found: Found) -> str:
    """Say why a file cannot be read to its end; empty where it can."""
    torn: list[str] = []
    try:
        for _ in _pieces(found.path, torn):
            pass
    except FileNotFoundError:
        return "it is gone"
    return "".join(torn)


def summary(total: Ingested) -> bytes:
    """Give what was taken as JSON."""
    return orjson.dumps({"files": total.files, "records": total.records, "dead_letters": total.dead_letters})
