"""Publish: the live rows of a range replaced by those of a run: windows, histograms and exemplars.

New rows go in first, as newer versions, then older ones of the range go: so whoever reads meanwhile sees old or new rows, and
what is interrupted is done again. Decisions (evaluations, transitions, notifications) stay: they are what was said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.decision_log import quoted
from sinks.clickhouse import ClickHouse

_LISTED = 5
# Of each table: what tells its rows apart, and what of them may change.
REPAIRED: dict[str, tuple[str, str]] = {
    "window_metrics": ("metric, statistic, window_start, window_end, toJSONString(key)", "value, count, method"),
    "window_histograms": ("metric, window_start, window_end, toJSONString(key)", "buckets, counts"),
    "exemplars": (
        "metric, window_start, window_end, toJSONString(key), reason, `partition`, `offset`, `index`",
        "value, event_time, ray_id",
    ),
}
_DECIDED = "rule, window_end, toJSONString(key)", "value, count, level, state_before, state_after, severity, suppressed_by"
_NOT_COPIED = ("run", "version", "inserted_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The windows that start in [start, end) ms, of these metrics."""

    start: int
    end: int
    length_ms: int
    metrics: Sequence[str]

    def condition(self) -> str:
        """Write it for the tables of windows."""
        names = ", ".join(map(quoted, self.metrics))
        return f"window_start >= {_at(self.start)} AND window_start < {_at(self.end)} AND metric IN ({names})"

    def decided(self) -> str:
        """Write it for decisions."""
        first, last = self.start + self.length_ms, self.end + self.length_ms
        return f"window_end >= {_at(first)} AND window_end < {_at(last)}"


@dataclass(frozen=True, slots=True)
class Change:
    """What would change in a table: rows that come, go and change, and how many there are now."""

    table: str
    added: int
    removed: int
    changed: int
    live: int
    largest: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """Tell whether the table stays as it is."""
        return not (self.added or self.removed or self.changed)


def changes(client: ClickHouse, run: str, chosen: Range) -> list[Change]:
    """Say what publishing a run would change, table by table."""
    found = [_change(client, table, run, chosen.condition(), columns) for table, columns in REPAIRED.items()]
    largest = _largest(client, run, chosen.condition())
    return [
        Change(c.table, c.added, c.removed, c.changed, c.live, largest if c.table == "window_metrics" else []) for c in found
    ]


def otherwise(client: ClickHouse, run: str, chosen: Range) -> Change:
    """Say how many decision records of the run are other than those that stay."""
    return _change(client, "evaluations", run, chosen.decided(), _DECIDED)


def publish(client: ClickHouse, run: str, chosen: Range) -> None:
    """Put a run's rows in the place of the live ones of a range."""
    where = chosen.condition()
    for table in REPAIRED:
        columns = [row["name"] for row in client.query(_COLUMNS % quoted(table))]
        names = ", ".join(f"`{name}`" for name in columns if name not in _NOT_COPIED)
        version = int(client.query("SELECT toUnixTimestamp64Milli(now64(3)) AS now")[0]["now"])
        client.execute(
            f"INSERT INTO {table} (run, version, {names}) SELECT '' AS run, {version} AS version, {names}"  # noqa: S608
            f" FROM (SELECT * FROM {table} FINAL WHERE run = {quoted(run)} AND {where})"
        )
        client.execute(f"ALTER TABLE {table} DELETE WHERE run = '' AND {where} AND version < {version}")


_COLUMNS = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = %s ORDER BY position"


def _change(client: ClickHouse, table: str, run: str, where: str, columns: tuple[str, str]) -> Change:
    identity, values = columns
    (row,) = client.query(
        "SELECT countIf(live = 0) AS added, countIf(fresh = 0) AS removed, countIf(live > 0 AND fresh > 0 AND was != now)"  # noqa: S608
        " AS changed, countIf(live > 0) AS there FROM ("
        f" SELECT id, countIf(run = '') AS live, countIf(run != '') AS fresh,"
        " anyIf(v, run = '') AS was, anyIf(v, run != '') AS now FROM ("
        f" SELECT run, toString(({identity})) AS id, toString(({values})) AS v FROM {table} FINAL"
        f" WHERE run IN ('', {quoted(run)}) AND {where}) GROUP BY id)"
    )
    added, removed, changed, there = (int(row[name]) for name in ("added", "removed", "changed", "there"))
    return Change(table, added, removed, changed, there)


def _largest(client: ClickHouse, run: str, where: str) -> list[dict[str, Any]]:
    """Give the rows whose values change most, as a share of the larger value; a row that comes or goes has None."""
    return client.query(
        "SELECT metric, statistic, toString(start) AS window_start, k AS key, if(live > 0, was, NULL) AS was,"  # noqa: S608
        " if(fresh > 0, now, NULL) AS now FROM ("
        " SELECT metric, statistic, window_start AS start, toJSONString(key) AS k, countIf(run = '') AS live,"
        " countIf(run != '') AS fresh, anyIf(value, run = '') AS was, anyIf(value, run != '') AS now"
        f" FROM window_metrics FINAL WHERE run IN ('', {quoted(run)}) AND {where}"
        " GROUP BY metric, statistic, window_start, k)"
        " WHERE live = 0 OR fresh = 0 OR was != now"
        " ORDER BY if(live > 0 AND fresh > 0, abs(now - was) / greatest(abs(now), abs(was)), 1) DESC,"
        " start, metric, statistic, k"
        f" LIMIT {_LISTED}"
    )


def _at(ms: int) -> str:
    return f"toDateTime({-(-ms // 1000)}, 'UTC')"  # windows begin at whole seconds
