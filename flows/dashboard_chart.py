"""Dashboard chart: one chart as the page draws it: statistics over time with limits, states, what was said, and a week ago."""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from flows.config import Config
from flows.dashboard_asked import BadQuestion, Given
from flows.dashboard_queries import Remembered
from flows.dashboard_series import Sought, aligned, limits_of, read, sql_of, step_of
from flows.metric import TOTAL, MetricOptions
from flows.output import rfc3339
from flows.report_alerts import paged, stays
from flows.report_source import Floats, Ints, Range
from flows.report_tables import ReportTables
from sinks.chart import Limit, Line, Mark, Span, TimeChart, with_gaps

Content = dict[str, object]
_POINTS = 400
_MOST_LINES, _MOST_MARKS = 8, 400


def series(config: Config, database: Remembered, given: Given, over: Range) -> Content:
    """Give a chart of the statistics, key and comparison that were asked for, with its SQL."""
    soughts = list(_soughts(config, given, over))
    times, columns = aligned(_shifted(database, [sought for _, sought in soughts], over))
    first = soughts[0][1]
    times, columns = with_gaps(times, columns, first.step)
    lines = [Line(name=name, values=values * sought.scale) for (name, sought), values in zip(soughts, columns, strict=True)]
    key, run = given.key(), given.text("run")
    statistics = dict.fromkeys(sought.statistic for _, sought in soughts)
    limits = [each for name in statistics for each in limits_of(config.rules, first.metric, name, first.scale)]
    states, marks = _decided(config, database, (first.metric, key, run), given, over)
    chart = TimeChart(
        unit=first.unit,
        times=times,
        lines=lines,
        shown=(over.start, over.end),
        step=first.step,
        limits=_once(limits),
        states=states,
        marks=marks,
    )
    return {
        "chart": chart.as_dict(),
        "title": f"{first.metric.name} {', '.join(statistics)}",
        "how": first.words,
        "rows": len(times),
        "sql": ";\n\n".join(sql_of(sought, database.database) for _, sought in soughts),
        "from": over.start,
        "to": over.end,
    }


def as_csv(config: Config, database: Remembered, given: Given, over: Range) -> str:
    """Give the same values as CSV, as they are stored."""
    soughts = list(_soughts(config, given, over))
    times, columns = aligned(_shifted(database, [sought for _, sought in soughts], over))
    return csv_of(["time", *(name for name, _ in soughts)], times, columns)


def csv_of(names: Sequence[str], times: Ints, columns: Sequence[Floats]) -> str:
    """Write columns over time; what has no value is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for number, at in enumerate(times.tolist()):
        writer.writerow([rfc3339(at), *("" if np.isnan(each[number]) else repr(float(each[number])) for each in columns)])
    return out.getvalue()


def _soughts(config: Config, given: Given, over: Range) -> Iterator[tuple[str, Sought]]:
    """Give the name and question of each line: statistics of a metric, or of several as metric:statistic."""
    length, key, run = config.window.length_ms, given.key(), given.text("run")
    wanted = list(_wanted(config, given))[:_MOST_LINES]
    step = given.length("step", 0) or step_of(over, length, _POINTS)
    step = max(step // length, 1) * length
    back = given.length("compare", 0)
    several = len({metric.name for metric, _ in wanted}) > 1
    for metric, statistic in wanted:
        sought = Sought(metric=metric, statistic=statistic, key=key, over=over, step=step, length=length, run=run)
        name = f"{metric.name} {statistic}" if several else statistic
        yield name, sought
        if back:
            back = -(-back // length) * length
            before = Range(over.start - back, over.end - back)
            yield f"{name}, {given.text('compare')} before", sought.at(before, -back % step)


def _wanted(config: Config, given: Given) -> Iterator[tuple[MetricOptions, str]]:
    known = {metric.name: metric for metric in config.metrics}
    pairs = [each.rpartition(":") for each in given.text("lines").split(",") if ":" in each]
    if pairs:
        for name, _, statistic in pairs:
            if name not in known or statistic not in known[name].statistics():
                raise BadQuestion(f"lines: no metric {name!r} with a statistic {statistic!r}")
            yield known[name], statistic
        return
    metric = given.metric(config.metrics)
    for statistic in filter(None, given.text("statistic", metric.statistics()[-1]).split(",")):
        if statistic not in metric.statistics():
            raise BadQuestion(f"statistic: {metric.name} has {', '.join(metric.statistics())}, not {statistic!r}")
        yield metric, statistic


def _shifted(database: Remembered, soughts: Sequence[Sought], over: Range) -> list[tuple[Ints, Floats]]:
    """Give the values of each as if it were of `over`."""
    found = zip(soughts, read(database, soughts), strict=True)
    return [(times + (over.start - sought.over.start), values) for sought, (times, values) in found]


def _decided(
    config: Config, database: Remembered, place: tuple[MetricOptions, str, str], given: Given, over: Range
) -> tuple[list[Span], list[Mark]]:
    """Give the states of one rule's alert and what was said of it, or what was said of all rules on the metric and key."""
    metric, key, run = place
    tables = ReportTables(database, run, config.window.length_ms)
    chosen = given.text("rule")
    rules = {chosen} if chosen else {rule.name for rule in config.rules if rule.metric == metric.name}
    moved = [row for row in tables.transitions(over) if row["rule"] in rules and (row["key"] == key or not chosen)]
    held = [row for row in tables.held(over.start) if row["rule"] in rules and (row["key"] == key or not chosen)]
    said = tables.notifications(over)
    rings = paged(said, config.policy.pagers)
    told = [
        Mark(at=row["at"], text=row["title"], kind="resolved" if row["status"] == "resolved" else row["severity"], pager=rang)
        for row, rang in zip(said, rings, strict=True)
        if row["rule"] in rules and (row["key"] == key or (not chosen and key == TOTAL))
    ]
    states = [Span(start=each.start, end=each.end, name=each.state) for each in stays(held, moved, over)]
    return states, told[-_MOST_MARKS:]


def _once(limits: Sequence[Limit]) -> list[Limit]:
    return list({(each.name, each.value): each for each in limits}.values())
