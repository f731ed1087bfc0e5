"""Folder: which files of a folder are complete, by looking at it again and again.

A file that is being written is told by its name (hidden, or with an ending of its own, as sync tools do it) or by its changing:
it is taken when size and time were the same over a while. Modification times say nothing alone: sync tools set them to those of
the bucket.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.log_file import is_log


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its dataset, its name below the folder, its size in bytes; `since` is when it was first seen like this."""

    dataset: str
    name: str
    path: Path
    size: int
    changed_ns: int
    since: float


class Folder:
    """Looks at a folder; `DIR/<dataset>/...` where such folders are there, else all of it is of one dataset."""

    def __init__(self, root: Path, datasets: list[str]) -> None:
        """Take the datasets that may be in it, the one for files outside of their folders first."""
        self._root = root
        self._datasets = datasets
        self._seen: dict[str, Found] = {}

    def look(self, now: float, known: set[str]) -> list[Found]:
        """Give the files that are not `known` by name, sorted, each with since when (s, any clock) it has been as it is."""
        seen: dict[str, Found] = {}
        for dataset, path in self._files():
            name = path.relative_to(self._root).as_posix()
            if name in known:
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # it went between listing and looking
            before = self._seen.get(name)
            same = before is not None and (before.size, before.changed_ns) == (stat.st_size, stat.st_mtime_ns)
            since = before.since if before is not None and same else now
            seen[name] = Found(dataset, name, path, stat.st_size, stat.st_mtime_ns, since)
        self._seen = seen
        return [seen[name] for name in sorted(seen)]

    def _files(self) -> Iterator[tuple[str, Path]]:
        own = [name for name in self._datasets if (self._root / name).is_dir()]
        for name in own:
            yield from ((name, path) for path in _walk(self._root / name))
        if not own:
            yield from ((self._datasets[0], path) for path in _walk(self._root))


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and is_log(path) and path.is_file():
            yield path
