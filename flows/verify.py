"""Verify: what a live run stored of a range, against a replay of the same records: row by row, and why they differ.

Rows are compared as canonical values: what a table shows of a line (times, whole numbers) is undone first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from flows.output import canonical, rfc3339
from sinks.clickhouse import ClickHouse

Row = dict[str, Any]
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Table:
    """A file of a replay and the table with the same rows: the column with the time, and what tells rows apart."""

    file: str
    name: str
    time: str
    identity: tuple[str, ...]


TABLES = (
    Table("windows", "window_metrics", "window_end", ("window_start", "window_end", "metric", "key", "statistic")),
    Table("evaluations", "evaluations", "window_end", ("window_end", "rule", "key")),
    Table("transitions", "transitions", "at", ("at", "rule", "key", "reason")),
    Table("notifications", "notifications", "at", ("at", "id")),
)
_OWN = ("run", "version", "inserted_at", "config_version")
_TIMES = ("window_start", "window_end", "at")


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not the same: stored, replayed (None: there is none), and with which configuration it was stored."""

    table: Table
    stored: Row | None
    replayed: Row | None
    version: str | None = None

    def words(self) -> str:
        """Say what differs."""
        row = self.stored or self.replayed or {}
        what = " ".join(_text(row[name]) for name in self.table.identity)
        if self.stored is None:
            return f"{self.table.name} {what}: only in the replay"
        if self.replayed is None:
            return f"{self.table.name} {what}: only stored"
        names = sorted({*self.stored, *self.replayed})
        changed = [name for name in names if self.stored.get(name) != self.replayed.get(name)]
        pairs = [(name, _text(self.stored.get(name)), _text(self.replayed.get(name))) for name in changed]
        values = "; ".join(f"{name} {stored} stored, {replayed} replayed" for name, stored, replayed in pairs)
        return f"{self.table.name} {what}: {values}"


@dataclass(frozen=True, slots=True)
class Compared:
    """How many rows of a table were compared, those that differ, and of how many `contribution` could not be compared.

    That names what bad records have in common beyond what is usual. What was usual before a replay began is written down
    nowhere; where it may matter the replay says nothing (null), and all else of the row is compared.
    """

    table: Table
    rows: int
    differences: list[Difference]
    unknown: int = 0


def compare(client: ClickHouse, out: Path, table: Table, first: int, last: int) -> Compared:
    """Compare the rows of a table whose times are in [first, last] ms with a replay's file. Raises DeliveryError."""
    differences: list[Difference] = []
    count = unknown = 0
    lines = _by_hour(out / f"{table.file}.ndjson", table, first, last)
    for hour in range(first // _HOUR_MS, last // _HOUR_MS + 1):
        low, high = max(first, hour * _HOUR_MS), min(last, (hour + 1) * _HOUR_MS - 1)
        stored = _stored(client, table, low, high)
        replayed = {_identity(table, row): row for row in lines.get(hour, ())}
        count += len(stored.keys() | replayed.keys())
        for key in sorted(stored.keys() | replayed.keys()):
            row, version = stored.get(key, (None, None))
            again = replayed.get(key)
            if row == again:
                continue
            if row is not None and again is not None and row == _with_contribution(again, row):
                unknown += 1
            else:
                differences.append(Difference(table, row, again, version))
    return Compared(table, count, differences, unknown)


def _with_contribution(replayed: Row, stored: Row) -> Row:
    """Give a replayed row with the stored contribution where the replay does not know one."""
    evidence = replayed.get("evidence", {})
    if evidence.get("contribution") is not None or "contribution" not in evidence:
        return replayed
    return replayed | {"evidence": {**evidence, "contribution": stored["evidence"].get("contribution")}}


def reasons(differences: Iterable[Difference], version: str, summary: Mapping[str, Any], *, recorded: bool) -> list[str]:
    """Say what is known of why rows differ."""
    found = list(differences)
    out = []
    others = sorted({each.version for each in found if each.version not in (None, "", version)} - {None})
    if others:
        out.append(f"stored with configuration {', '.join(map(str, others))}; replayed with {version}")
    if not recorded:
        out.append("the recordings of the live run were not there: what silent partitions and silences decided is not known")
    if summary.get("late"):
        out.append(f"{summary['late']:,} records were late; they count nowhere, unless the allowed lateness has changed")
    out += [f"alerts before --from: {doubt}" for doubt in summary.get("doubts", ())]
    return out


def _by_hour(path: Path, table: Table, first: int, last: int) -> dict[int, list[Row]]:
    """Give the rows of a file by hour."""
    out: dict[int, list[Row]] = {}
    low, high = rfc3339(first), rfc3339(last)
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            if low <= row[table.time] <= high:
                out.setdefault(_ms(row[table.time]) // _HOUR_MS, []).append(row)
    return out


def _stored(client: ClickHouse, table: Table, first: int, last: int) -> dict[bytes, tuple[Row, str]]:
    """Give the live rows of a span by identity, as the files have them, each with its configuration."""
    found = client.query(
        f"SELECT * FROM {table.name} FINAL WHERE run = '' AND {table.time} >= toDateTime({-(-first // 1000)}, 'UTC')"  # noqa: S608
        f" AND {table.time} <= toDateTime({last // 1000}, 'UTC')"
    )
    rows = ((_line(row), str(row.get("config_version", ""))) for row in found)
    return {_identity(table, row): (row, version) for row, version in rows}


def _line(row: Row) -> Row:
    """Undo what a table does to a line."""
    out = {name: value for name, value in row.items() if name not in _OWN}
    for name in _TIMES:
        if name in out:
            out[name] = out[name].replace(" ", "T") + "Z"
    if "count" in out:
        out["count"] = int(out["count"])
    if "evidence" in out:
        out["evidence"] = orjson.loads(out["evidence"])
    if "method" in out:
        out.pop("labels", None)  # the table of windows has a column that no line fills
    return out


def _identity(table: Table, row: Row) -> bytes:
    return canonical([row[name] for name in table.identity])


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def first_of(found: Iterable[Compared], most: int) -> Iterator[Difference]:
    """Give the first differences of each table."""
    for each in found:
        yield from each.differences[:most]
