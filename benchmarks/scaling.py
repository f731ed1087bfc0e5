"""What a record costs among many keys and late in a day, and for how long a snapshot keeps lanes from reading.

Usage: python -m benchmarks.scaling [--keys 1 100 10000] [--records N N] [--runs 3] [--hours 24] [--rate N]    (JSON lines)

Each case is a replay of an archive in a process of its own, by the real engine with its recovery store. Cost is processor time
(user and system, of all threads) from the first record on, starting left out. Keys: each of the numbers of `records` over
four windows, with the default snapshot interval, `runs` times by turns. Fit, of their medians: what a record more costs among
so many keys (the slope between the fewest and the most records), and what that leaves for a window and for a key in it: a
difference of two, so it may be noise, and below zero. Pause: the fewest records
with a snapshot every 200 ms; from the first state that the engine asks for until a lane is asked to read again, less what the
line's own steps take in between: packing, pickling and writing to the disk. On a busy machine look at its processor time, of
the engine's thread. Hours: `rate` records in 20 minutes over twelve keys, by quarter of the time, with a snapshot a second.
"""

import argparse
import dataclasses
import itertools
import json
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.line import HERE
from benchmarks.replay import STEP_MS, fill
from flows import engine
from flows.config import load
from flows.monitor import prepared
from flows.process import opened
from flows.run_folder import RunFolder, RunSpec

QUARTERS = 4
WINDOWS = 4  # of five minutes, in the 20 minutes of an archive's part


class Pauses:
    """Takes the time of what the engine does for a snapshot."""

    def __init__(self):
        self._open: np.ndarray | None = None
        self._packed = 0.0
        self._other = np.zeros(2)  # what the line's own steps took meanwhile
        self.found: list[tuple[float, float, float, int]] = []  # ms and processor ms until a lane is asked, of packing, bytes
        self._bytes = 0
        for kind in (engine._LanePart, engine._Window, engine._Decisions):
            kind.snapshot = self._timed(kind.snapshot)  # type: ignore[method-assign]
        engine._Window.on_batch = self._apart(engine._Window.on_batch)  # type: ignore[method-assign]
        engine._Decisions.write_batch = self._apart(engine._Decisions.write_batch)  # type: ignore[method-assign]

    def _timed(self, snapshot):
        def timed(logic):
            begun = clocks()
            self._open = begun if self._open is None else self._open
            state = snapshot(logic)
            self._packed += (clocks() - begun)[1]
            self._bytes += len(state)
            return state

        return timed

    def _apart(self, step):
        def apart(logic, items):
            begun = clocks()
            try:
                return step(logic, items)
            finally:
                self._other += clocks() - begun

        return apart

    def asked(self):
        """Take note that a lane is asked to read."""
        if self._open is not None:
            wall, processor = (clocks() - self._open - self._other) * 1000
            self.found.append((wall, processor, self._packed * 1000, self._bytes))
        self._open, self._packed, self._bytes, self._other = None, 0.0, 0, np.zeros(2)


def clocks():
    """Give the time (s) of the wall, and of the processor in this thread."""
    return np.array([time.perf_counter(), time.thread_time()])


def measure(archive, records, interval=None):
    """Replay once; gives microseconds a record by quarter and of all, the pauses, and the peak of memory (MB)."""
    pauses, count = Pauses(), 0
    marks: list[tuple[int, float]] = []  # records, and processor seconds by then

    def batch(_, found):
        nonlocal count
        if not marks or count >= records * len(marks) / QUARTERS:
            marks.append((count, time.process_time()))
        count += len(found) + len(found.dead)

    with tempfile.TemporaryDirectory() as name:
        config, state = Path(name) / "monitor.toml", Path(name) / "state"
        text = (HERE / "monitor.toml").read_text().replace("BROKERS", "127.0.0.1:9").replace("TOPIC", "none")
        config.write_text(text if interval is None else f'{text}\n[engine]\nsnapshot_interval = "{interval}"\n')
        spec = RunSpec(
            mode="replay",
            config=str(config),
            source=f"archive:{archive}",
            start=None,
            end=None,
            state=str(state),
            out=str(Path(name) / "out"),
        )
        settings = load(config, secrets=False)
        prepared(settings, spec, RunFolder(state))
        run, outbox = opened(settings, spec)
        run = dataclasses.replace(run, on_batch=batch, on_asked=lambda _: pauses.asked())
        engine.execute(run)
        marks.append((count, time.process_time()))
        outbox.close(drain=False)
    assert count == records, (count, records)
    costs = [(b[1] - a[1]) / (b[0] - a[0]) * 1e6 for a, b in itertools.pairwise(marks) if b[0] > a[0]]
    whole = (marks[-1][1] - marks[0][1]) / count * 1e6
    return costs, whole, pauses.found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def spread(values):
    return {"median": round(float(np.median(values)), 1), "largest": round(float(values.max()), 1)}


