"""Backtests against labels, sweeps and diffs as a shell sees them, over windows in a folder."""

import json
import stat

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.flows.sweeps import CONFIG, config_of, host, time_of, write_labels, write_windows
from tests.runs import checked, edgewatch

pytestmark = pytest.mark.slow

MORE = """
[[rule]]
name = "both"
kind = "composite"
all = ["slow", "failing"]

[[inhibit]]
source = { alertname = "failing" }
target = { alertname = "slow" }
"""
WINDOWS = 600  # 50 hours
LIMITS = "above = { warning = 1000, critical = 3000 }"
SPANS = ((50, 60), (200, 210), (350, 360), (550, 560))  # slow on host a: 2 400 ms


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Make a folder with windows, labels, and the configuration as it is."""
    folder = tmp_path_factory.mktemp("place")
    latency = {(n, host(name)): ({"p99": 400.0 + (n * 7) % 300}, 500) for n in range(WINDOWS) for name in ("a", "b")}
    latency |= {(n, host("a")): ({"p99": 2400.0}, 500) for first, last in SPANS for n in range(first, last)}
    errors = {(n, "{}"): ({"bad": 0.0, "ratio": 0.0, "total": 100.0}, 100) for n in range(WINDOWS)}
    write_windows(folder / "history", {"latency": latency, "errors": errors})
    write_labels(folder / "incidents.csv", [(*span, f"slow {n}", "slow") for n, span in enumerate(SPANS, 1)])
    (folder / "monitor.toml").write_text(CONFIG)
    return folder


def common(place):
    return ["--source", f"windows:{place / 'history'}", "--labels", place / "incidents.csv"]


@pytest.fixture(scope="module")
def swept(place):
    """Run a backtest with labels and a sweep."""
    axes = ["--sweep", "slow.above.critical=1000:3000:250", "--sweep", "slow.for.critical=1,2,3", "--budget", "20 pages/week"]
    arguments = ["backtest", "-c", place / "monitor.toml", *common(place), *axes, "--out", place / "out"]
    return checked(*arguments), json.loads((place / "out" / "backtest.json").read_bytes())


def test_labels_are_scored_and_each_missed_incident_has_its_reason(swept):
    done, figures = swept
    labels = figures["labels"]
    assert (labels["told"]["recall"]["k"], labels["paged"]["recall"]["k"], labels["incidents"]) == (4, 0, 4)
    assert "told of   4 of 4 (51-100 %) incidents" in done.stdout
    assert "paged for 0 of 4 (0-49 %) incidents" in done.stdout


def test_the_recommendation_finds_all_within_the_budget_and_its_file_is_for_its_owner_alone(swept, place):
    done, figures = swept
    advice = figures["sweep"]["recommendation"]
    assert (advice["fit"]["recall"]["k"], advice["held_out"]["recall"]["k"], advice["keeps_budget"]) == (3, 1, True)
    assert 1000 <= float(advice["values"]["slow.above.critical"]) <= 2250
    assert advice["toml"].splitlines()[0] == "[[rule]]"
    assert all(line in done.stdout for line in advice["toml"].splitlines())
    path = place / "out" / "recommended.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (rule,) = [rule for rule in config_of(path.read_text()).rules if rule.name == "slow"]
    assert rule.above.critical == float(advice["values"]["slow.above.critical"])


def test_a_diff_shows_what_the_recommendation_would_page(swept, place):
    new = place / "out" / "recommended.toml"
    done = checked("diff", place / "monitor.toml", new, *common(place), "--markdown", "--budget", "20 pages/week")
    assert "| labelled incidents paged for | 0 of 4 | 4 of 4 |" in done.stdout
    assert done.stdout.count("| pages now | `slow` |") == 4
    assert "`above.critical 3000 -> " in done.stdout


def test_a_diff_that_loses_an_incident_or_exceeds_the_budget_exits_1(swept, place):
    old = place / "out" / "recommended.toml"
    done = edgewatch("diff", old, place / "monitor.toml", *common(place), "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["fails"], [each["by"] for each in found["lost"]]) == (1, True, ["paged"] * 4)
    budget = edgewatch("diff", place / "monitor.toml", old, *common(place), "--budget", "1 page/week")
    assert (budget.returncode, "exceeds the budget of 1 page/week: 4 (13.4 a week)" in budget.stdout) == (1, True)


def test_a_metric_that_changed_needs_records(place):
    changed = place / "changed.toml"
    changed.write_text(CONFIG.replace(">= 500", ">= 400"))
    done = edgewatch("diff", place / "monitor.toml", changed, *common(place))
    assert done.returncode == 2
    assert "measures otherwise (metric errors: bad 'EdgeResponseStatus >= 500' -> 'EdgeResponseStatus >= 400')" in done.stderr
    assert "give --source kafka or archive:DIR, so that records are measured anew" in done.stderr


def labels_at(place, *rows):
    return write_labels(place / "other.csv", rows)


@pytest.mark.parametrize(
    ("more", "rows", "words"),
    [
        (["--sweep", "slow.above.criticl=1:2:1"], [], "cannot be swept by 'above.criticl'; did you mean 'above.critical'?"),
        (["--sweep", "slow.above.critical=1:2:0"], [], "the step must be above 0"),
        (["--sweep", "slow.above.critical=1:9:1"], [], "none of the 9 settings is one that a rule can have"),
        (["--sweep", "slow.above.critical=2000", "--budget", "few"], [], "--budget few: write how many pages in which time"),
        (["--budget", "1 page/week"], [], "--budget: is for --sweep"),
        (["--sweep", "slow.clear=1,2", "--holdout", "1"], [], "--holdout 1: must be a share from 0 to below 1"),
        (["--sweep", "slow.clear=1,2", "--found-by", "luck"], [], "--found-by luck: must be one of page, notification"),
        (["--grace", "soon"], [], "--grace soon: give a duration"),
        ([], [(50, 60, "one", "slow"), (55, 65, "two", "slow")], "'one' (to 2025-12-01T05:00:00Z) and 'two'"),
        ([], [(50, 60, "one", "slo")], "'one' names rule 'slo'; did you mean 'slow'?"),
        (
            [],
            [(9000, 9010, "late", "slow")],
            "no incident begins in the range judged, 2025-12-01T00:00:00Z to 2025-12-03T02:00:00Z",
        ),
    ],
)
def test_bad_use_exits_2_with_one_clear_line(place, more, rows, words):
    arguments = ["backtest", "-c", place / "monitor.toml", *common(place), "--out", place / "bad", *more]
    if rows:
        arguments += ["--labels", labels_at(place, *rows)]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_a_sweep_without_labels_shows_pages_a_week_and_recommends_nothing(place):
    axes = ["--sweep", "slow.above.critical=1000,2000,3000"]
    arguments = ["backtest", "-c", place / "monitor.toml", *common(place)[:2], *axes, "--out", place / "pages"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "Nothing is recommended There is no labelled incident to compare settings by (--labels)" in words
    swept = json.loads((place / "pages" / "backtest.json").read_bytes())["sweep"]
    rows = [(row["values"]["slow.above.critical"], row["fit"]["pages"], row["alike"]) for row in swept["front"]]
    assert [pages for _, pages, _ in rows] == sorted({pages for _, pages, _ in rows})
    assert (rows[0][0], len(rows) > 1, sum(alike for *_, alike in rows)) == ("3000", True, 3)
    assert (swept["recommendation"]["values"], (place / "pages" / "recommended.toml").exists()) == (None, False)


def test_a_sweep_names_what_of_the_configuration_it_does_not_judge(place):
    text = CONFIG.replace('name = "slow"', 'name = "slow"\nflap = { transitions = 4, windows = 12, leave = 2 }', 1)
    (place / "more.toml").write_text(text + MORE)
    arguments = ["backtest", "-c", place / "more.toml", *common(place), "--sweep", "slow.above.critical=1000,3000"]
    done = CliRunner().invoke(app, list(map(str, [*arguments, "--out", place / "more"])))
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "Not judged in the sweep: both is made of slow, failing, of which slow is swept." in words
    assert "Not judged in the sweep: 1 inhibition: what would be kept quiet counts as said; a backtest of the" in words
    assert "Not judged in the sweep: flap of slow: what would be held counts as said; a backtest of the" in words
    assert "flap of slow: what would be held counts as said" in (place / "more" / "backtest.html").read_text()


def test_some_labels_outside_the_range_are_named_and_do_not_count(place):
    rows = labels_at(place, (50, 60, "inside", "slow"), (9000, 9010, "outside", "slow"))
    arguments = ["backtest", "-c", place / "monitor.toml", *common(place), "--labels", rows, "--out", place / "some", "--json"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    labels = json.loads(done.stdout)["labels"]
    assert ([row["name"] for row in labels["episodes"]], labels["outside"]) == (["inside"], ["outside"])
    assert time_of(50) == labels["episodes"][0]["start"]


def test_a_diff_without_a_terminal_says_how_far_it_is_by_each_configuration(place, monkeypatch):
    monkeypatch.setattr("flows.observe._EVERY_S", 0.0)
    (place / "new.toml").write_text(CONFIG)
    done = CliRunner().invoke(app, list(map(str, ["diff", place / "monitor.toml", place / "new.toml", *common(place)])))
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("diff: ")]
    for name in ("monitor.toml", "new.toml"):
        last = [line for line in lines if f"windows judged by {name}" in line][-1]
        assert last.startswith(f"diff: {WINDOWS} windows judged by {name}, at {time_of(WINDOWS)}, ")
        assert last.endswith(", 100% done")
    assert not any(line.startswith("diff: 0 ") for line in lines)
