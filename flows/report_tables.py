"""Report tables: what a report asks, answered by ClickHouse in SQL: the live rows, or those of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.decision_log import quoted
from flows.output import canonical
from flows.report_source import Buckets, Course, Ints, Partition, Range, ReportError, Tally, tallied
from sinks.clickhouse import Queries

_WEEK_S = 7 * 86_400
# Value and start of a window as one number, which costs a third of comparing pairs: the bits of a float64 are in the order of
# its values, those of negative ones the other way round; 0 is added because -0 is 0.
_BITS = "reinterpretAsInt64(value + 0)"
_PLACED = f"""toInt128(if({_BITS} < 0, bitXor({_BITS}, {2**63 - 1}), {_BITS})) * {2**32} + toUInt32(window_start)"""
_SUMS = f"""count() AS windows, toFloat64(sum(count)) AS records, sum(value) AS total, sum(value * count) AS weighted,
    min(value) AS low, max(value) AS high, toFloat64(toUInt32(bitAnd(min({_PLACED}), {2**32 - 1}))) AS low_at,
    toFloat64(toUInt32(bitAnd(max({_PLACED}), {2**32 - 1}))) AS high_at"""
_COLUMNS = ("windows", "records", "total", "weighted", "low", "high", "low_at", "high_at")
_SECONDS = ("low_at", "high_at")


class ReportTables:
    """A source over ClickHouse's tables; `run` is '' for live rows. Methods raise DeliveryError."""

    def __init__(self, client: Queries, run: str, length_ms: int) -> None:
        """Take an open client; raises ReportError where there is no such run.

        `length_ms` is the length of windows: of hopping ones, those that overlap are not added up.
        """
        self._client = client
        self._run = f"run = {quoted(run)}"
        self._apart = (
            f"toUnixTimestamp(window_start) % {length_ms // 1000} = 0 AND window_end - window_start = {length_ms // 1000}"
        )
        self.name = f"ClickHouse, run {run}" if run else "ClickHouse"
        self._buckets: dict[tuple[str, Range], dict[str, Buckets]] = {}
        self._tallies: dict[tuple[str, Range], dict[str, Tally | None]] = {}
        if run:
            self._check_run(run)
        rows = client.query(f"SELECT DISTINCT metric FROM window_metrics WHERE {self._run}")  # noqa: S608
        self.metrics = frozenset(row["metric"] for row in rows)

    def span(self) -> tuple[int, int] | None:
        """Give the start of the first and the end of the last window (ms)."""
        (row,) = self._client.query(
            "SELECT toFloat64(count()) AS n, toFloat64(toUnixTimestamp(min(window_start))) AS first,"  # noqa: S608
            f" toFloat64(toUnixTimestamp(max(window_end))) AS last FROM window_metrics WHERE {self._run}"
        )
        return (int(row["first"]) * 1000, int(row["last"]) * 1000) if row["n"] else None

    def tally(self, metric: str, statistics: Sequence[str], over: Range) -> dict[str, Tally]:
        """Add up the rows of each key; asked once of each statistic."""
        known = self._tallies.setdefault((metric, over), {})
        wanted = [name for name in statistics if name not in known]
        if wanted:
            rows = self._client.query(
                f"SELECT statistic, key, {_SUMS} FROM window_metrics FINAL"  # noqa: S608
                f" WHERE {self._of(metric, wanted)} AND {_within(over)} GROUP BY statistic, key"
            )
            for row in rows:
                row["name"] = canonical(row["key"]).decode()
            known |= dict.fromkeys(wanted) | _tallies(rows)
        return {name: tally for name in statistics if (tally := known[name]) is not None}

    def stretches(self, metric: str, statistics: Sequence[str], edges: Sequence[int]) -> dict[str, Tally]:
        """Add up the rows of the total between edges."""
        rows = self._client.query(
            f"SELECT statistic, {_edge(edges)} AS name, {_SUMS} FROM window_metrics FINAL"  # noqa: S608
            f" WHERE {self._of(metric, statistics)} AND empty(key) AND {_within(Range(edges[0], edges[-1]))}"
            " GROUP BY statistic, name"
        )
        return _tallies(rows)

    def course(self, metric: str, statistics: Sequence[str], over: Range, step: int) -> Course:
        """Give the total over time."""
        number = f"intDiv(toUnixTimestamp(window_start) - {over.start // 1000}, {step // 1000})"
        rows = self._client.query(
            f"SELECT statistic, toFloat64({number}) AS place, min(value) AS low, max(value) AS high FROM window_metrics FINAL"  # noqa: S608
            f" WHERE {self._of(metric, statistics)} AND empty(key) AND {_within(over)} GROUP BY statistic, place ORDER BY place"
        )
        places = np.unique(np.array([row["place"] for row in rows], np.int64))
        low, high = ({name: np.full(len(places), np.nan) for name in statistics} for _ in range(2))
        for row in rows:
            at = np.searchsorted(places, int(row["place"]))
            low[row["statistic"]][at], high[row["statistic"]][at] = row["low"], row["high"]
        return Course(over.start + places * step, low, high)

    def buckets(self, metric: str, over: Range) -> dict[str, Buckets] | None:
        """Give the merged histogram of each key; asked once, as it is the most that there is to add up."""
        if (metric, over) not in self._buckets:
            rows = self._client.query(
                f"SELECT key, {_HISTOGRAM} WHERE {self._run} AND metric = {quoted(metric)}"
                f" AND {self._apart} AND {_within(over)} GROUP BY key, bucket ORDER BY bucket"
            )
            self._buckets[metric, over] = _merged([(canonical(row["key"]).decode(), row) for row in rows])
        return self._buckets[metric, over]

    def bucket_stretches(self, metric: str, edges: Sequence[int]) -> dict[str, Buckets] | None:
        """Give the merged histogram of the total between edges."""
        rows = self._client.query(
            f"SELECT {_edge(edges)} AS name, {_HISTOGRAM} WHERE {self._run} AND metric = {quoted(metric)} AND empty(key)"
            f" AND {self._apart} AND {_within(Range(edges[0], edges[-1]))} GROUP BY name, bucket ORDER BY bucket"
        )
        return _merged([(row["name"], row) for row in rows])

    def starts(self, metrics: Sequence[str], over: Range) -> Ints:
        """Give the starts (ms) of the windows that left rows."""
        names = ", ".join(map(quoted, metrics))
        rows = self._client.query(
            "SELECT DISTINCT toFloat64(toUnixTimestamp(window_start)) AS start FROM window_metrics"  # noqa: S608
            f" WHERE {self._run} AND metric IN ({names}) AND {self._apart} AND {_within(over)} ORDER BY start"
        )
        return np.array([row["start"] for row in rows], np.int64) * 1000

    def transitions(self, over: Range) -> list[dict[str, Any]]:
        """Give the transitions at the ends of these windows."""
        return self._decisions("transitions", "rule, key, episode, `from`, `to`, severity, reason", over)

    def held(self, at: int) -> list[dict[str, Any]]:
        """Give the last transition of each alert that was not inactive at a time."""
        last = ", ".join(f"argMax({name}, (at, version)) AS {alias}" for name, alias in _LAST)
        rows = self._client.query(
            f"SELECT rule, key, {last} FROM transitions FINAL WHERE {self._run} AND at <= {_moment(at)}"  # noqa: S608
            " GROUP BY rule, key HAVING state != 'inactive' ORDER BY rule, toJSONString(key)"
        )
        return [
            {"at": at, "rule": row["rule"], "key": canonical(row["key"]).decode(), "episode": row["last_episode"]}
            | {"from": row["state"], "to": row["state"], "severity": row["last_severity"], "reason": "held"}
            for row in rows
        ]

    def notifications(self, over: Range) -> list[dict[str, Any]]:
        """Give what was said at the ends of these windows."""
        columns = "id, rule, key, episode, status, severity, reason, channels, `group`, title, text, value, threshold"
        return self._decisions("notifications", columns, over)

    def quiet(self, over: Range) -> list[tuple[str, str, int]]:
        """Give (rule, what kept it quiet, evaluations)."""
        rows = self._client.query(
            "SELECT rule, assumeNotNull(suppressed_by) AS kept, toFloat64(count()) AS n FROM evaluations FINAL"  # noqa: S608
            f" WHERE {self._run} AND isNotNull(suppressed_by) AND {_after('window_end', over)}"
            " GROUP BY rule, kept ORDER BY rule, kept"
        )
        return [(row["rule"], row["kept"], int(row["n"])) for row in rows]

    def partitions(self, over: Range) -> tuple[list[Partition], str]:
        """Give how reading went: the counters' growth over the range."""
        rows = self._client.query(
            "SELECT dataset, topic, partition, event,"  # noqa: S608
            f" maxIf(value, at <= {_moment(over.start)}) AS before, maxIf(value, at > {_moment(over.start)}) AS after"
            f" FROM pipeline_events FINAL WHERE {self._run} AND event IN ('records', 'late', 'dead_letters')"
            f" AND at > {_moment(over.start - _WEEK_S * 1000)} AND at <= {_moment(over.end)}"
            " GROUP BY dataset, topic, partition, event ORDER BY dataset, topic, partition"
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            before, after = row["before"] or 0, row["after"] or 0
            name = f"{row['topic'] or row['dataset']}/{row['partition']}"
            found.setdefault(name, {})[row["event"]] = int(after - before if after >= before else after)
        parts = [Partition(name, n.get("records", 0), n.get("late", 0), n.get("dead_letters", 0)) for name, n in found.items()]
        return parts, ""

    def _decisions(self, table: str, columns: str, over: Range) -> list[dict[str, Any]]:
        rows = self._client.query(
            f"SELECT toFloat64(toUnixTimestamp(at)) AS seconds, {columns} FROM {table} FINAL"  # noqa: S608
            f" WHERE {self._run} AND {_after('at', over)} ORDER BY seconds, rule, toJSONString(key)"
        )
        return [row | {"at": int(row["seconds"]) * 1000, "key": canonical(row["key"]).decode()} for row in rows]

    def _of(self, metric: str, statistics: Sequence[str]) -> str:
        names = ", ".join(map(quoted, statistics))
        return f"{self._run} AND metric = {quoted(metric)} AND statistic IN ({names}) AND {self._apart}"

    def _check_run(self, run: str) -> None:
        rows = self._client.query("SELECT DISTINCT run FROM window_metrics WHERE run != '' ORDER BY run")
        known = [row["run"] for row in rows]
        if run not in known:
            there = (
                f"there are: {', '.join(known[:20])}"
                if known
                else "there is none (edgewatch replay --into-clickhouse makes one)"
            )
            raise ReportError(f"no run {run!r} in ClickHouse; {there}")


_LAST = (("`to`", "state"), ("severity", "last_severity"), ("episode", "last_episode"))
_HISTOGRAM = """bucket, toFloat64(sum(n)) AS n
    FROM window_histograms FINAL ARRAY JOIN buckets AS bucket, counts AS n"""


def _moment(ms: int) -> str:
    return f"toDateTime({ms // 1000}, 'UTC')"


def _within(over: Range) -> str:
    return f"window_start >= {_moment(over.start)} AND window_start < {_moment(over.end)}"


def _after(column: str, over: Range) -> str:
    return f"{column} > {_moment(over.start)} AND {column} <= {_moment(over.end)}"


def _edge(edges: Sequence[int]) -> str:
    seconds = ", ".join(str(edge // 1000) for edge in edges[:-1])
    return f"toString(toInt64(roundDown(toUnixTimestamp(window_start), [{seconds}])) * 1000)"


def _tallies(rows: list[dict[str, Any]]) -> dict[str, Tally]:
    out: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        out.setdefault(row["statistic"], []).append(row)
    tallies = {}
    for statistic, found in out.items():
        found.sort(key=lambda row: row["name"])
        columns = {name: [float(row[name]) * (1000 if name in _SECONDS else 1) for row in found] for name in _COLUMNS}
        tallies[statistic] = tallied([row["name"] for row in found], columns)
    return tallies


def _merged(rows: list[tuple[str, dict[str, Any]]]) -> dict[str, Buckets]:
    found: dict[str, tuple[list[int], list[int]]] = {}
    for name, row in rows:
        buckets, counts = found.setdefault(name, ([], []))
        buckets.append(int(row["bucket"]))
        counts.append(int(row["n"]))
    return {name: (np.array(pair[0], np.int64), np.array(pair[1], np.int64)) for name, pair in found.items()}
