"""Timelines of a backtest, and its page: the keys that matter, their values, states and messages, and labelled incidents."""

import csv
import dataclasses
import json
import sys
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from flows.backtest import Backtest
from flows.backtest_page import Told, backtest_page, episodes_of
from flows.cli import main
from flows.config import loads
from flows.history import History
from flows.incidents import Incident
from flows.output import canonical, rfc3339
from flows.report_source import Range
from flows.timeline import MOST_KEYS, Timelines
from flows.window_folder import WindowFolder
from sinks.page import html
from sinks.page_text import markdown

pytestmark = pytest.mark.slow

START, LENGTH, COUNT = 1_764_547_200_000, 300_000, 288
DAY = Range(START, START + COUNT * LENGTH)
HOST = '{{"ClientRequestHost":"{}"}}'
HOSTILE = "<img src=x onerror=hit(1)>|`b`"
CONFIG = """
[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[metric]]
name = "db_latency"
kind = "distribution"
dataset = "performance"
value = "db_ms"
unit = "ms"

[[rule]]
name = "failing"
metric = "error_rate"
statistic = "ratio"
above = { warning = 0.01, critical = 0.05 }

[[rule.overrides]]
match = { ClientRequestHost = "b" }
above = { critical = 0.5 }

[[rule]]
name = "slow"
metric = "db_latency"
statistic = "mean"
above = { critical = 500 }

[[rule]]
name = "quieter"
kind = "change"
metric = "error_rate"
statistic = "ratio"
keys = "total"
baseline = { against = "day" }
above = { critical = 5 }

[[route]]
severity = ["critical"]
channels = ["pagerduty", "console"]

[[route]]
channels = ["console"]

[channel.console]

[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return loads(CONFIG, tmp_path_factory.mktemp("config") / "monitor.toml")


def rates(hosts):
    """Give error rates by window and host: `hosts` maps a host to {window: rate}; else 0.001."""
    return [{host: found.get(n, 0.001) for host, found in hosts.items()} for n in range(COUNT)]


@pytest.fixture
def history(tmp_path, config):
    """Make a history of a day: one host is bad from the 100th window to the 109th, one for an hour at the edge."""
    bad = dict.fromkeys(range(100, 110), 0.2)
    hosts = {"a": bad, "b": dict.fromkeys(range(20, 26), 0.3), HOSTILE: {200: 0.06}, "calm": {}}
    hosts |= {f"h{n}": {50 + n: 0.07} for n in range(6)}
    with (tmp_path / "windows.ndjson").open("wb") as file:
        for n, window in enumerate(rates(hosts)):
            file.writelines(lines_of(n, window))
    store = WindowFolder(tmp_path)
    yield History(store, config.metrics)
    store.close()


def lines_of(n, window):
    """Give the lines of one window, sorted as files are."""
    times = {"window_start": rfc3339(START + n * LENGTH), "window_end": rfc3339(START + (n + 1) * LENGTH), "method": "exact"}
    rows = []
    cells = {"{}": np.mean(list(window.values()))} | {
        canonical({"ClientRequestHost": host}).decode(): rate for host, rate in window.items()
    }
    for key, rate in sorted(cells.items()):
        rows += [("error_rate", key, "bad", round(rate * 1000)), ("error_rate", key, "ratio", float(rate))]
        rows += [("error_rate", key, "total", 1000)]
    names = ("count", "max", "mean", "min", "p50", "p90", "p95", "p99", "p999")
    rows += [("db_latency", "{}", name, 1000 if name == "count" else 40.0) for name in names]
    rows.sort(key=lambda row: (row[0], row[1].encode(), row[2]))
    return [
        canonical({"metric": m, "key": json.loads(key), "statistic": s, "value": value, "count": 1000, **times}) + b"\n"
        for m, key, s, value in rows
    ]


@pytest.fixture
def incidents():
    at = START + 99 * LENGTH
    return [
        Incident(at, at + 50 * 60_000, "error-surge", "failing", HOST.format("a")),
        Incident(START + 150 * LENGTH, START + 151 * LENGTH, "missed", "failing", HOST.format("calm")),
    ]


@pytest.fixture
def lines(config, history, incidents):
    made = Timelines(config, DAY, incidents)
    for decided in Backtest(config).run(history, DAY.start, DAY.end):
        made.add(decided)
    return made, made.read(history)


def by_name(lines):
    return {(each.rule.name, json.loads(each.key).get("ClientRequestHost", "")): each for each in lines[1]}


def test_the_keys_of_incidents_come_first_then_those_of_which_most_was_said(lines):
    shown = [json.loads(each.key)["ClientRequestHost"] for each in lines[1] if each.rule.name == "failing"]
    assert shown[:2] == ["a", "calm"]
    assert len(shown) == MOST_KEYS
    assert lines[0].left_out == {"failing": 4}


def test_a_rule_of_which_nothing_was_said_shows_its_total(lines):
    slow = by_name(lines)["slow", ""]
    assert (slow.stays, slow.said, slow.unit, slow.limits) == ((), (), "ms", (("critical", 500.0),))
    assert slow.values.tolist() == [40.0] * COUNT


def test_values_states_and_messages_are_those_of_the_windows(lines):
    found = by_name(lines)["failing", "a"]
    assert found.starts.tolist() == [START + n * LENGTH for n in range(COUNT)]
    assert found.values.tolist() == [20.0 if 100 <= n < 110 else 0.1 for n in range(COUNT)]
    assert [(each.state, (each.start - START) // LENGTH, (each.end - START) // LENGTH) for each in found.stays] == [
        ("firing", 101, 111),
        ("recovering", 111, 112),
    ]
    assert [(each.status, each.channels) for each in found.said] == [
        ("firing", ("console", "pagerduty")),
        ("resolved", ("console", "pagerduty")),
    ]
    assert [each.name for each in found.incidents] == ["error-surge"]


def test_of_more_than_may_be_kept_the_newest_is_shown_and_the_page_says_since_when(config, history, incidents, lines):
    made = Timelines(config, DAY, incidents, most_bytes=12_000)  # about three messages and their changes of state
    whole, _ = lines
    for decided in Backtest(config).run(history, DAY.start, DAY.end):
        made.add(decided)
    assert whole.since == DAY.start < made.since
    clipped = [dataclasses.replace(each, start=max(each.start, made.since)) for each in whole.stays()]
    assert made.stays() == [each for each in clipped if each.end > made.since]
    said = {(each.rule.name, each.key): each.said for each in lines[1]}
    shown = made.read(history)
    assert {each.key for each in shown} == {each.key for each in lines[1]}  # those of which most was said, kept or not
    for each in shown:
        assert list(each.said) == [one for one in said[each.rule.name, each.key] if one.at >= made.since]
    assert sum(len(each.said) for each in shown) < sum(map(len, said.values()))
    page = told((made, shown))
    assert "are shown from" in html(backtest_page(dataclasses.replace(page, since=made.since)))
    assert "are shown from" not in html(backtest_page(page))


def test_limits_are_those_of_the_key(config, history, incidents):
    labelled = [*incidents, Incident(START, START + LENGTH, "other", "failing", HOST.format("b"))]
    made = Timelines(config, DAY, labelled)
    found = {each.key: each.limits for each in made.read(history) if each.rule.name == "failing"}
    assert found[HOST.format("a")] == (("critical", 5.0), ("warning", 1.0))
    assert found[HOST.format("b")] == (("critical", 50.0), ("warning", 1.0))


def test_a_rule_that_judges_more_than_a_value_has_no_limit_drawn(lines):
    change = by_name(lines)["quieter", ""]
    assert (change.shows, change.judged, change.limits) == ("ratio", False, ())


def test_episodes_have_their_peak_and_the_incident_that_they_match(lines):
    found = {each["key"].get("ClientRequestHost"): each for each in episodes_of(lines[1])}
    assert found["a"]["incident"].name == "error-surge"
    assert (found["a"]["start"], found["a"]["end"], found["a"]["severity"]) == (
        START + 101 * LENGTH,
        START + 112 * LENGTH,
        "critical",
    )
    assert found["a"]["peak"] == pytest.approx(20.0)
    assert found["h0"]["incident"] is None


def told(lines, **more):
    """Give what a page is made of, with figures such as a backtest writes."""
    made, timelines = lines
    counts = {"pages": 1, "pages_by_night": 0, "episodes": 1, "notifications": 2, "flaps": 0}
    row = {"rule": "failing", "kind": "threshold", "keys": 10, "seconds": {"firing": 3000, "pending": 0, "recovering": 300}}
    found = {
        "covered": {"days": 1.0},
        "windows": COUNT,
        "evaluations": 5000,
        "zone": "UTC",
        "pages": {"total": 1, "per_week": 7.0, "by_night": 0, "at_weekends": 0, "pagers": ["pagerduty"]},
        "notifications": {"total": 2, "per_day": 2.0},
        "days": [{"day": "2025-12-01", "notifications": 2, "pages": 1}],
        "rules": [row | counts],
        "noisiest_keys": [{"rule": "failing", "key": {"ClientRequestHost": HOSTILE}, **counts, "seconds": {"firing": 3000}}],
        "withheld": [{"rule": "failing", "suppressed_by": "silence", "why": HOSTILE, "count": 3}],
    }
    return Told(
        found=found | more,
        timelines=timelines,
        over=DAY,
        zone=ZoneInfo("UTC"),
        source="a replay",
        incidents=made.incidents,
        left_out=made.left_out,
    )


PART = {
    "recall": {"k": 2, "n": 4, "value": 0.5, "interval": [0.15, 0.85]},
    "precision": {"k": 2, "n": 2, "value": 1.0, "interval": [0.3, 1.0]},
    "pages_a_week": {"value": 1.5},
    "time_to_detect_ms": {"median": 240_000, "interval": None},
}
LABELS = {
    "told": PART,
    "paged": PART,
    "grace_ms": 600_000,
    "outside": [HOSTILE],
    "false_alarms": {"failing": 1},
    "episodes": [
        {"name": "error-surge", "start": "2025-12-01T08:15:00Z", "end": "2025-12-01T09:05:00Z", "told_after_ms": 600_000}
        | {"paged_after_ms": None, "found_by": [{"rule": "failing"}]},
        {"name": HOSTILE, "start": "2025-12-01T12:30:00Z", "end": "2025-12-01T12:35:00Z", "told_after_ms": None}
        | {"paged_after_ms": None, "found_by": [], "why_not": [{"words": "failing was 0.1 %, the limit is 1 %"}]},
    ],
}
SWEEP = {
    "axes": [{"name": "failing.above.critical"}],
    "settings": 40,
    "incidents": {"fit": 4, "held_out": 1},
    "budget": {"text": "2 pages a week", "pages_a_week": 2.0},
    "current": {"values": {"failing.above.critical": "0.05"}, "fit": PART, "held_out": PART},
    "front": [{"values": {"failing.above.critical": "0.02"}, "fit": PART, "held_out": PART}],
    "left_out": {},
    "not_judged": [],
    "points": [
        {"found": 2, "pages_a_week": 1.5, "time_to_detect_ms": 240_000, "settings": 3, "on_front": True, "recommended": True},
        {"found": 1, "pages_a_week": 4.0, "time_to_detect_ms": None, "settings": 1, "on_front": False, "recommended": False},
    ],
    "recommendation": {
        "values": {"failing.above.critical": "0.02"},
        "keeps_budget": True,
        "words": ["Fitted on November: paged for 2 of 4."],
        "toml": '[[rule]]\nname = "failing"',
    },
}


def test_the_page_has_incidents_front_and_episodes(lines):
    text = markdown(backtest_page(told(lines, labels=LABELS, sweep=SWEEP)))
    for words in (
        "- Incidents paged for: **2 of 4** (95 % interval 15 to 85 %)",
        "| error-surge | 2025-12-01 08:15 | 2025-12-01 09:05 | 10 min | no | failing |",
        "| missed | no | failing was 0.1 %, the limit is 1 % |",
        "| failing.above.critical = 0.02 | 1.5 | 0.5 | 4 |",
        "| 0.02 | 2 of 4 | 1.5 | 4 min | 2 of 4 | 1.5 | 4 min | recommended |",
        "| 0.05 | 2 of 4 | 1.5 | 4 min | 2 of 4 | 1.5 | 4 min | as configured now |",
        '[[rule]]\nname = "failing"',
        "failing: 4 more keys have something to show",
        "| failing | a | critical | 20 % | Failing on a: 20 % (critical above 5 %) | error-surge | 10 min |",
    ):
        assert words in text, text


def test_nothing_that_happened_is_said_in_words(lines):
    quiet = dataclasses.replace(lines[1][0], stays=(), said=())
    text = markdown(backtest_page(dataclasses.replace(told(lines, noisiest_keys=[], withheld=[]), timelines=[quiet])))
    for words in ("No alert fired on the keys that are shown.", "Nothing was said.", "Nothing was kept quiet."):
        assert words in text


def test_the_page_opens_in_a_browser_with_all_charts_and_runs_nothing(lines, browser, tmp_path):
    path = tmp_path / "backtest.html"
    path.write_text(html(backtest_page(told(lines, labels=LABELS, sweep=SWEEP))), encoding="utf-8")
    visit = browser.open(path, width=390)
    visit.page.evaluate("edgewatchCharts.startAll()")
    assert visit.page.evaluate("edgewatchCharts.plots.length") == len(lines[1]) + 2
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit.page.locator("img").count() == 0
    assert HOSTILE in visit.page.locator("main").inner_text()
    assert (visit.elsewhere, visit.errors) == ([], [])


def test_the_command_writes_the_page_beside_its_figures(history, incidents, browser, tmp_path, monkeypatch):
    (tmp_path / "monitor.toml").write_text(CONFIG)
    rows = [[rfc3339(each.start), rfc3339(each.end), each.name, each.rule, each.key] for each in incidents]
    with (tmp_path / "incidents.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["start", "end", "name", "rule", "key"], *rows])
    given = ["-c", "monitor.toml", "--source", "windows:.", "--labels", "incidents.csv", "--out", "backtest"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edgewatch", "backtest", *given, "--sweep", "failing.above.critical=0.02,0.05,0.1"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    figures = json.loads((tmp_path / "backtest" / "backtest.json").read_text())
    visit = browser.open(tmp_path / "backtest" / "backtest.html")
    text = visit.page.locator("main").inner_text()
    assert f"{figures['pages']['total']} in all, to pagerduty" in text
    assert "error-surge" in text
    assert "failing.above.critical" in text
    visit.page.evaluate("edgewatchCharts.startAll()")
    assert visit.page.evaluate("edgewatchCharts.plots.filter((chart) => chart.spec.kind === 'time').length") >= 6
    assert (visit.elsewhere, visit.errors) == ([], [])
