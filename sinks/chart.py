"""Charts: what a chart shows, as the JSON that `web/charts.js` draws with uPlot; times are ms UTC, values plain numbers.

Why uPlot (MIT, 50 kB, in `web/`) and not plotly: plotly's smallest script that Python ships has 4.5 MB, in every page that is
to stand alone; uPlot draws a hundred thousand points in the time that the other takes to load. What it lacks (states,
incidents, marks, a scatter) is drawn by its hooks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 4000  # of a line: two a pixel of a wide screen
_DIGITS = 6
_MS = 1000

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line or row of bars over the chart's times; NaN is a gap. `colour` is a number of the palette, from 1."""

    name: str
    values: Floats
    colour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A threshold: a dashed line across. `tone` is critical, warning or muted; where `low`, what is below it is bad.

    Its words stand on that side of the line, where values seldom are.
    """

    name: str
    value: float
    tone: str = "critical"
    low: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time [start, end) with words: a labelled incident, or a state (pending, firing, recovering)."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something said at one time; `text` shows on hover. `kind` is critical, warning or resolved; `pager`: it rang somebody."""

    at: int
    text: str
    kind: str
    pager: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeChart:
    """Lines over time, or bars a day, with what happened beside them.

    Times are the starts of spans of `step` ms. `shown` [start, end) is what the axis shows at first.
    """

    unit: str
    times: Times
    lines: Sequence[Line]
    shown: tuple[int, int]
    step: int
    limits: Sequence[Limit] = ()
    states: Sequence[Span] = ()
    incidents: Sequence[Span] = ()
    marks: Sequence[Mark] = ()
    bars: bool = False
    zone: str = "UTC"
    height: int = 220

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON that is drawn."""
        return {
            "kind": "bars" if self.bars else "time",
            "unit": self.unit,
            "zone": self.zone,
            "height": self.height,
            "step": self.step // _MS,
            "shown": [each // _MS for each in self.shown],
            "x": runs_of(self.times // _MS),
            "lines": [{"name": each.name, "y": short(each.values), "colour": each.colour} for each in self.lines],
            "limits": [asdict(each) for each in self.limits],
            "states": _spans(self.states),
            "incidents": _spans(self.incidents),
            "marks": [[each.at // _MS, each.text, each.kind, int(each.pager)] for each in self.marks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One choice of a scatter; `colour` (a number) places it on the scale, None is grey. `front`: on the line of the best.

    A point with a `mark` has a ring and that word beside it.
    """

    x: float
    y: float
    colour: float | None
    text: str
    front: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points between two axes, coloured by a third number; those of the front are joined by a line."""

    x_name: str
    y_name: str
    colour_name: str
    points: Sequence[Point]
    height: int = 320

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON that is drawn: points by x."""
        points = sorted(self.points, key=lambda each: (each.x, each.y))
        return {
            "kind": "scatter",
            "height": self.height,
            "names": [self.x_name, self.y_name, self.colour_name],
            "points": [[p.x, p.y, p.colour, p.text, int(p.front), p.mark] for p in points],
        }


Chart = TimeChart | Scatter


@dataclass(frozen=True, slots=True)
class Thinned:
    """Columns cut to what a screen can show; `each` windows stand behind a pair of points, 1 where nothing was cut."""

    times: Times
    columns: list[Floats] = field(default_factory=list)
    each: int = 1


def with_gaps(times: Times, columns: Sequence[Floats], step: int) -> tuple[Times, list[Floats]]:
    """Put one NaN where windows are missing, so that no line is drawn over a gap; times are rising."""
    wide = np.flatnonzero(np.diff(times) > step * 3 // 2)
    if not len(wide):
        return times, list(columns)
    return np.insert(times, wide + 1, times[wide] + step), [np.insert(each, wide + 1, np.nan) for each in columns]


def thin(times: Times, columns: Sequence[Floats], most: int = MOST_POINTS) -> Thinned:
    """Cut columns to `most` points: of every so many windows the least and the greatest, in the order in which they came."""
    count = len(times)
    if count <= most:
        return Thinned(times, [np.asarray(each, np.float64) for each in columns])
    each = -(-count * 2 // most)
    groups = -(-count // each)
    filled = groups * each - count
    kept = np.empty(groups * 2, np.int64)
    kept[::2] = times[::each]
    kept[1::2] = kept[::2] + each * int(np.diff(times).min()) // 2
    out = []
    for column in columns:
        grid = np.append(np.asarray(column, np.float64), np.full(filled, np.nan)).reshape(groups, each)
        none = np.isnan(grid).all(axis=1)
        low = np.where(np.isnan(grid), np.inf, grid).argmin(axis=1)
        high = np.where(np.isnan(grid), -np.inf, grid).argmax(axis=1)
        rows = np.arange(groups)
        pair = np.stack([grid[rows, np.minimum(low, high)], grid[rows, np.maximum(low, high)]], axis=1)
        pair[none] = np.nan
        out.append(pair.ravel())
    return Thinned(kept, out, each)


def runs_of(values: Times) -> list[list[int]]:
    """Write rising whole numbers as runs [first, step, count]: evenly spaced times are one run."""
    out: list[list[int]] = []
    for value in values.tolist():
        if out and (out[-1][2] == 1 or value == out[-1][0] + out[-1][1] * out[-1][2]):
            if out[-1][2] == 1:
                out[-1][1] = value - out[-1][0]
            out[-1][2] += 1
        else:
            out.append([value, 0, 1])
    return out


def short(values: Floats) -> list[float | None]:
    """Round to six digits, which is more than a screen shows; NaN is None."""
    values = np.asarray(values, np.float64)
    sound = np.isfinite(values)
    size = np.where(sound & (values != 0), np.abs(values), 1.0)
    places = _DIGITS - 1 - np.floor(np.log10(size))
    scale = 10.0 ** np.clip(places, 0, 300)
    rounded = np.where(places > 0, np.round(np.where(sound, values, 0) * scale) / scale, np.round(np.where(sound, values, 0)))
    whole = rounded == np.trunc(rounded)
    pairs = zip(rounded.tolist(), sound.tolist(), whole.tolist(), strict=True)
    return [(int(value) if is_whole else value) if there else None for value, there, is_whole in pairs]


def _spans(spans: Sequence[Span]) -> list[list[Any]]:
    return [[each.start // _MS, each.end // _MS, each.name] for each in spans]
