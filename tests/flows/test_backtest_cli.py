"""The backtest command: its figures against decisions counted by hand, its files, and what it says of bad input."""

import io
import json
import zoneinfo
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from flows.backtest import Backtest
from flows.backtest_statistics import Judged, Statistics
from flows.backtest_words import duration, show
from flows.config import loads
from flows.history import History, HistoryError
from flows.history_source import Wish, check, check_source, covered, kept_times, measured_otherwise, opened
from flows.observe import RunProgress
from flows.options import ConfigError
from flows.policy import PolicyOptions
from flows.rule import RuleOptions, Thresholds
from flows.window_folder import WindowFolder
from tests.flows.history import LENGTH, START, rule
from tests.flows.test_backtest import Case, windows_of
from tests.flows.test_history import written
from tests.flows.test_policy import Given, silenced
from tests.runs import edgewatch

HOST = '{"host":"a"}'
CONFIG = """
environment = "test"
[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"
[channel.console]
[[dataset]]
name = "d"
kind = "http_requests"
[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "d"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]
[[rule]]
name = "errors"
metric = "error_rate"
statistic = "ratio"
above = { warning = 0.01, critical = 0.05 }
"""


def rates(*values):
    """Make windows in which host a has these error rates, None: no row of it; START is a Monday, 00:00 UTC."""
    total = {("error_rate", "{}"): (0.0, 1000)}
    return windows_of([total if value is None else total | {("error_rate", HOST): (value, 1000)} for value in values], [])


def config_of(tmp_path, text=CONFIG):
    path = tmp_path / "monitor.toml"
    path.write_text(text)
    return loads(text, path)


def figures_of(tmp_path, results, *rules, zone="UTC", silences=(), policy=None):
    """Judge windows and give the figures."""
    case = Case(tuple(rules) or (rule(cooldown_ms=0),), policy=policy or PolicyOptions(pagers=frozenset({"pager"})))
    backtest = Backtest(case, Given(tuple(silences)))
    history = History(WindowFolder(written(tmp_path / "run", results)), case.metrics, backtest.bonds)
    statistics = Statistics(
        case.rules, case.policy.pagers, zoneinfo.ZoneInfo(zone), lambda each, _: f"because of {each.suppressed_by}"
    )
    for decided in backtest.run(history, history.start, history.end):
        statistics.add(decided)
    judged = Judged(
        start=history.start, end=history.end, first=history.start, last=history.end, windows=backtest.windows, pane_ms=LENGTH
    )
    return statistics.as_dict(judged, backtest.times)


def test_the_figures_are_those_of_the_decisions(tmp_path):
    found = figures_of(tmp_path, rates(0.0, 0.4, 0.4, 0.0, 0.0, 0.4, 0.0, 0.0, None, *[0.0] * 279))
    assert (found["windows"], found["evaluations"], found["covered"]["days"]) == (288, 288, 1.0)
    # Fires in the window that ends at 00:10, is resolved at 00:25, fires again at 00:30, is resolved at 00:40.
    assert found["notifications"] == {
        "total": 4,
        "per_day": 4.0,
        "by_reason": {"first": 2, "resolved": 2},
        "by_severity": {"critical": 4},
    }
    assert found["pages"] == {"total": 2, "per_week": 14.0, "by_night": 2, "at_weekends": 0, "pagers": ["pager"]}
    (by_rule,) = found["rules"]
    assert (by_rule["flaps"], by_rule["episodes"], by_rule["keys"]) == (1, 2, 1)
    assert by_rule["seconds"] == {"inactive": 283 * 300, "pending": 0, "firing": 3 * 300, "recovering": 2 * 300}
    assert found["states"] == [{"rule": "high_error_rate", "key": {"host": "a"}, "seconds": by_rule["seconds"]}]
    assert [(each["key"], each["notifications"], each["pages"]) for each in found["noisiest_keys"]] == [({"host": "a"}, 4, 2)]
    assert found["days"] == [{"day": "2025-12-01", "notifications": 4, "pages": 2}]


@pytest.mark.parametrize(
    ("zone", "night", "weekend", "day"),
    [("UTC", 1, 0, "2025-12-01"), ("Asia/Tokyo", 0, 0, "2025-12-01"), ("America/New_York", 0, 1, "2025-11-30")],
)
def test_nights_and_weekends_are_those_of_a_zone(tmp_path, zone, night, weekend, day):
    found = figures_of(tmp_path, rates(0.4, 0.0, 0.0), zone=zone)
    assert (found["pages"]["by_night"], found["pages"]["at_weekends"], found["days"][0]["day"]) == (night, weekend, day)


