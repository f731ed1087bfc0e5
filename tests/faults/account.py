"""Account: what became of each record and each alert, against the ledger of the load and an unbroken run over the same topic.

The unbroken run is a replay in one process, of the same offsets, by the decisions of the clock that the run wrote down; and
what those decisions must not have changed, the counts by window, is compared with the ledger, which knows of none.
"""

import datetime
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from flows.self_report import SelfReport
from flows.verify import TABLES, compare, first_of
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.spool import Spool
from tests.faults.line import Hook, Line
from tests.faults.load import WINDOW_MS, Ledger, Load
from tests.runs import checked, wait_until

SECONDS = float(os.environ.get("EDGEWATCH_FAULT_SECONDS", "4"))
LINES: list[str] = []  # the figures of this process, in order


def length(nominal_s: float) -> float:
    """Give how long a fault of `nominal_s` lasts here: EDGEWATCH_FAULT_SECONDS at most."""
    return min(nominal_s, SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is printed of a fault. `records_in` are all since the line's first start, and so are the others."""

    fault: str
    lasted_s: float
    records_in: int
    windows: int  # records in closed windows
    open: int  # records in windows that are not closed yet
    late: int
    dead: int
    alerts_expected: int
    alerts_delivered: int
    duplicates: int
    recovered_s: float

    def line(self) -> str:
        pairs = [(each.name, getattr(self, each.name)) for each in fields(self)]
        return json.dumps({name: round(value, 1) if isinstance(value, float) else value for name, value in pairs})


def say(figures: Figures) -> None:
    """Keep the line of a fault, which is printed at the end of the test run."""
    LINES.append(figures.line())


class Account:
    """Looks at a line from outside."""

    def __init__(self, line: Line, load: Load, hook: Hook, url: str) -> None:
        self._line, self._load, self._hook = line, load, hook
        self.client = ClickHouse(ClickHouseOptions(url=url))
        self._replays = 0
        self.differences: list[str] = []

    def close(self) -> None:
        self.client.close()

    def settle(self, fault: str, *, lasted_s: float, recovered_s: float) -> Figures:
        """Wait until nothing waits any more, and count; AssertionError where something is not as in the unbroken run."""
        line = self._line
        with self._load.rest() as ledger:
            wait_until(lambda: self._read() >= ledger.sent, what=f"the end of the topic\n{line.said()[-3000:]}", seconds=90)
            wait_until(lambda: line.closed() >= ledger.closed(), what="the last windows")
            report, closed = line.report(), line.closed()
            assert report is not None
            counted = (report.records, sum(p.late for p in report.partitions), sum(p.dead for p in report.partitions))
            known = ledger.copy()
            assert counted == (known.sent, known.late, known.dead), (counted, known.sent, known.late, known.dead)
        wait_until(lambda: self._delivered_since(report), what=f"delivery\n{line.said()[-3000:]}", seconds=120)
        windows, waiting = self._windows(known, closed)
        expected, delivered, duplicates = self._compare(closed)
        return Figures(
            fault=fault,
            lasted_s=lasted_s,
            records_in=known.sent,
            windows=windows,
            open=waiting,
            late=known.late,
            dead=known.dead,
            alerts_expected=expected,
            alerts_delivered=delivered,
            duplicates=duplicates,
            recovered_s=recovered_s,
        )

    def _read(self) -> int:
        report = self._line.report()
        return -1 if report is None else report.records

    def _delivered_since(self, before: SelfReport) -> bool:
        """Tell whether all that waited at a report has left."""
        spool = Spool(self._line.state / "spool" / "spool-0.db")
        try:
            oldest = min(spool.oldest().values(), default=None)
        finally:
            spool.close()
        return oldest is None or oldest > before.at

    def _windows(self, ledger: Ledger, closed: int) -> tuple[int, int]:
        """Compare the counts of closed windows with the ledger; give the records in closed and in open windows."""
        query = (
            "SELECT toUnixTimestamp(window_start) AS s, value FROM window_metrics FINAL WHERE run = ''"
            " AND metric = 'error_rate' AND statistic = 'total' AND key = '{}'"
        )
        found = {int(row["s"]) * 1000: int(row["value"]) for row in self.client.query(query)}
        stored = {start: count for start, count in found.items() if start + WINDOW_MS <= closed}
        want = {start: count for start, count in ledger.windows.items() if start + WINDOW_MS <= closed}
        assert stored == want, _unequal(stored, want)
        return sum(want.values()), sum(ledger.windows.values()) - sum(want.values())

    def _compare(self, closed: int) -> tuple[int, int, int]:
        """Compare rows and messages with the unbroken run; give alerts expected, delivered, and messages that came twice."""
        self._replays += 1
        out = self._line.folder / f"unbroken-{self._replays}"
        checked("replay", "-c", self._line.config, "--recorded", self._line.state, "--out", out)
        first = min(self._load.ledger.windows)
        found = [compare(self.client, out, table, first, closed) for table in TABLES]
        self.differences = [each.words() for each in first_of(found, 5) if not _own(each.stored)]
        assert self.differences == [], self.differences
        assert found[0].rows
        assert found[1].rows
        rows = [json.loads(line) for line in (out / "notifications.ndjson").read_bytes().splitlines()]
        expected = {row["id"] for row in rows if _ms(row["at"]) <= closed}
        taken = self._hook.taken
        said = {name: self._hook.received[name]["x_edgewatch"] for name, count in taken.items() if count}
        own = {name for name, words in said.items() if words["rule"] != "failing"}
        ids = {name for name, words in said.items() if name in own or _ms(words["at"]) <= closed}
        assert expected - ids == set(), "alerts were lost"
        assert ids - own - expected == set(), "alerts were said that the unbroken run does not say"
        return len(expected), len(ids - own), sum(count - 1 for name, count in taken.items() if count and name not in own)

    def own_words(self) -> list[str]:
        """Give the titles of what the line said of itself, in order."""
        bodies = [body["x_edgewatch"] for body in self._hook.received.values()]
        return [each["title"] for each in bodies if each["rule"] != "failing"]


def _own(row: dict[str, object] | None) -> bool:
    """Tell whether a row is of what a run says of itself: a replay has nothing to say of that kind."""
    return row is not None and "rule" in row and row["rule"] != "failing"


def _unequal(stored: dict[int, int], want: dict[int, int]) -> str:
    keys: Iterable[int] = sorted(stored.keys() | want.keys())
    parts = [f"{key}: {stored.get(key)} stored, {want.get(key)} sent" for key in keys if stored.get(key) != want.get(key)]
    return "; ".join(parts[:10])


def _ms(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def sizes(folder: Path) -> dict[str, int]:
    """Give the bytes of each part of a state folder."""
    out: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).parts[0]
            out[name] = out.get(name, 0) + path.stat().st_size
    return out
