"""Decision log: the decision records of a run, and exemplars, read back from ClickHouse or from the files of a replay.

Rows are those of the files, with times in ms UTC as `at`; a key is canonical JSON.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from flows.output import canonical, rfc3339
from sinks.clickhouse import Queries

EVALUATIONS, TRANSITIONS, NOTIFICATIONS = TABLES = ("evaluations", "transitions", "notifications")
_TIME = {EVALUATIONS: "window_end"}  # the column with the time, `at` elsewhere

Row = dict[str, Any]


class LogMissing(Exception):
    """There is nothing to read from; the sentence says what would make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a table: of a rule, of a key, and of times in (after, until] ms; None restricts nothing."""

    rule: str | None = None
    key: str | None = None
    after: int | None = None
    until: int | None = None


class DecisionLog(Protocol):
    """Where decisions were written down."""

    def rows(self, table: str, wanted: Wanted) -> list[Row]:
        """Give rows by time, rule and key."""
        ...

    def span(self, rule: str) -> tuple[int, int] | None:
        """Give the ends of the first and the last window that a rule judged; None where it judged none."""
        ...

    def rules(self) -> list[str]:
        """Give the rules that have judged."""
        ...

    def exemplars(self, record: Row) -> list[Row]:
        """Give the records that were kept of what an evaluation judged, as an alert's evidence has them."""
        ...


class FolderLog:
    """The files of a replay, or of a run to the end offsets."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; raises LogMissing where it holds no records."""
        self._folder = folder
        if not (folder / f"{EVALUATIONS}.ndjson").is_file():
            raise LogMissing(f"{folder} has no {EVALUATIONS}.ndjson; a replay writes it when it is complete")

    def rows(self, table: str, wanted: Wanted) -> list[Row]:
        """Give rows by time, rule and key."""
        return [row for row in self._read(table, wanted) if _holds(row, wanted)]

    def span(self, rule: str) -> tuple[int, int] | None:
        """Give the ends of the first and the last window that a rule judged."""
        times = [row["at"] for row in self._read(EVALUATIONS, Wanted(rule=rule)) if row["rule"] == rule]
        return (times[0], times[-1]) if times else None

    def rules(self) -> list[str]:
        """Give the rules that have judged."""
        return sorted({row["rule"] for row in self._read(EVALUATIONS, Wanted())})

    def exemplars(self, record: Row) -> list[Row]:
        """Give the records that an alert showed; those of windows at which nothing was said are not in a folder."""
        wanted = Wanted(rule=record["rule"], key=record["key"], after=record["at"] - 1, until=record["at"])
        shown = (row["evidence"].get("exemplars") for row in self.rows(NOTIFICATIONS, wanted))
        return next((list(each) for each in shown if each), [])

    def _read(self, table: str, wanted: Wanted) -> Iterator[Row]:
        """Give the rows whose lines may be wanted: most lines are put aside without being parsed."""
        parts = [b'"rule":%b' % orjson.dumps(wanted.rule)] if wanted.rule is not None else []
        parts += [b'"key":%b' % wanted.key.encode()] if wanted.key is not None else []
        if wanted.until is not None and wanted.after == wanted.until - 1:
            parts.append(f'"{_TIME.get(table, "at")}":"{rfc3339(wanted.until)}"'.encode())
        path = self._folder / f"{table}.ndjson"
        if not path.is_file():
            return
        with path.open("rb") as file:
            for line in file:
                if all(part in line for part in parts):
                    row: Row = orjson.loads(line)
                    yield row | {"at": _ms(row[_TIME.get(table, "at")]), "key": canonical(row["key"]).decode()}


class ClickHouseLog:
    """The tables of a live run. Methods raise DeliveryError."""

    def __init__(self, client: Queries) -> None:
        """Take an open client."""
        self._client = client

    def rows(self, table: str, wanted: Wanted) -> list[Row]:
        """Give rows by time, rule and key."""
        time = _TIME.get(table, "at")
        found = self._client.query(
            f"SELECT *, toInt64(toUnixTimestamp({time})) * 1000 AS ms FROM {table} FINAL"  # noqa: S608 (texts are quoted)
            f" WHERE {' AND '.join(_conditions(time, wanted))} ORDER BY ms, rule, toJSONString(key)"
        )
        # An old server writes 64-bit integers as strings.
        return [_typed(row) | {"at": int(row["ms"]), "key": canonical(row["key"]).decode()} for row in found]

    def span(self, rule: str) -> tuple[int, int] | None:
        """Give the ends of the first and the last window that a rule judged."""
        (row,) = self._client.query(
            f"SELECT toInt64(toUnixTimestamp(min(window_end))) AS first, toInt64(toUnixTimestamp(max(window_end))) AS last,"  # noqa: S608
            f" count() AS records FROM {EVALUATIONS} WHERE run = '' AND rule = {quoted(rule)}"
        )
        return (int(row["first"]) * 1000, int(row["last"]) * 1000) if int(row["records"]) else None

    def rules(self) -> list[str]:
        """Give the rules that have judged."""
        query = f"SELECT DISTINCT rule FROM {EVALUATIONS} WHERE run = '' ORDER BY rule"  # noqa: S608 (no foreign text)
        return [row["rule"] for row in self._client.query(query)]

    def exemplars(self, record: Row) -> list[Row]:
        """Give the records that were kept of the window, those first that an alert would name first."""
        wanted = Wanted(key=record["key"], after=record["at"] - 1000, until=record["at"])
        conditions = " AND ".join([f"metric = {quoted(record['metric'])}", *_conditions("window_end", wanted)])
        found = self._client.query(
            "SELECT reason, value, toUnixTimestamp64Milli(event_time) AS ms, ray_id, trace_id FROM exemplars FINAL"  # noqa: S608
            f" WHERE {conditions} ORDER BY if(reason = 'slowest', -value, 0), event_time, ray_id"
        )
        return [
            {
                "reason": row["reason"],
                "value": row["value"],
                "event_time": rfc3339(int(row["ms"])),
                "ray_id": row["ray_id"] or None,
            }
            | ({"trace_id": row["trace_id"]} if row["trace_id"] else {})
            for row in found
        ]


def quoted(text: str) -> str:
    """Write a text as SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _conditions(time: str, wanted: Wanted) -> Iterator[str]:
    yield "run = ''"
    if wanted.rule is not None:
        yield f"rule = {quoted(wanted.rule)}"
    if wanted.key is not None:
        pairs = ", ".join(f"{quoted(name)}, {quoted(value)}" for name, value in orjson.loads(wanted.key).items())
        yield f"key = map({pairs})" if pairs else "empty(key)"
    if wanted.after is not None:
        yield f"{time} > toDateTime({wanted.after // 1000}, 'UTC')"
    if wanted.until is not None:
        yield f"{time} <= toDateTime({wanted.until // 1000}, 'UTC')"


def _typed(row: Row) -> Row:
    return row | {"count": int(row["count"])} if "count" in row else row


def _holds(row: Mapping[str, Any], wanted: Wanted) -> bool:
    return (
        wanted.rule in (None, row["rule"])
        and wanted.key in (None, row["key"])
        and (wanted.after is None or row["at"] > wanted.after)
        and (wanted.until is None or row["at"] <= wanted.until)
    )


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