def test_what_was_kept_quiet_is_counted_with_the_reason(tmp_path):
    found = figures_of(tmp_path, rates(0.4, 0.4, 0.0, 0.0), silences=[silenced(0, 9)])
    assert found["withheld"] == [
        {"rule": "high_error_rate", "suppressed_by": "silence", "why": "because of silence", "count": 1}
    ]
    assert (found["notifications"]["total"], found["pages"]["total"], found["rules"][0]["withheld"]) == (0, 0, {"silence": 1})


def test_a_storm_is_one_page(tmp_path):
    hosts = {("error_rate", json.dumps({"host": f"h{n}"}, separators=(",", ":"))): (0.4, 1000) for n in range(7)}
    found = figures_of(tmp_path, windows_of([hosts], []))
    assert (found["pages"]["total"], found["rules"][0]["pages"]) == (1, 7)


def test_the_tables_fit_a_terminal_of_80_columns(tmp_path):
    long = replace(rule(), name="a_rule_with_a_name_that_is_much_too_long_for_a_column")
    found = figures_of(tmp_path, rates(0.4, 0.0, 0.0), long, rule(name="other"), silences=[silenced(0, 9, rule="other")])
    found |= {"warm_up": {"from": "2025-11-30T00:00:00Z", "to": "2025-12-01T00:00:00Z"}, "alerts_before": None}
    out = io.StringIO()
    show(found, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [word for word in ("Rules", "Noisiest keys", "Kept quiet") if word not in [line.strip() for line in lines]] == []


def test_durations_are_written_in_two_units():
    assert [duration(each) for each in (0, 30, 300, 5400, 90_000)] == ["-", "30 s", "5 min", "1 h 30 min", "1 d 1 h"]


@pytest.mark.parametrize("source", ["s3", "archive:", "windows:", "kafka:x", "clickhouse:", ""])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(ConfigError, match="give kafka, archive:DIR, clickhouse, clickhouse:RUN or windows:DIR"):
        check_source(source)


def history_of(tmp_path, config, results):
    return History(WindowFolder(written(tmp_path / "run", results)), config.metrics)


def test_a_range_without_a_window_is_refused_and_says_what_is_there(tmp_path):
    history = history_of(tmp_path, config_of(tmp_path), rates(0.1, 0.1, 0.1))
    assert covered(history, None, START + LENGTH) == (START, START + LENGTH)
    there = r"the first begins at 2025-12-01T00:00:00Z, the last ends at 2025-12-01T00:15:00Z"
    for start, end in ((START + 3 * LENGTH, None), (None, START)):
        with pytest.raises(HistoryError, match=there):
            covered(history, start, end)


def test_a_history_without_any_window_of_the_metrics_is_refused(tmp_path):
    history = history_of(tmp_path, config_of(tmp_path), windows_of([{("requests", "{}"): (1.0, 1)}], []))
    with pytest.raises(HistoryError, match="holds no window of the configured metrics; replay from the records"):
        covered(history, None, None)


def test_what_the_windows_lack_is_named_with_the_rule_and_the_way_out(tmp_path):
    more = CONFIG.replace("[[rule]]", '[[metric]]\nname = "hits"\nkind = "count"\ndataset = "d"\n[[rule]]', 1)
    more += '[[rule]]\nname = "busy"\nmetric = "hits"\nstatistic = "count"\nabove = { critical = 5 }\n'
    history = history_of(tmp_path, config_of(tmp_path, more), rates(0.1))
    with pytest.raises(HistoryError, match=r"lacks hits \(rule busy\): take these rules out, or replay from the records"):
        check(history, config_of(tmp_path, more))


def test_rules_on_a_dataset_that_the_history_has_nothing_of_are_not_judged_and_named(tmp_path):
    more = CONFIG + '[[metric]]\nname = "lines"\nkind = "count"\ndataset = "app_logs"\n'
    more += '[[rule]]\nname = "silent"\nkind = "absence"\nmetric = "lines"\n'
    config = config_of(tmp_path, more)
    assert check(history_of(tmp_path, config, rates(0.1)), config) == {"silent": "no window of app_logs"}


def test_windows_of_another_length_are_refused(tmp_path):
    config = config_of(tmp_path, f'{CONFIG}[window]\nlength = "1m"\n')
    with pytest.raises(HistoryError, match=r"are 300 s long, those of the configuration 60 s \(window.length\)"):
        check(history_of(tmp_path, config, rates(0.1, 0.1)), config)


def test_windows_that_begin_more_often_than_configured_are_refused(tmp_path):
    config = config_of(tmp_path)
    results = [
        replace(each, start=START + n * 60_000, end=START + n * 60_000 + LENGTH) for n, each in enumerate(rates(0.1, 0.1))
    ]
    with pytest.raises(HistoryError, match=r"begin every 60 s, those of the configuration every 300 s \(window.hop\)"):
        check(history_of(tmp_path, config, results), config)


def wish_of(tmp_path, **changes):
    given = {"source": "archive:logs", "start": None, "end": None, "warm_up_ms": 0, "out": tmp_path / "out"}
    return Wish(**(given | changes))


def test_records_are_replayed_once_and_other_ones_are_not_taken_for_them(tmp_path):
    config, replayed = config_of(tmp_path), []

    def replay(_, wish, folder, __):
        replayed.append(wish.start)
        written(folder, rates(0.1))
        (folder / "summary.json").write_text("{}")
        return True

    def go(**changes):
        with opened(config, wish_of(tmp_path, **changes), (), replay, RunProgress("test")) as history:
            return history.start

    assert [go(start=START), go(start=START), replayed] == [START, START, [START]]
    assert kept_times(tmp_path / "out", "archive:logs") == (START, None)
    with pytest.raises(HistoryError, match="holds windows of other records, metrics or times: give another --out"):
        go(start=START + LENGTH)


def test_a_range_without_a_record_is_refused_with_what_the_replay_found(tmp_path):
    def replay(_, __, folder, ___):
        written(folder, [])
        (folder / "summary.json").write_text('{"empty":"nothing there"}')
        return True

    with (
        pytest.raises(HistoryError, match="nothing there"),
        opened(config_of(tmp_path), wish_of(tmp_path), (), replay, RunProgress("test")),
    ):
        pass


@pytest.mark.slow
def test_the_command_writes_its_files_and_exits_by_what_it_finds(tmp_path):
    config_of(tmp_path)
    written(tmp_path / "run", rates(0.0, 0.4, 0.4, 0.0, 0.0))
    arguments = [
        "backtest",
        "-c",
        tmp_path / "monitor.toml",
        "--source",
        f"windows:{tmp_path / 'run'}",
        "--out",
        tmp_path / "out",
    ]
    done = edgewatch(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "backtest.json").read_text())
    said = [json.loads(line)["reason"] for line in (tmp_path / "out" / "notifications.ndjson").read_text().splitlines()]
    moved = [json.loads(line)["to"] for line in (tmp_path / "out" / "transitions.ndjson").read_text().splitlines()]
    assert (said, moved) == (["first", "resolved"], ["firing", "recovering", "inactive"])
    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".ndjson", ".json", ".draft"))
    assert made == ["backtest.json", "notifications.ndjson", "transitions.ndjson", "withheld.ndjson"]
    (tmp_path / "run" / "windows.ndjson").write_text("no line\n")
    done = edgewatch(*arguments)
    assert done.returncode == 2
    assert f"edgewatch: {tmp_path / 'run' / 'windows.ndjson'}, line 1: not a line of windows" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--source", "windows:nowhere"], 2, "nowhere has no windows.ndjson"),
        (["--from", "2025-12-02T00:00:00Z", "--to", "2025-12-02T00:00:00Z"], 2, "the range is empty"),
        (["--zone", "Mars"], 2, "--zone Mars: is not a time zone of this machine"),
        (["--warm-up", "soon"], 2, "--warm-up soon: give a duration such as"),
        (["--source", "clickhouse"], 1, "cannot connect, http://127.0.0.1:9"),
    ],
)
def test_bad_use_and_outside_trouble_are_one_clear_line(tmp_path, arguments, code, words):
    config_of(tmp_path, CONFIG + '[clickhouse]\nurl = "http://127.0.0.1:9"\n')
    done = edgewatch("backtest", "-c", tmp_path / "monitor.toml", "--out", tmp_path / "out", *arguments)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_a_rule_of_every_kind_has_its_times(tmp_path):
    absent = RuleOptions(
        name="x", kind="absence", metric="error_rate", statistic="silence", above=Thresholds(critical=1.0), keys="total"
    )
    found = figures_of(tmp_path, rates(0.1, 0.1), absent)
    assert found["rules"][0]["seconds"] == {"inactive": 600, "pending": 0, "firing": 0, "recovering": 0}


def test_a_metric_that_was_measured_by_another_definition_is_named(tmp_path):
    was = config_of(tmp_path)
    name = was.rules[0].metric
    now = replace(was, metrics=tuple(replace(m, where="not is_user_request") if m.name == name else m for m in was.metrics))
    history = history_of(tmp_path, was, rates(0.0, 0.1))
    folder = Path(history.store.name).parent
    assert measured_otherwise(history, now, 0, 2**62) == []  # a folder that does not know
    (folder / "summary.json").write_bytes(orjson.dumps({"metrics": {each.name: each.identity for each in was.metrics}}))
    assert measured_otherwise(history, was, 0, 2**62) == []
    (words,) = measured_otherwise(history, now, 0, 2**62)
    assert words.startswith(f"{name}: the windows of {folder / 'windows.ndjson'} were measured by another definition. A metric")
