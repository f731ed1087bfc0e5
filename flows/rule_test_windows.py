"""Rule test windows: the windows that the series of a rule test make, as the barrier would hand them to the rules.

Where a series gives one statistic, the others of the row follow from it as far as they must; the total follows from the
groups unless a series gives it.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from flows.config import Config
from flows.metric import TOTAL, MetricOptions
from flows.output import canonical
from flows.rule_test_options import ADD_UP, RuleTestOptions, SeriesOptions
from flows.series import parse_series
from flows.window import MetricRows, WindowResult

MANY = 100_000  # records of a row whose series does not say how many

_Row = tuple[dict[str, float], int]  # statistics, and the records behind them


def windows_of(test: RuleTestOptions, config: Config) -> Iterator[WindowResult]:
    """Give the windows in the order of their ends; a dataset without records is silent from its first record on."""
    metrics = {metric.name: metric for metric in config.metrics}
    length, pane = config.window.length_ms, config.window.pane_ms
    tables = [(metrics[name], _table(metrics[name], of, length / 1000)) for name, of in _by_metric(test).items()]
    heard: set[str] = set()
    for number in range(test.windows):
        start = test.start_ms + number * pane
        datasets: dict[str, dict[str, MetricRows]] = {metric.dataset: {} for metric, _ in tables}
        for metric, table in tables:
            cells = {key: rows[number] for key, rows in table.items() if number < len(rows)}
            rows = _rows(metric, {key: cell for key, cell in cells.items() if cell is not None})
            if rows is not None:
                datasets[metric.dataset][metric.name] = rows
        heard |= {dataset for dataset, found in datasets.items() if found}
        for dataset in sorted(heard):
            yield WindowResult(dataset, start, start + length, datasets.get(dataset, {}), {})


def _by_metric(test: RuleTestOptions) -> dict[str, list[SeriesOptions]]:
    found: dict[str, list[SeriesOptions]] = {}
    for series in test.series:
        found.setdefault(series.metric, []).append(series)
    return found


def _table(metric: MetricOptions, series: Sequence[SeriesOptions], seconds: float) -> dict[str, list[_Row | None]]:
    """Give the rows of a metric by key, one a window."""
    by_key: dict[str, list[SeriesOptions]] = {}
    for each in series:
        by_key.setdefault(canonical(each.key).decode(), []).append(each)
    table = {key: _cells(metric, of, seconds) for key, of in by_key.items()}
    if TOTAL not in table:
        longest = max(map(len, table.values()))
        groups = [[rows[n] for rows in table.values() if n < len(rows)] for n in range(longest)]
        table[TOTAL] = [_total(metric, [row for row in rows if row is not None]) for rows in groups]
    return table


def _cells(metric: MetricOptions, series: Sequence[SeriesOptions], seconds: float) -> list[_Row | None]:
    parsed = [(each.statistic, each.parsed()) for each in series]
    counts = next((parse_series(each.counts) for each in series if each.counts), [float(MANY)])
    out: list[_Row | None] = []
    for number in range(max(len(values) for _, values in parsed)):
        given = {name: v for name, values in parsed if number < len(values) and (v := values[number]) is not None}
        count = int(counts[min(number, len(counts) - 1)] or 0)
        out.append(_row(metric, given, count, seconds) if given and (count or metric.kind == "count") else None)
    return out


def _row(metric: MetricOptions, given: Mapping[str, float], count: int, seconds: float) -> _Row:
    """Work out a row from the statistics that are given of it; of `""` is what the metric is about."""
    if metric.kind == "count":
        count = round(given["rate"] * seconds if "rate" in given else given.get("count", given.get("", 0.0)))
        return {"count": float(count), "rate": count / seconds}, count
    if metric.kind == "ratio":
        chosen = metric.statistics()[1]
        ratio = given[chosen] / count if chosen in given else given.get("ratio", given.get("", 0.0))
        return {"total": float(count), chosen: given.get(chosen, float(round(ratio * count))), "ratio": ratio}, count
    usual = given.get("", next(iter(given.values())))
    statistics = {name: given.get(name, usual) for name in metric.statistics()}
    return statistics | ({"count": float(count)} if "count" in statistics else {}), count


def _total(metric: MetricOptions, rows: Sequence[_Row]) -> _Row | None:
    """Add groups up. What of them does not add up is their mean; a rule that judged it would not be tested."""
    if not rows:
        return None
    count = sum(each for _, each in rows)
    sums = {name: sum(statistics[name] for statistics, _ in rows) for name in rows[0][0]}
    if metric.kind == "ratio":
        return sums | {"ratio": sums[metric.statistics()[1]] / count if count else 0.0}, count
    if metric.kind in ADD_UP:
        return sums, count
    means = {name: sum(statistics[name] * each for statistics, each in rows) / max(count, 1) for name in sums}
    return means | ({"count": float(count)} if "count" in means else {}), count


def _rows(metric: MetricOptions, cells: Mapping[str, _Row]) -> MetricRows | None:
    if not cells:
        return None
    keys = sorted(cells)
    return MetricRows(
        metric.name,
        keys,
        np.array([cells[key][1] for key in keys], np.int64),
        {name: np.array([cells[key][0][name] for key in keys], np.float64) for name in metric.statistics()},
        np.zeros(len(keys), np.bool_),
    )
