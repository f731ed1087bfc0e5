"""Report figures: the totals of a report over time, with the limits that rules set on them and what was said."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np

from flows.amount import amount
from flows.report_measures import USERS, Content
from flows.report_numbers import key_words
from sinks.chart import Limit, Line, Mark, TimeChart, with_gaps
from sinks.notification import duration
from sinks.page import Figure

_TITLES = {
    "requests": "Requests a second",
    "error_rate": "Error rate (4xx and 5xx)",
    "server_error_rate": "Server error rate (5xx)",
    "response_time": "Response time",
    "cache_hit_rate": "Cache hit rate",
    "db_latency": "Database latency",
    **dict.fromkeys(USERS, "Users by window"),
}
_NAMES = {"rate": "requests a second", "ratio": "share", "distinct": "users"}
_MOST_MARKS = 1000


class Figures:
    """Makes the figures of one report."""

    def __init__(self, content: Content, zone: ZoneInfo) -> None:
        """Take the report."""
        self._content = content
        self._zone = zone
        self._courses = {course["metric"]: course for course in content["courses"]}
        widest = max((course["step_ms"] for course in content["courses"]), default=0)
        each = widest // content["window_ms"]
        self.thinned = f" Charts show the least and the greatest of {each} windows at a time." if each > 1 else ""

    def of(self, *metrics: str) -> Iterator[Figure]:
        """Give a figure for each of these metrics that has a course."""
        for name in metrics:
            if name in self._courses:
                yield self._figure(self._courses[name])

    def _figure(self, course: Content) -> Figure:
        ratio = any(line["statistic"] == "ratio" for line in course["lines"])
        scale, unit = (100.0, "%") if ratio else (1.0, course["unit"])
        times, lines = self._lines(course, scale)
        limits = [
            Limit(
                name=f"{each['severity']} {each['way']} {amount(each['value'], each['statistic'], course['unit'])}{each['by']}",
                value=each["value"] * scale,
                tone=each["severity"],
                low=each["way"] == "below",
            )
            for each in course["limits"]
        ]
        chart = TimeChart(
            unit=unit,
            times=times,
            lines=lines,
            shown=(self._content["from"], self._content["to"]),
            step=course["step_ms"],
            limits=limits,
            marks=self._marks({each["rule"] for each in course["limits"]}),
            zone=str(self._zone),
        )
        each = course["step_ms"] // self._content["window_ms"]
        note = "" if each == 1 else f"The least and the greatest of {each} windows ({duration(course['step_ms'])}) at a time."
        return Figure(title=_TITLES[course["metric"]], chart=chart, note=note)

    def _lines(self, course: Content, scale: float) -> tuple[np.ndarray, list[Line]]:
        """Give times and lines: one point a window, or two (least, greatest) where several windows are one."""
        starts = np.array(course["starts"], np.int64)
        step, thinned = course["step_ms"], course["step_ms"] > self._content["window_ms"]
        names = [line["statistic"] for line in course["lines"]]
        low, high = (
            [np.array([np.nan if v is None else v for v in line[side]], np.float64) * scale for line in course["lines"]]
            for side in ("low", "high")
        )
        if thinned:
            starts = np.stack([starts, starts + step // 2], axis=1).ravel()
            columns = [np.stack(pair, axis=1).ravel() for pair in zip(low, high, strict=True)]
            step //= 2
        else:
            columns = low
        times, columns = with_gaps(starts, columns, step)
        return times, [Line(name=_NAMES.get(name, name), values=each) for name, each in zip(names, columns, strict=True)]

    def _marks(self, rules: set[str]) -> list[Mark]:
        told = self._content["alerts"]
        pagers = set(told["pagers"])
        chosen = [row for row in told["said"] if row["rule"] in rules][:_MOST_MARKS]
        return [
            Mark(
                at=row["at"],
                text=row["title"] or f"{row['rule']} on {key_words(row['key'])}",
                kind="resolved" if row["status"] == "resolved" else row["severity"],
                pager=row["status"] == "firing"
                and bool(pagers & set(row["channels"]) if pagers else row["severity"] == "critical"),
            )
            for row in chosen
        ]
