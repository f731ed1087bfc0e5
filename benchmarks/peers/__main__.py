"""The same work by edgewatch and by what a user would take instead, side by side: results equal, rates, processor, memory.

Usage: python -m benchmarks.peers [--records N] [--runs N] [--only NAME...] [--skip NAME...] [--series kafka files] [--blobs]
       python -m benchmarks.peers --install          (about 4 GB in .cache/peers; runs install what they lack themselves)

The work: windows of five minutes by host with count, error rate, mean and p99 of the time to first byte. `kafka`: a topic of
four partitions on a real broker on this machine, one record of about 800 bytes a message; `files`: the same as NDJSON files;
`blobs` (--blobs): the topic holds NDJSON of 500 records a message for edgewatch, and DuckDB reads the files; look at records a
processor second. A whole process is timed, from its start to its last row, with all its children. `start_s` is the same with
1 000 records, and "after start-up" is with that taken off, for everyone. Runs alternate, medians are quoted; the first run of
everyone, with 1 000 records, is not counted. Who answers wrongly is reported as wrong, who is not here as missing. `edgewatch`
is as it comes, with percentiles of many values from a histogram; `edgewatch-exact` computes them exactly, as all others do.
Quix Streams runs with a twentieth of the records. Settings stand in `with_NAME.py`. Progress goes to standard error.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.answers import DifferenceError, check
from benchmarks.peers.contenders import BLOBS, CONTENDERS, CORES, FILES, KAFKA, Job
from benchmarks.peers.installed import MissingError, install, require
from benchmarks.peers.measured import ContenderError, measure
from benchmarks.peers.report import compared, line, table
from benchmarks.peers.work import DataSet
from tests.kafka import broker

FEW = 1_000
STARTS = 2
LIMIT_S = 600.0


class Race:
    """One invocation: its data, its contenders, and what they took."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.lines: list[dict] = []
        self.p99_error: dict[tuple[str, str], float] = {}  # by series and name, of the last run
        self.bad = False
        self._sets: dict[int, DataSet] = {}
        self._began = time.monotonic()
        self._jobs = 0

    def say(self, text):
        print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def left_out(self, series, contender, what, why):
        """Report somebody who gives no figure: missing, failed or wrong."""
        self.say(f"{contender.name}: {what}: {why.splitlines()[-1]}")
        self.lines.append({"benchmark": "peers", "series": series, "contender": contender.name, what: why})
        self.bad |= what != "missing"

    def here(self, contenders, *, may_install):
        """Give name -> why it is missing, of those that are."""
        missing = {}
        for each in contenders:
            try:
                install(each, self.say) if may_install else require(each)
            except MissingError as error:
                missing[each.name] = str(error)
        return missing

    def data(self, records):
        if records not in self._sets:
            self.say(f"making {records:,} records")
            self._sets[records] = DataSet(records, self.folder)
        return self._sets[records]

    def run(self, series, contender, records, brokers):
        """Run a contender once, and check its rows; gives Taken."""
        data = self.data(records)
        topic = data.topic(brokers, contender.topic(series)) if brokers and KAFKA in contender.reads else ""
        self._jobs += 1
        out = self.folder / f"run-{self._jobs}"
        out.mkdir()
        job = Job(brokers or "", topic, data.files(), out, len(data.expected))
        taken = measure(contender.command(series, job), limit_s=LIMIT_S)
        error = check(contender.answer(job), data.expected, p99_within=contender.p99_within)
        self.p99_error[series, contender.name] = error
        return taken

    def race(self, series, contenders, brokers=None):
        """Let the contenders of a series run in turn; makes its lines."""
        runs = self.options.runs
        taken: dict[str, list] = {each.name: [] for each in contenders}
        starts: dict[str, list] = {each.name: [] for each in contenders}
        racing = list(contenders)
        for number in range(-STARTS - 1, runs):
            turn = max(number, 0) % len(racing) if racing else 0
            for each in racing[turn:] + racing[:turn]:  # nobody always runs after the same one
                small = number < 0
                records = FEW if small else each.share(self.options.records)
                try:
                    found = self.run(series, each, records, brokers)
                except (ContenderError, DifferenceError) as error:
                    racing.remove(each)
                    what = "wrong" if isinstance(error, DifferenceError) else "failed"
                    self.left_out(series, each, what, str(error))
                    continue
                what = f"start-up {number + STARTS + 1} of {STARTS}" if small else f"run {number + 1} of {runs}"
                self.say(
                    f"{series}, {what}: {each.name}, {records:,} records: {found.seconds:.2f} s, {found.cpu_s:.2f} s of CPU"
                )
                if number >= 0:
                    taken[each.name].append(found)
                elif number >= -STARTS:
                    starts[each.name].append(found)
        for each in racing:
            records = each.share(self.options.records)
            said = [text for text in taken[each.name][-1].said.splitlines() if text.startswith('{"version"')]
            facts = {
                "records": records,
                "scaled": records != self.options.records,
                "start_s": statistics.median(found.seconds for found in starts[each.name]),
                "start_cpu_s": statistics.median(found.cpu_s for found in starts[each.name]),
                "p99_error": self.p99_error[series, each.name],
                "version": each.version(json.loads(said[-1]) if said else {}),
            }
            self.lines.append(line(series, each, taken[each.name], facts))


def machine(options, began):
    """Say where and how busy: the load when it began, and now."""
    return {
        "benchmark": "peers",
        "records": options.records,
        "runs": options.runs,
        "cores": os.cpu_count(),
        "cores_for_contenders": CORES,
        "python": platform.python_version(),
        "load_before": round(began, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in CONTENDERS]
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--skip", nargs="+", choices=names, default=[], metavar="NAME")
    parser.add_argument("--series", nargs="+", choices=[KAFKA, FILES], default=[KAFKA, FILES])
    parser.add_argument("--blobs", action="store_true", help="also NDJSON of 500 records a message against DuckDB")
    parser.add_argument("--install", action="store_true", help="only install the contenders, or say who is missing")
    parser.add_argument("--no-install", action="store_true", help="who is not installed is missing")
    options = parser.parse_args()
    options.series += [BLOBS] if options.blobs else []
    return options


def main():
    options, began = parse(), os.getloadavg()[0]
    chosen = [each for each in CONTENDERS if each.name in options.only and each.name not in options.skip]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        race = Race(options, Path(name))
        missing = race.here(chosen, may_install=not options.no_install)
        if options.install:
            for each in chosen:
                print(json.dumps({"contender": each.name, "missing": missing.get(each.name)}))
            return
        brokers = None
        reads_kafka = {KAFKA, BLOBS} & set(options.series)
        lacks = broker.missing() if reads_kafka else None
        if reads_kafka and not lacks:
            race.say("starting a Kafka broker")
            brokers = stack.enter_context(broker.Broker(Path(name) / "kafka")).address
        for series in options.series:
            here = []
            for each in (each for each in chosen if series in each.reads):
                why = missing.get(each.name) or (
                    f"no Kafka broker: {lacks}" if lacks and KAFKA in each.reads and series != FILES else None
                )
                if why:
                    race.left_out(series, each, "missing", why)
                else:
                    here.append(each)
            race.race(series, here, brokers)
    lines = compared(race.lines)
    for each in [machine(options, began), *lines]:
        print(json.dumps(each), flush=True)
    print(table(lines))
    sys.exit(1 if race.bad else 0)


if __name__ == "__main__":
    main()
