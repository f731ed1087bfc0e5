"""Does a run under constant load and random faults lose anything, or grow? An hour by default; a page with what it used.

Usage: python -m benchmarks.soak [--seconds N] [--rate N] [--seed N] [--out FOLDER]      (a JSON line a fault, one at the end)

Faults come in rounds, each once in a round, in an order by the seed, the next when the line is live again;
EDGEWATCH_FAULT_SECONDS bounds how long one is (4 s; 3600 for the full lengths). What ends with an exit code is started again,
as a node would. At the end every record and every alert is accounted for: windows, decisions and alerts equal an unbroken run
over the same topic. Where they do not the folder of the run is kept, and the page is drawn all the same.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sinks.chart import Line as Curve
from sinks.chart import Mark, TimeChart, with_gaps
from sinks.page import Figure, Page, Section, Words, html
from tests.faults import faults
from tests.faults.account import SECONDS, sizes
from tests.faults.stepped_clock import SteppedClock
from tests.faults.world import world

STEP_S = 2.0
MB = 1 << 20
_LIVE_S = 600.0
HANG_AFTER = "30s"  # a busy machine is slow to start processes
FAULTS = (
    *(faults.kill_one, faults.kill_all, faults.kill_supervisor, faults.freeze_one, faults.stop_within_a_window),
    *(faults.kill_broker, faults.broker_gone, faults.freeze_broker, faults.poison, faults.channel_down),
    *(faults.clickhouse_gone, faults.clickhouse_slow, faults.clickhouse_refuses, faults.clock_ahead, faults.clock_behind),
)


class Samples(threading.Thread):
    """What the run uses, every two seconds: the resident set of each of its processes, and the bytes of its state."""

    def __init__(self, there):
        super().__init__(daemon=True)
        self._there = there
        self.end = threading.Event()
        self.rows: list[tuple[int, float, dict[str, int]]] = []  # time (ms), largest resident set (MB), bytes by part

    def run(self):
        while not self.end.wait(STEP_S):
            line = self._there.line
            held = [_resident_mb(pid) for pid in [line.pid, *line.children()]]
            try:
                used = sizes(line.state)
            except FileNotFoundError:  # a draft that was put in its place meanwhile
                continue
            self.rows.append((time.time_ns() // 1_000_000, max(held), used))


def _resident_mb(pid):
    try:
        words = Path(f"/proc/{pid}/status").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(words[words.index("VmRSS:") + 1]) / 1024 if "VmRSS:" in words else 0.0


class Soak:
    """Goes from fault to fault."""

    def __init__(self, there, options):
        self._there, self._options = there, options
        self._random = random.Random(options.seed)
        self.marks: list[Mark] = []
        self.recovered: list[float] = []
        self.counts: Counter[str] = Counter()
        self.starts = 0

    def go(self):
        deadline = time.monotonic() + self._options.seconds
        left: list[Callable[..., None]] = []
        while time.monotonic() < deadline:
            left = left or self._random.sample(FAULTS, len(FAULTS))
            self._hurt(left.pop())
            time.sleep(self._random.uniform(2, 10))

    def _hurt(self, fault):
        line = self._there.line
        self.marks.append(Mark(at=time.time_ns() // 1_000_000, text=fault.__doc__, kind="critical"))
        self.counts[fault.__name__] += 1
        before = time.monotonic()
        fault(self._there)
        lasted, recovered = time.monotonic() - before, self._until_live(line)
        self.recovered.append(recovered)
        said = {"fault": fault.__name__, "lasted_s": round(lasted, 1), "recovered_s": round(recovered, 1)}
        print(json.dumps(said), file=sys.stderr, flush=True)

    def _until_live(self, line):
        """Wait until the line is live; a run that was given up is started again."""
        before = time.monotonic()
        while not line.is_live():
            assert time.monotonic() - before < _LIVE_S, line.said()[-3000:]
            if line.process.poll() is not None:
                self.starts += 1
                line.start()
            time.sleep(0.05)
        return time.monotonic() - before


def chart(unit, samples, curves, marks):
    """Give a chart over the time of the soak, with the faults on it."""
    times = np.array([at for at, *_ in samples], np.int64)
    step = int(STEP_S * 1000)
    times, columns = with_gaps(times, [np.array(values, np.float64) for values in curves.values()], step)
    lines = [
        Curve(name=name, values=column, colour=n + 1) for n, (name, column) in enumerate(zip(curves, columns, strict=True))
    ]
    shown = (int(times[0]), int(times[-1]) + step)
    return TimeChart(unit=unit, times=times, lines=lines, shown=shown, step=step, marks=marks)


def page(samples, soak, summary):
    """Draw what the run used."""
    parts = sorted({name for _, _, used in samples for name in used if max(u.get(name, 0) for _, _, u in samples) > MB / 10})
    memory = {"largest process": [held for _, held, _ in samples]}
    files = {name: [used.get(name, 0) / MB for _, _, used in samples] for name in parts}
    blocks = [
        Words(json.dumps(summary)),
        Figure(title="Resident set of the largest process", chart=chart("MB", samples, memory, soak.marks)),
        Figure(title="State folder by part", chart=chart("MB", samples, files, soak.marks)),
    ]
    lead = f"{summary.get('records_in', 0):,} records, {sum(soak.counts.values())} faults, by seed {summary['seed']}."
    return html(Page(title="Soak", lead=lead, sections=[Section("What the run used", blocks)]))


def quarter(values, number):
    """Give the largest of a quarter of the values."""
    size = max(len(values) // 4, 1)
    return max(values[number * size : (number + 1) * size] or values[-size:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where soak.html goes")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(json.dumps({"folder": str(folder)}), file=sys.stderr, flush=True)
    run(folder, options)
    shutil.rmtree(folder)


def run(folder, options):
    """Hurt a line in a folder for as long as the options say, and print what became of it."""
    clock = SteppedClock(folder)
    with world(folder, idle_after="5s", hang_after=HANG_AFTER, clock=clock, rate=options.rate) as there:
        samples, soak = Samples(there), Soak(there, options)
        samples.start()
        summary = {"seed": options.seed, "fault_seconds": SECONDS}
        try:
            soak.go()
            found = there.account.settle("soak", lasted_s=options.seconds, recovered_s=max(soak.recovered, default=0.0))
            summary |= json.loads(found.line())
        finally:
            samples.end.set()
            samples.join()
            held = [each for _, each, _ in samples.rows]
            state = [sum(used.values()) / MB for *_, used in samples.rows]
            summary |= {
                "faults": dict(sorted(soak.counts.items())),
                "started_again": soak.starts,
                "recovered_median_s": round(float(np.median(soak.recovered)), 1) if soak.recovered else None,
                "memory_mb_by_quarter": [round(quarter(held, n)) for n in range(4)],
                "state_mb_by_quarter": [round(quarter(state, n), 1) for n in range(4)],
                "own_words": len(there.account.own_words()),
            }
            print(json.dumps(summary), flush=True)
            if options.out is not None:
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / "soak.html").write_text(page(samples.rows, soak, summary))


if __name__ == "__main__":
    main()
