"""A history read back against the windows it was written of."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.ahead import Ahead
from flows.history import History, HistoryError
from flows.metric import MetricOptions
from flows.rows import window_lines
from flows.rule import compile_rule
from flows.window import MetricRows, WindowResult
from flows.window_folder import WindowFolder
from tests.flows.history import KEYS, LENGTH, METRICS, START, histories, result_of, results_of, rule
from tests.flows.test_sweep import readings_of

OTHER = MetricOptions(name="jobs", kind="count", dataset="e")
FOREVER = 2**62


def written(folder: Path, results) -> Path:
    """Write windows as a replay does."""
    folder.mkdir(exist_ok=True)
    blocks = [block for result in results for block in window_lines(result)]
    blocks.sort(key=lambda block: (block.at, block.name.encode()))
    (folder / "windows.ndjson").write_bytes(b"".join(block.data for block in blocks))
    return folder


def shown(results):
    """Give windows as plain values; those without rows leave none."""
    return [
        (
            result.dataset,
            result.start,
            result.end,
            {
                name: (
                    rows.keys,
                    rows.counts.tolist(),
                    {s: c.tolist() for s, c in rows.statistics.items()},
                    rows.sketch.tolist(),
                )
                for name, rows in sorted(result.metrics.items())
            },
        )
        for result in results
        if result.metrics
    ]


def jobs(n, count):
    """Make a window of another dataset."""
    rows = MetricRows("jobs", ["{}"], np.array([count]), {"count": np.array([float(count)])}, np.zeros(1, np.bool_))
    return WindowResult("e", START + n * LENGTH, START + (n + 1) * LENGTH, {"jobs": rows}, {})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from([1, 7, 2_000_000]), st.integers(0, 5), st.integers(1, 30))
def test_windows_come_back_as_they_were_written_in_chunks_of_any_size(tmp_path_factory, history, cells, first, count):
    results = results_of(history)
    store = WindowFolder(written(tmp_path_factory.mktemp("run"), results))
    start, end = START + first * LENGTH, START + (first + count) * LENGTH
    found = list(History(store, METRICS, cells=cells).windows(start, end))
    assert shown(found) == shown([result for result in results if start <= result.start < end])


@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from([1, 7, 2_000_000]), st.sampled_from(["groups", "total", "all"]))
def test_readings_are_those_of_the_windows(tmp_path_factory, history, cells, keys):
    results = results_of(history)
    compiled = compile_rule(rule(keys=keys), METRICS[0])
    store = WindowFolder(written(tmp_path_factory.mktemp("run"), results))
    found = list(History(store, METRICS, cells=cells).readings(compiled, 0, FOREVER))
    want = readings_of(compiled, results)
    assert [each.keys for each in found] == [want.keys] * len(found)
    for name in ("ends", "values", "counts", "present"):
        columns = [getattr(each, name) for each in found]
        joined = np.concatenate(columns) if columns else getattr(want, name)
        np.testing.assert_array_equal(joined, getattr(want, name))


def test_a_history_says_what_is_there(tmp_path):
    history = History(
        WindowFolder(written(tmp_path / "run", [result_of(3, {("requests", "{}"): (5, 5)}), jobs(1, 2)])), METRICS
    )
    assert (history.start, history.end, history.length_ms) == (START + 3 * LENGTH, START + 4 * LENGTH, LENGTH)
    assert (history.datasets, history.keys("requests"), history.keys("latency")) == (("d",), ["{}"], [])


def test_windows_of_bonded_datasets_come_in_the_order_in_which_they_are_judged(tmp_path):
    results = [result_of(n, {("requests", "{}"): (5, 5)}) for n in range(2)] + [jobs(n, 2) for n in range(2)]
    store = WindowFolder(written(tmp_path / "run", results))
    found = {
        bonds: [(window.dataset, window.start) for window in History(store, (*METRICS, OTHER), bonds).windows(0, FOREVER)]
        for bonds in ((), (("e", "d"),))
    }
    want = {
        bonds: [(name, start) for start in (START, START + LENGTH) for name in names]
        for bonds, names in zip(found, ("de", "ed"), strict=True)
    }
    assert found == want


def test_a_window_shows_that_there_were_records_where_only_other_metrics_have_rows(tmp_path):
    store = WindowFolder(written(tmp_path / "run", [result_of(0, {("requests", "{}"): (5, 5)})]))
    (window,) = History(store, METRICS).windows(0, FOREVER, {"error_rate": {"ratio"}})
    assert [(rows.keys, rows.counts.tolist()) for rows in window.metrics.values()] == [(["{}"], [1])]


def test_a_second_reading_uses_the_columns_and_a_changed_file_makes_them_anew(tmp_path):
    folder = written(tmp_path / "run", [result_of(0, {("requests", "{}"): (5, 5)})])
    first = WindowFolder(folder)
    made = (folder / ".windows" / "index.json").stat().st_mtime_ns
    second = WindowFolder(folder)
    assert ((folder / ".windows" / "index.json").stat().st_mtime_ns, second.sizes) == (made, first.sizes)
    written(folder, [result_of(n, {("requests", "{}"): (5, 5)}) for n in range(3)])
    assert WindowFolder(folder).sizes == {"requests": 3}


def lines_of(count):
    """Give the lines of so many windows."""
    return b"".join(block.data for n in range(count) for block in window_lines(result_of(n, {("requests", KEYS[1]): (5, 5)})))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: [*lines[:2], b'{"count":1,"key":{}', *lines[2:]], "line 3: not a line of windows: "),
        (lambda lines: [lines[1], lines[0]], "line 2: not a line of windows: it comes after later ones"),
        (
            lambda lines: [lines[0], lines[0]],
            "line 1: not a line of windows: the rows of requests in this window are not whole",
        ),
        (lambda lines: [lines[0].replace(b"00Z", b"99Z")], "line 1: not a line of windows: '"),
        (
            lambda lines: [lines[0], lines[1].replace(b'"window_end":"2025-12-01T00:10', b'"window_end":"2025-12-01T00:11')],
            "line 2: not a line of windows: its window is 360 s long, others 300 s",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, spoil, words):
    (tmp_path / "windows.ndjson").write_bytes(b"\n".join(spoil(lines_of(3).splitlines())) + b"\n")
    with pytest.raises(HistoryError) as error:
        WindowFolder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'windows.ndjson'}, {words}")
    assert [path.name for path in tmp_path.iterdir()] == ["windows.ndjson"]


def test_a_folder_without_windows_is_refused(tmp_path):
    with pytest.raises(HistoryError, match=r"has no windows.ndjson; `edgewatch replay --out"):
        WindowFolder(tmp_path)


def test_what_follows_from_earlier_windows_has_no_readings(tmp_path):
    history = History(WindowFolder(written(tmp_path / "run", [result_of(0, {("requests", "{}"): (5, 5)})])), METRICS)
    compiled = compile_rule(rule(kind="change"), METRICS[0])
    with pytest.raises(HistoryError, match="not in one window alone"):
        list(history.readings(compiled, 0, FOREVER))


def test_reading_ahead_gives_the_same_chunks_and_the_same_errors(tmp_path):
    results = [result_of(n, {("requests", KEYS[1]): (n, 5)}) for n in range(9)]
    history = History(WindowFolder(written(tmp_path / "run", results)), METRICS, cells=4)
    told: list[tuple] = []
    found = [
        chunk.window(n)
        for chunks in Ahead(history, lambda *each: told.append(each)).chunks(0, FOREVER)
        for chunk in chunks
        for n in range(len(chunk.starts))
    ]
    assert shown(found) == shown(results)
    assert told[-1] == (9, START + 9 * LENGTH, 1.0)
    with pytest.raises(FileNotFoundError, match="nothing"):
        list(Ahead(history).chunks(0, FOREVER, {"requests": {"nothing"}}))
    next(Ahead(history).chunks(0, FOREVER))  # whoever stops early is not waited for


class _Watched(WindowFolder):
    """A store that notes how much is asked of it at a time: values, and windows."""

    asked: list[tuple[int, int]]

    def rows(self, metric, statistics, start, end, keys=None):
        found = super().rows(metric, statistics, start, end, keys)
        self.asked.append((len(found.starts) * (len(statistics) + 1), len(np.unique(found.starts))))
        return found


def test_no_span_is_larger_than_the_budget_where_most_keys_come_late_in_a_long_range(tmp_path):
    def cells(n):
        keys = range(40) if n >= 90 else range(1)
        return {("requests", f'{{"ClientRequestHost":"h{key:02}"}}'): (n, 5) for key in keys}

    results = [result_of(n, cells(n)) for n in range(100)]
    store = _Watched(written(tmp_path / "run", results))
    store.asked = []
    found = list(History(store, METRICS, cells=200).chunks(0, FOREVER))
    assert sum(len(chunk.starts) for chunks in found for chunk in chunks) == 100
    laid_out = [chunk.tables["requests"].counts.size * 2 for chunks in found for chunk in chunks]
    assert max(values for values, _ in store.asked) <= 200
    assert max(laid_out) <= 400
    assert store.asked[0] == (180, 90)  # what was small before is still read at once