def replayed(archive, records, interval=None):
    """Replay an archive in a process of its own; gives what `measure` gives."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, archive, records, interval).result()


def cost(records, found):
    """Say what a record cost."""
    costs, whole, _, peak = found
    by_quarter = [round(each, 2) for each in costs]
    return {"records": records, "us_per_record": round(whole, 2), "by_quarter": by_quarter, "peak_mb": round(peak)}


def pause(found):
    """Say for how long snapshots kept lanes from reading."""
    pauses = found[2]
    large = np.array([each for each in pauses if each[-1] > max(found[-1] for found in pauses) / 2])
    return {
        "snapshots": len(large),
        "pause_ms": spread(large[:, 0]),
        "pause_processor_ms": spread(large[:, 1]),
        "packing_processor_ms": spread(large[:, 2]),
        "snapshot_kb": round(float(large[:, 3].max()) / 1024),
    }


def fit(wholes, keys):
    """Tell the cost of a record from that of a window and its keys; `wholes` is microseconds a record by number of records."""
    least, most = min(wholes), max(wholes)
    slope = (wholes[most] * most - wholes[least] * least) / (most - least)
    beside = (wholes[least] - slope) * least / WINDOWS
    return {
        "us_per_record_more": round(slope, 2),
        "ms_per_window": round(beside / 1000, 1),
        "us_per_key_and_window": round(beside / keys, 1),
    }


def show(**found):
    print(json.dumps({"benchmark": "scaling", **found}), flush=True)


def among(keys, sizes, runs):
    """Measure replays among so many keys, of each size."""
    wholes: dict[int, list[float]] = {records: [] for records in sorted(set(sizes))}
    with tempfile.TemporaryDirectory() as name:
        archives = {records: Path(name) / str(records) for records in wholes}
        for records, archive in archives.items():
            fill(archive, records, 1, hosts=keys)
        for _ in range(runs):
            for records, archive in archives.items():
                found = replayed(archive, records)
                wholes[records].append(found[1])
                of_a_key = round(records / keys / WINDOWS, 1)
                show(case="keys", keys=keys, records_per_key_and_window=of_a_key, **cost(records, found))
        fewest = min(archives)
        paused = replayed(archives[fewest], fewest, "200ms")
        show(case="pause", keys=keys, **cost(fewest, paused), **pause(paused))
    if len(wholes) > 1:
        show(case="fit", keys=keys, runs=runs, **fit({records: median(each) for records, each in wholes.items()}, keys))


def day(hours, rate):
    """Measure a replay of so many hours."""
    times = hours * 3_600_000 // STEP_MS
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "archive"
        fill(archive, rate, times, hosts=12)
        found = replayed(archive, rate * times, "1s")
    show(case="hours", hours=hours, **cost(rate * times, found), **pause(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="*", default=[1, 100, 10_000])
    parser.add_argument("--records", type=int, nargs="+", default=[400_000, 2_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--rate", type=int, default=10_000, help="records in 20 minutes, for the hours")
    options = parser.parse_args()
    for keys in options.keys:
        among(keys, options.records, options.runs)
    if options.hours:
        day(options.hours, options.rate)


if __name__ == "__main__":
    main()
