"""Gauges: the mapped files of a state folder as one machine of several shows them to another: board, vitals and hold.

Within a machine all processes write into them. Machine 0 gets the rows of the others each second and writes them into its own,
so that what looks there (watch, probes, supervisor, held lanes) need not know that there are machines.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from connectors.hold import Hold
from connectors.plan import Plan
from connectors.vitals import Vitals
from flows.board import Board
from flows.run_folder import private


class Gauges:
    """The files of a folder, for the lanes of a plan."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Open them, making them as needed."""
        names = [each.name for each in plan.partitions]
        self.plan = plan
        self.board = Board(folder / "board", plan.lane_names())
        self.vitals = Vitals(folder / "vitals", names)
        self.hold = Hold(folder / "hold", names, ahead_ms=0)

    def partitions(self, lanes: Collection[str]) -> list[str]:
        """Give the partitions of some lanes."""
        return [each.name for lane in lanes for each in self.plan.of_lane(lane)]

    def others(self, lanes: Collection[str]) -> list[str]:
        """Give the partitions of all other lanes."""
        return self.partitions([lane for lane in self.plan.lane_names() if lane not in lanes])

    def take(
        self, lanes: Mapping[str, Sequence[int]], partitions: Mapping[str, Sequence[int]], watermarks: Mapping[str, int]
    ) -> None:
        """Write what another machine's files say. Raises KeyError for what the plan does not have."""
        for lane, row in lanes.items():
            self.board.take(lane, row)
        for name, row in partitions.items():
            self.vitals.take(name, row)
        for name, watermark in watermarks.items():
            self.hold.write(name, watermark)


class Recordings:
    """The files in which live lanes write what they decided by the clock: machine 0 has a copy of all of them.

    So its folder alone holds what a replay, or the lane after it has moved to another machine, has to know.
    """

    def __init__(self, folder: Path) -> None:
        """Take the state folder."""
        self._folder = folder / "advances"
        self._known: dict[str, int] = {}  # bytes that were given

    def all_of(self, lane: str) -> str:
        """Give all lines of a lane that nobody writes now; what a crash tore never took effect, and is cut off."""
        self._known[lane] = 0
        text = self.new(lane)
        if self._path(lane).exists():
            os.truncate(self._path(lane), self._known[lane])
        return text

    def new(self, lane: str) -> str:
        """Give the whole lines that came since the last were given."""
        path = self._path(lane)
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(self._known.get(lane, 0))
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._known[lane] = self._known.get(lane, 0) + whole
        return data[:whole].decode()

    def merge(self, lane: str, text: str) -> str:
        """Add the lines of another copy that are not here; gives those that are here alone."""
        here, there = dict.fromkeys(self.all_of(lane).splitlines()), dict.fromkeys(text.splitlines())
        self.append(lane, _lines(line for line in there if line not in here))
        self.all_of(lane)
        return _lines(line for line in here if line not in there)

    def append(self, lane: str, text: str) -> None:
        """Add whole lines."""
        if text:
            self._folder.mkdir(exist_ok=True)
            with open(self._path(lane), "ab", opener=private) as file:
                file.write(text.encode())

    def _path(self, lane: str) -> Path:
        return self._folder / f"{lane}.ndjson"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
