"""Backtest: how long it takes to judge a long history in ClickHouse: windows of 100 keys by 10 rules, from the embedded server.

The rows are made by the server itself (INSERT SELECT). One key in about 2 000 is bad for an hour, one value in 5 000 alone, so
at nearly every hour something is pending or fires. Reading goes on in a thread beside: `read_s` is how long it
took, `judge_s` the processor time of judging, `cpu_s` that of both without the server's.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from flows.ahead import Ahead
from flows.backtest import Backtest
from flows.config import Config, loads
from flows.history import History, Rows, wanted_of
from flows.stored_windows import StoredWindows
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded

START_S = 1_735_689_600  # 2025-01-01
LENGTH_S = 300
STATISTICS = ("p50", "p99")
METRICS = 5
DAY_S = 86_400
MERGED_S = 120

METRIC = """
[[metric]]
name = "m{n}"
kind = "distribution"
dataset = "http_requests"
value = "OriginResponseDurationMs"
unit = "ms"
group_by = ["ClientRequestHost"]
"""
RULE = """
[[rule]]
name = "{metric}_{statistic}"
metric = "{metric}"
statistic = "{statistic}"
keys = "groups"
above = {{ warning = 100, critical = 1000 }}
"""
# Rules that remember windows; with them two metrics that have a ratio.
REMEMBERS = """
[[metric]]
name = "r{n}"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[slo]]
name = "s{n}"
metric = "r{n}"
objective = 0.99
"""
CHANGE = """
[[rule]]
name = "change_{n}"
kind = "change"
metric = "m{n}"
statistic = "p99"
keys = "groups"
baseline = {{ against = "{against}", measure = "{measure}" }}
above = {{ warning = 5, critical = 20 }}
"""
AGAINST = (("previous", "ratio"), ("day", "ratio"), ("week", "ratio"), ("previous", "deviation"))
ABSENCE = """
[[rule]]
name = "absence_{n}"
kind = "absence"
metric = "m{n}"
keys = "groups"
"""
FLAP = """
[[rule]]
name = "flap_{n}"
metric = "m{n}"
statistic = "p50"
keys = "groups"
above = {{ warning = 100, critical = 1000 }}
for = 2
flap = {{ transitions = 4, windows = 12, leave = 2 }}
"""
INSERT = """
INSERT INTO window_metrics (window_start, window_end, metric, key, statistic, value, count, method)
SELECT
    toDateTime({start} + intDiv(number, {keys}) * {length}, 'UTC') AS window_start,
    window_start + {length},
    '{metric}',
    map('ClientRequestHost', concat('host-', leftPad(toString(number % {keys}), 4, '0'), '.example.com')),
    '{statistic}',
    multiIf(
        cityHash64('{metric}{statistic}', number % {keys}, intDiv(intDiv(number, {keys}), 12)) % 2000 = 0, {scale} * 2000,
        cityHash64('{metric}{statistic}', number) % 5000 = 0, {scale} * 300,
        {scale} * (20 + cityHash64('{metric}{statistic}', number) % 60)
    ),
    1000 + number % 7,
    'exact'
FROM numbers({first}, {rows})
"""


class Timed:
    """A store whose reading is timed."""

    def __init__(self, store: StoredWindows) -> None:
        """Take the store."""
        self._store = store
        self.seconds = 0.0
        self.rows_read = 0

    def __getattr__(self, name: str) -> object:
        """Give what the store has."""
        return getattr(self._store, name)

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int, keys: Collection[str] | None = None) -> Rows:
        """Give rows, and note how long it took."""
        began = time.perf_counter()
        found = self._store.rows(metric, statistics, start, end, keys)
        self.seconds += time.perf_counter() - began
        self.rows_read += len(found.starts) * len(statistics)
        return found


def config_of(rules: int) -> Config:
    """Make a configuration of so many rules."""
    pairs = [(f"m{n}", statistic) for n in range(METRICS) for statistic in STATISTICS][:rules]
    metrics = [METRIC.format(n=n) for n in range(METRICS)]
    text = "".join([*metrics, *(RULE.format(metric=metric, statistic=statistic) for metric, statistic in pairs)])
    return loads(text, Path("benchmark.toml"))


def remembering() -> Config:
    """Make a configuration of ten rules that remember windows: 4 changes, 2 objectives, 2 absences, and 2 that may flap."""
    metrics = [METRIC.format(n=n) for n in range(METRICS)]
    changes = [CHANGE.format(n=n, against=against, measure=measure) for n, (against, measure) in enumerate(AGAINST)]
    others = [text.format(n=n) for text in (ABSENCE, FLAP) for n in range(2)]
    slos = [REMEMBERS.format(n=n) for n in range(2)]
    return loads("".join([*metrics, *changes, *others, *slos]), Path("benchmark.toml"))


def fill(client: ClickHouse, config: Config, keys: int, days: float) -> float:
    """Make the rows, a month at a time; gives the seconds it took."""
    began = time.perf_counter()
    windows = int(days * DAY_S // LENGTH_S)
    step = 30 * DAY_S // LENGTH_S
    pairs = [(metric, statistic) for metric, found in wanted_of(config.rules, config.metrics).items() for statistic in found]
    for metric, statistic in sorted(pairs):
        for first in range(0, windows, step):
            size = min(step, windows - first) * keys
            scale = 1 if statistic in STATISTICS else 0.05  # of 1 000 records 1 to 4 are bad, or 100
            names = {"metric": metric, "statistic": statistic, "keys": keys, "length": LENGTH_S, "scale": scale}
            client.execute(INSERT.format(**names, start=START_S, first=first * keys, rows=size))
    # What was stored over months is merged.
    until = time.perf_counter() + MERGED_S
    while time.perf_counter() < until and client.query("SELECT count() AS n FROM system.merges")[0]["n"] not in (0, "0"):
        time.sleep(0.5)
    return time.perf_counter() - began


def main() -> None:
    """Fill, judge, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--rules", type=int, default=10)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--memory", action="store_true", help="ten rules that remember windows instead")
    chosen = parser.parse_args()
    config = remembering() if chosen.memory else config_of(chosen.rules)
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder)) as server:
        client = ClickHouse(ClickHouseOptions(url=server.url, database="bench"), total=600)
        client.migrate()
        filled = fill(client, config, chosen.keys, chosen.days)
        began = time.perf_counter()
        store = Timed(StoredWindows(client, config.metrics))
        backtest = Backtest(config)
        history = History(store, config.metrics, backtest.bonds)  # type: ignore[arg-type]
        first, last = history.start or 0, history.end or 0
        looked = time.perf_counter() - began
        moved = said = 0
        cpu, both = time.thread_time(), time.process_time()
        for decided in backtest.run(Ahead(history), first, last):
            moved += len(decided.transitions)
            said += len(decided.notifications)
        judged, used = time.thread_time() - cpu, time.process_time() - both
        total = time.perf_counter() - began
        client.close()
    evaluations = sum(int(counts.sum()) for times in backtest.times.values() for counts in times.counts.values())
    line = {
        "benchmark": "backtest",
        "memory": chosen.memory,
        "days": chosen.days,
        "windows": backtest.windows,
        "evaluations": evaluations,
        "rows": store.rows_read,
        "transitions": moved,
        "notifications": said,
        "fill_s": round(filled, 1),
        "span_s": round(looked, 1),
        "read_s": round(store.seconds, 1),
        "judge_s": round(judged, 1),
        "cpu_s": round(used, 1),
        "total_s": round(total, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
