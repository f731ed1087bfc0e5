"""What the tests of sweeps share: a store of windows in memory, and a configuration to sweep."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from flows.config import loads
from flows.history import CELLS, History, Rows

START = 1_764_547_200_000
LENGTH = 300_000
DAY = 288  # windows

CONFIG = """
# What the monitor of the shop pages on.
environment = "test"

[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"

[channel.slack]
webhook_url = "https://hooks.slack.test/services/a/b/c"

[[metric]]
name = "latency"
kind = "distribution"
dataset = "http_requests"
value = "OriginResponseDurationMs"
unit = "ms"
group_by = ["ClientRequestHost"]

[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"

[[rule]]
name = "slow"                                # the 99th percentile
metric = "latency"
statistic = "p99"
above = { warning = 1000, critical = 3000 }  # ms
min_count = 10

[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { warning = 0.05, critical = 0.1 }
"""


def config_of(text=CONFIG, path=Path("monitor.toml")):
    """Load a configuration without secrets."""
    return loads(text, path, secrets=False)


class Kept:
    """A store of rows in memory: metric -> {(window number, key): (statistics, count)}."""

    def __init__(self, cells):
        self._cells = cells
        self.name = "memory"
        self.length_ms = LENGTH
        self.metrics = {name: tuple(sorted(next(iter(rows.values()))[0])) for name, rows in cells.items()}

    def counts(self, metric):
        numbers, counts = np.unique([number for number, _ in self._cells[metric]], return_counts=True)
        return START + numbers.astype(np.int64) * LENGTH, counts

    def starts(self, metrics):
        numbers = sorted({number for name in metrics for number, _ in self._cells[name]})
        return np.array([START + number * LENGTH for number in numbers], np.int64)

    def keys(self, metric):
        return sorted({key for _, key in self._cells[metric]})

    def rows(self, metric, statistics, start, end, _=None):
        keys = self.keys(metric)
        found = [(START + n * LENGTH, keys.index(key), *cell) for (n, key), cell in self._cells[metric].items()]
        found = [each for each in found if start <= each[0] < end]
        starts, codes, values, counts = zip(*found, strict=True) if found else ((), (), (), ())
        return Rows(
            keys,
            np.array(starts, np.int64),
            np.array(codes, np.int32),
            np.array(counts, np.int64),
            {name: np.array([each[name] for each in values], np.float64) for name in statistics},
            np.zeros(len(found), np.bool_),
        )


def history_of(config, cells, at_a_time=CELLS):
    """Give a history of cells."""
    return History(Kept(cells), config.metrics, cells=at_a_time)


def host(name):
    """Give the key of a host."""
    return json.dumps({"ClientRequestHost": name}, separators=(",", ":"))


def time_of(number):
    """Give the start of the n-th window as files have it."""
    return datetime.fromtimestamp((START + number * LENGTH) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_windows(folder, cells):
    """Write cells as the windows.ndjson of a replay."""
    lines = []
    for metric, rows in cells.items():
        for (number, key), (statistics, count) in rows.items():
            for name, value in statistics.items():
                row = {
                    "window_start": time_of(number),
                    "window_end": time_of(number + 1),
                    "metric": metric,
                    "key": json.loads(key),
                }
                row |= {"statistic": name, "value": value, "count": count, "method": "exact"}
                text = json.dumps(row, sort_keys=True, separators=(",", ":"))
                lines.append((row["window_start"], metric, key, name, text))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "windows.ndjson").write_text("".join(f"{line[-1]}\n" for line in sorted(lines)))
    return folder


def write_labels(path, incidents):
    """Write incidents (first window, end, name, rule) as labels."""
    rows = [f"{time_of(first)},{time_of(end)},{name},{rule}\n" for first, end, name, rule in incidents]
    path.write_text("start,end,name,rule\n" + "".join(rows))
    return path
