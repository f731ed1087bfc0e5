"""The benchmark against others: its check refuses every answer but the right one, and nobody is left out unseen.

A contender that is fast because it computes something else would make all its figures worthless.
"""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import pytest

from benchmarks.peers import answers, contenders, installed, report
from benchmarks.peers.__main__ import Race
from benchmarks.peers.answers import DifferenceError, Row
from benchmarks.peers.contenders import CONTENDERS, FILES, KAFKA, Contender
from benchmarks.peers.work import DataSet

NAMED = {each.name: each for each in CONTENDERS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return DataSet(600, tmp_path_factory.mktemp("peers"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count": 1}, "count"),
        ({"error_rate": 1e-9}, "error_rate"),
        ({"mean": 1e-5}, "mean"),
        ({"p99": 1e-5}, "p99"),
        ({"p99": math.nan}, "p99"),
    ],
)
def test_a_number_that_is_off_by_a_little_is_refused(data, changed, said) -> None:
    key, row = max(data.expected.items(), key=lambda each: each[1].count)
    ((name, more),) = changed.items()
    wrong = data.expected | {key: dataclasses.replace(row, **{name: getattr(row, name) + more})}
    with pytest.raises(DifferenceError, match=said):
        answers.check(wrong, data.expected)


def test_a_window_too_few_or_too_many_is_refused_and_the_right_rows_are_not(data) -> None:
    answers.check(dict(data.expected), data.expected)
    first = min(data.expected)
    with pytest.raises(DifferenceError, match="missing"):
        answers.check({key: row for key, row in data.expected.items() if key != first}, data.expected)
    with pytest.raises(DifferenceError, match="too many"):
        answers.check(data.expected | {(0, "elsewhere"): Row(1, 0.0, 1.0, 1.0)}, data.expected)


def test_what_is_expected_is_what_the_numbers_say() -> None:
    times = [5.0, 1.0, 3.0]
    made = [
        {"EdgeEndTimestamp": (300_000 + n) * 1_000_000, "ClientRequestHost": "a", "EdgeResponseStatus": status}
        | {"EdgeTimeToFirstByteMs": time}
        for n, (status, time) in enumerate(zip((200, 400, 200), times, strict=True))
    ]
    rows = answers.expected([json.dumps(each).encode() for each in made])
    assert rows == {(300_000, "a"): Row(3, 1 / 3, 3.0, pytest.approx(4.96))}


@pytest.mark.slow
def test_a_contender_that_reads_less_is_wrong_and_one_that_is_not_here_is_missing_by_name(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(contenders, "PLACE", tmp_path / "none")
    race = Race(argparse.Namespace(records=600, runs=1), tmp_path)
    race._sets[600] = data
    cut = next(data.files().rglob("*.ndjson"))
    cut.write_bytes(cut.read_bytes().partition(b"\n")[2])
    with pytest.raises(DifferenceError, match=r"^count of .* is \d+, not \d+$"):  # all rows are there, one record is not
        race.run(FILES, NAMED["edgewatch"], 600, None)
    missing = race.here(CONTENDERS, may_install=False)
    assert sorted(missing) == ["chdb", "duckdb", "duckdb-1", "flink", "pathway", "polars", "quix"]
    race.left_out(KAFKA, NAMED["quix"], "missing", missing["quix"])
    assert "quix | missing: not installed" in report.table(race.lines)
    assert not race.bad


def test_one_that_cannot_be_installed_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(installed, "PLACE", tmp_path)
    with pytest.raises(installed.MissingError, match="not on this machine"):
        installed._run(["no-such-program"])
    with pytest.raises(installed.MissingError, match="broke"):
        installed._run(["sh", "-c", "echo ERROR: it broke; exit 3"])


def test_versions_are_pinned_and_settings_are_said() -> None:
    places = {each.pinned for each in CONTENDERS if each.pinned}
    assert places == {path.stem for path in (contenders.HERE / "pinned").glob("*.txt")}
    for name in places:
        lines = (contenders.HERE / "pinned" / f"{name}.txt").read_text().split()
        assert [line for line in lines if "==" not in line] == []
        assert "Settings" in Path(contenders.HERE / f"with_{name}.py").read_text()


def test_ratios_are_of_pairs_and_of_rates() -> None:
    runs = {"edgewatch": (1000, [1.0, 2.0, 1.0]), "slow": (100, [1.0, 1.0, 1.0])}
    lines = [
        report.line(
            "kafka",
            Contender(name=name, reads=(KAFKA,), settings=""),
            [argparse.Namespace(seconds=each, cpu_s=1.0, peak_mb=1.0) for each in seconds],
            {
                "records": records,
                "start_s": 0.5,
                "start_cpu_s": 0.5,
                "version": "1",
                "p99_error": 0.0,
                "scaled": records != 1000,
            },
        )
        for name, (records, seconds) in runs.items()
    ]
    slow = report.compared(lines)[1]
    assert (slow["edgewatch_times_as_fast"], slow["after_start"], slow["per_cpu_second"]) == (10.0, 10.0, 10.0)
    assert "100*" in report.table(lines)
