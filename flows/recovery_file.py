"""Recovery file: the state of a run as one file (tar, zstd), to move it to another machine or to keep it.

In it is what a resume needs: recovery store, plan, spool, and what was decided outside the log; not what is made again at
a start. Every part has its digest in the first, and an import takes known names only and reads every snapshot first.
"""

import contextlib
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec
import zstandard

from flows.recovery_store import check_store
from flows.run_folder import RunFolder
from flows.sealed import SCHEMA
from flows.shared_run import read_run

_MANIFEST = "manifest.json"
_FOLDERS = {"recovery": ".sqlite3", "spool": ".db", "advances": ".ndjson"}
_FILES = (
    *("plan.json", "controls.ndjson", "early.ndjson", "firing.json", "deployed.json", "blindness.json"),
    *("restart.json", "recall", "doubts.json", "machines.json"),
)
_MOST_BYTES = 64 << 30


class ArchiveRefused(Exception):
    """The file was not taken; the sentence says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file: the schema of the state, and by name the SHA-256 of each part."""

    schema: int
    parts: dict[str, str]


def export(folder: RunFolder, path: Path) -> Manifest:
    """Write the state of a run that stands still; raises ArchiveRefused, FolderInUse."""
    with folder.locked(), tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as drafts:
        parts: dict[str, Path] = {}
        for number, (name, source) in enumerate(_parts(folder.path)):
            parts[name] = source
            if source.suffix in {".sqlite3", ".db"}:
                parts[name] = Path(drafts) / f"{number}.db"
                _copy_database(source, parts[name])
        manifest = Manifest(schema=SCHEMA, parts={name: _digest(source) for name, source in parts.items()})
        draft = Path(drafts) / "state.tar.zst"
        _write(draft, manifest, parts)
        draft.chmod(0o600)
        draft.replace(path)
    return manifest


def take(path: Path, folder: RunFolder) -> Manifest:
    """Put exported state into a folder that has none; all of it or nothing. Raises ArchiveRefused, StoreBroken.

    Into that of another machine of the same run go the files of the recovery store that it lacks.
    """
    with folder.locked(), tempfile.TemporaryDirectory(dir=folder.path, prefix=".import-") as drafts:
        draft = Path(drafts)
        try:
            manifest = _read(path, draft)
        except (tarfile.TarError, zstandard.ZstdError, msgspec.DecodeError, EOFError, OSError) as error:
            raise ArchiveRefused(f"{path} is not a whole export: {error}") from error
        names = _to_take(folder, draft, list(manifest.parts))
        check_store(draft / "recovery")
        # The plan last: without it no run takes the folder for one that it can resume.
        for name in sorted(names, key=lambda each: (each == "plan.json", each)):
            target = folder.path / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            (draft / name).replace(target)
    return manifest


def _to_take(folder: RunFolder, draft: Path, names: list[str]) -> list[str]:
    """Give what of a file goes into a folder."""
    found = [name for name, _ in _parts(folder.path)]
    if not found:
        return names
    own, other = read_run(folder.machines), read_run(draft / "machines.json")
    if own is None or other is None or own.run != other.run:
        raise ArchiveRefused(f"{folder.path} has state of its own ({found[0]}); import into a new state folder")
    parts = [name for name in names if name.startswith("recovery/")]
    if twice := [name for name in parts if name in found]:
        raise ArchiveRefused(f"{folder.path} has {twice[0]} already")
    return parts


def _parts(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, ending in _FOLDERS.items():
        yield from ((f"{name}/{path.name}", path) for path in sorted((folder / name).glob(f"*{ending}")))
    yield from ((name, folder / name) for name in _FILES if (folder / name).exists())


def _known(name: str) -> bool:
    path = PurePosixPath(name)
    if name in _FILES:
        return True
    return len(path.parts) == 2 and path.parts[1] != ".." and _FOLDERS.get(path.parts[0]) == path.suffix  # noqa: PLR2004


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database with what its log still holds."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, manifest: Manifest, parts: dict[str, Path]) -> None:
    with path.open("wb") as file:
        with (
            zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|") as tar,
        ):
            head = msgspec.json.encode(manifest)
            first = tarfile.TarInfo(_MANIFEST)
            first.size = len(head)
            tar.addfile(first, io.BytesIO(head))
            for name, source in parts.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = source.stat().st_size, 0o600
                with source.open("rb") as data:
                    tar.addfile(entry, data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, into: Path) -> Manifest:
    """Unpack known parts and compare their digests."""
    manifest: Manifest | None = None
    seen: set[str] = set()
    with (
        path.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as packed,
        tarfile.open(fileobj=packed, mode="r|") as tar,
    ):
        for entry in tar:
            data = tar.extractfile(entry) if entry.isreg() else None
            if manifest is None:
                if entry.name != _MANIFEST or data is None or entry.size > 1 << 20:
                    raise ArchiveRefused(f"{path} is not an export of edgewatch: it does not begin with {_MANIFEST}")
                manifest = _checked(path, msgspec.json.decode(data.read(), type=Manifest))
                continue
            if data is None or entry.name not in manifest.parts or entry.name in seen or entry.size > _MOST_BYTES:
                raise ArchiveRefused(f"{path} holds {entry.name!r}, which its manifest does not have: it was changed")
            seen.add(entry.name)
            target = into / entry.name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with target.open("xb") as out:
                target.chmod(0o600)
                shutil.copyfileobj(data, out)
                out.flush()
                os.fsync(out.fileno())
            if _digest(target) != manifest.parts[entry.name]:
                raise ArchiveRefused(f"{path}: {entry.name} is not what was exported (its SHA-256 differs)")
    if manifest is None or seen != set(manifest.parts):
        raise ArchiveRefused(f"{path} is not a whole export: it ends too early")
    return manifest


def _checked(path: Path, manifest: Manifest) -> Manifest:
    foreign = [name for name in manifest.parts if not _known(name)]
    if foreign:
        raise ArchiveRefused(f"{path} holds {foreign[0]!r}, which is no part of a state folder")
    if manifest.schema != SCHEMA:
        raise ArchiveRefused(
            f"{path} is of schema {manifest.schema}, and this edgewatch reads schema {SCHEMA}: import it with the version "
            "that exported it"
        )
    return manifest
