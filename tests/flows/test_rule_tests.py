"""Tests of rules: what series mean, that they are judged as a run judges, and what a failing test says."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.config import ConfigErrors, loads
from flows.rule_test import run_test
from flows.rule_test_options import read_tests
from flows.rule_test_windows import windows_of
from flows.series import SeriesError, parse_series
from tests.flows.history import play
from tests.runs import ROOT, edgewatch

PAGE = (ROOT / "docs" / "testing-rules.md").read_text(encoding="utf-8")
CONFIG = """
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]
[[metric]]
name = "hits"
kind = "ratio"
dataset = "http_requests"
good = "EdgeResponseStatus < 500"
[[metric]]
name = "requests"
kind = "count"
dataset = "http_requests"
group_by = ["ClientRequestHost"]
[[metric]]
name = "time"
kind = "distribution"
dataset = "http_requests"
value = "EdgeTimeToFirstByteMs"
group_by = ["ClientRequestHost"]
[[metric]]
name = "db"
kind = "distribution"
dataset = "performance"
value = "db_ms"
[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { warning = 0.01, critical = 0.05 }
cooldown = "15m"
[[rule]]
name = "slow"
metric = "time"
statistic = "p99"
above = { warning = 1000 }
for = 1
[[route]]
severity = ["critical"]
channels = ["pager", "chat"]
[[route]]
channels = ["chat"]
group_by = ["rule"]
[channel.chat]
kind = "slack"
webhook_url = "env:NOT_SET_ANYWHERE"
[channel.pager]
kind = "console"
"""
SERIES = '[[test]]\nname = "t"\n[[test.series]]\nmetric = "errors"\nkey = { ClientRequestHost = "a" }\n'
KEY = 'key = { ClientRequestHost = "a" }\n'


def configured(more="", old="", new=""):
    return loads(CONFIG.replace(old, new) + more, Path("monitor.toml"), secrets=False)


@pytest.fixture
def tests_of(tmp_path):
    def read(text, config=None):
        path = tmp_path / "tests.toml"
        path.write_text(text)
        return read_tests(path, config or configured())

    return read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01x2 0.2", [0.01, 0.01, 0.2]),
        ("_ 5 _x2", [None, 5, None, None]),
        ("10+5x3 1-0.5x2 -1", [10, 15, 20, 1, 0.5, -1]),
        ("1e3 0.1+0.1x3", [1000, 0.1, 0.2, 0.3]),
    ],
)
def test_a_series_is_written_short(text, values):
    assert parse_series(text) == values


@pytest.mark.parametrize("text", ["", "1x", "x3", "1,2", "_+1x2", "1x9999999", "nan"])
def test_a_series_that_cannot_be_read_is_refused(text):
    with pytest.raises(SeriesError):
        parse_series(text)


def rows(test, config, metric):
    return [
        None if (found := each.metrics.get(metric)) is None else dict(zip(found.keys, _cells(found), strict=True))
        for each in windows_of(test, config)
    ]


def _cells(found):
    return [{name: column[n] for name, column in found.statistics.items()} | {"n": c} for n, c in enumerate(found.counts)]


def series(metric, values, host="", **more):
    lines = [f'[[test.series]]\nmetric = "{metric}"\nvalues = "{values}"']
    lines += [f'key = {{ ClientRequestHost = "{host}" }}'] if host else []
    return "\n".join([*lines, *(f'{name} = "{value}"' for name, value in more.items())]) + "\n"


def test_a_ratio_gives_its_total_and_its_bad_or_good(tests_of):
    text = '[[test]]\nname = "t"\n' + series("errors", "0.25 _ 0.5", "a", counts="200") + series("hits", "0.9x3", counts="10")
    (test,) = tests_of(text)
    a, total = '{"ClientRequestHost":"a"}', "{}"
    quarter, half = (
        {"total": 200, "bad": 50, "ratio": 0.25, "n": 200},
        {"total": 200, "bad": 100, "ratio": 0.5, "n": 200},
    )
    assert rows(test, configured(), "errors") == [{a: quarter, total: quarter}, None, {a: half, total: half}]
    assert rows(test, configured(), "hits") == [{total: {"total": 10, "good": 9, "ratio": 0.9, "n": 10}}] * 3


def test_the_total_is_added_up_unless_it_is_given(tests_of):
    text = '[[test]]\nname = "t"\n' + series("errors", "0.5", "a", counts="100") + series("errors", "0", "b", counts="300")
    (test,) = tests_of(text + series("requests", "600 300", "a") + series("requests", "7"))
    assert rows(test, configured(), "errors")[0]["{}"] == {"total": 400, "bad": 50, "ratio": 0.125, "n": 400}
    found = rows(test, configured(), "requests")
    assert found[0] == {
        '{"ClientRequestHost":"a"}': {"count": 600, "rate": 2, "n": 600},
        "{}": {"count": 7, "rate": 7 / 300, "n": 7},
    }
    assert list(found[1]) == ['{"ClientRequestHost":"a"}']


def test_of_a_distribution_every_statistic_is_given_unless_one_is_named(tests_of):
    text = '[[test]]\nname = "t"\n' + series("time", "100", "a") + series("time", "900 900", "a", statistic="p99")
    (test,) = tests_of(text)
    cells = [each['{"ClientRequestHost":"a"}'] for each in rows(test, configured(), "time")]
    assert [(cell["mean"], cell["p50"], cell["p99"], cell["count"]) for cell in cells] == [
        (100, 100, 900, 100_000),
        (900, 900, 900, 100_000),
    ]


def outcome(test, config=None):
    return [(each.about, each.problem) for each in run_test(test, config or configured()).failures]


def test_what_is_expected_of_decisions_and_notifications_is_compared(tests_of):
    good = (
        SERIES
        + 'values = "0.0 0.02x3 0.2 0.0x3"\n'
        + "".join(
            f'[[test.expect]]\nat = "{at}"\nrule = "failing"\nstate = "{state}"\nseverity = "{severity}"\n{KEY}'
            for at, state, severity in (
                ("5m", "inactive", "none"),
                ("10m", "pending", "none"),
                ("15m", "firing", "warning"),
                ("25m", "firing", "critical"),
                ("30m", "recovering", "critical"),
            )
        )
        + '[[test.expect]]\nat = "25m"\nrule = "failing"\nlevel = "critical"\nvalue = 0.2\ncount = 100000\n'
        + 'suppressed_by = "none"\n'
        + '[[test.notification]]\nat = "15m"\nreason = "first"\nchannels = ["chat"]\ngrouped = false\n'
        + '[[test.notification]]\nat = "25m"\nreason = "escalated"\nchannels = ["chat", "pager"]\n'
        + '[[test.notification]]\nat = "35m"\nstatus = "resolved"\nseverity = "critical"\nchannels = ["pager", "chat"]\n'
    )
    assert outcome(tests_of(good)[0]) == []
    about = "failing ClientRequestHost=a"
    for old, new, problem in (
        ('state = "recovering"', 'state = "firing"', (about, "state: expected firing, got recovering")),
        ("value = 0.2", "value = 0.3", (about, "value: expected 0.3, got 0.2")),
        ('reason = "escalated"', 'reason = "repeat"', (about, "notification: reason: expected repeat, got escalated")),
        ('channels = ["chat"]', "channels = []", (about, "notification: channels: expected nobody, got chat")),
        ('at = "35m"', 'at = "30m"', ("", "notification: expected status resolved, severity critical, channels pager, chat,")),
    ):
        found = outcome(tests_of(good.replace(old, new, 1))[0])
        assert found[0][0] == problem[0]
        assert found[0][1].startswith(problem[1])
        assert ("it was said at 35m" in found[0][1]) == ('"35m"' in old)


def test_more_may_be_said_only_where_the_test_says_so(tests_of):
    silent = SERIES + 'values = "0.2"\n'
    (failure,) = outcome(tests_of(silent)[0])
    assert failure[1].startswith("notification: not expected, but said: first (firing, critical) to chat, pager: Failing on a")
    assert outcome(tests_of(silent.replace('"t"', '"t"\npartial = true'))[0]) == []
    assert outcome(tests_of(silent.replace('"t"', '"t"\nrules = ["slow"]'))[0]) == []


def test_policy_of_the_configuration_holds_and_silences_are_given_by_the_test(tests_of):
    policy = """
[[inhibit]]
source = { rule = "failing" }
target = { rule = "slow" }
equal = ["ClientRequestHost"]
[[mute]]
name = "nights"
match = { rule = "slow" }
times = ["22:00-23:00"]
zone = "Europe/Berlin"
"""
    text = '[[test]]\nname = "t"\npartial = true\nstart = 2025-07-01T19:45:00Z\n'
    text += series("errors", "0.2 0.0x7", "a") + series("time", "2000x8", "a")
    text += '[[test.silence]]\nmatch = { rule = "failing" }\nend = "10m"\n[[test.silence]]\nmatch = ["rule=slow"]\n'
    text += 'start = "30m"\nend = "35m"\n'
    # 22:00 in Berlin's summer is 20:00 UTC, 15 minutes after the start.
    reasons = ["inhibit", "inhibit", "mute", "mute", "mute", "silence", "mute", "mute"]
    text += "".join(
        f'[[test.expect]]\nat = "{5 * n}m"\nrule = "slow"\n{KEY}suppressed_by = "{why}"\n' for n, why in enumerate(reasons, 1)
    )
    text += f'[[test.expect]]\nat = "5m"\nrule = "failing"\n{KEY}suppressed_by = "silence"\nstate = "firing"\n'
    assert outcome(tests_of(text, configured(policy))[0], configured(policy)) == []


def test_an_alert_of_one_dataset_inhibits_one_of_another(tests_of):
    more = """
[[rule]]
name = "a_slow_database"
metric = "db"
statistic = "mean"
above = { critical = 500 }
[[inhibit]]
source = { rule = "a_slow_database" }
target = { rule = "failing" }
"""
    text = '[[test]]\nname = "t"\n' + series("errors", "0.2", "a") + series("db", "900")
    text += '[[test.notification]]\nat = "5m"\nrule = "a_slow_database"\nkey = {}\n'
    assert outcome(tests_of(text, configured(more))[0], configured(more)) == []


def test_repeats_cooldown_flapping_and_groups_are_those_of_a_run(tests_of):
    config = configured(old='cooldown = "15m"', new='cooldown = "15m"\nrepeat = "10m"\nclear = 1\nflap = { transitions = 4 }')
    text = '[[test]]\nname = "t"\n' + series("errors", "0.2x3 0 0.2 0 0.2", "a")
    said = (("5m", "first"), ("15m", "repeat"), ("20m", "resolved"), ("30m", "flapping"))
    text += "".join(f'[[test.notification]]\nat = "{at}"\nreason = "{reason}"\n' for at, reason in said)
    text += '[[test.expect]]\nat = "35m"\nrule = "failing"\nsuppressed_by = "flap"\n' + KEY
    assert outcome(tests_of(text, config)[0], config) == []
    grouped = '[[test]]\nname = "t"\n' + series("time", "2000", "a") + series("time", "3000", "b")
    grouped += '[[test.notification]]\nat = "5m"\nrule = "slow"\ngrouped = true\n' * 2
    grouped += '[[test.message]]\nat = "5m"\ntitle = "2 alerts: slow, worst on b"\nchannels = ["chat"]\n'
    assert outcome(tests_of(grouped)[0]) == []
    (failure,) = outcome(tests_of(grouped.replace("2 alerts", "3 alerts"))[0])
    assert failure[1] == "message: title: expected 3 alerts: slow, worst on b, got 2 alerts: slow, worst on b"


def test_rules_that_hear_silence_hear_that_of_a_test(tests_of):
    config = configured(old='cooldown = "15m"', new="no_data = { after = 2, alert = true }")
    text = '[[test]]\nname = "t"\n' + series("errors", "_ 0 _x2", "a")
    text += '[[test.notification]]\nat = "20m"\nrule = "no_data:failing"\nkey = {}\nreason = "first"\n'
    assert outcome(tests_of(text, config)[0], config) == []


def test_hopping_windows_are_judged_as_often_as_they_hop(tests_of):
    config = configured('[window]\nlength = "5m"\nhop = "1m"\n')
    text = SERIES + 'values = "0.0 0.2x2"\n[[test.notification]]\nat = "6m"\nreason = "first"\n'
    assert outcome(tests_of(text, config)[0], config) == []
    with pytest.raises(ConfigErrors, match="no window ends at 2m; they end every 1m from 5m to 7m"):
        tests_of(text.replace('"6m"', '"2m"'), config)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([None, 0.0, 0.02, 0.2]), min_size=1, max_size=20))
def test_a_test_that_expects_what_a_run_says_holds_and_no_other_does(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("tests") / "tests.toml"
    config = configured()
    written = " ".join("_" if each is None else str(each) for each in values)
    text = '[[test]]\nname = "t"\n' + series("errors", written, "a") + series("requests", f"9x{len(values)}")
    path.write_text(text)
    (test,) = read_tests(path, config)
    evaluations, _, notifications = (
        [json.loads(line) for line in lines] for lines in play(Alerting(config, config.policy), windows_of(test, config))
    )
    start = tomllib.loads("x = 2025-12-01T00:00:00Z")["x"].timestamp()
    stamp = {row: int(tomllib.loads(f"x = {row}")["x"].timestamp() - start) for row in {r["window_end"] for r in evaluations}}
    for row in evaluations:
        text += f'[[test.expect]]\nat = "{stamp[row["window_end"]]}s"\nrule = "failing"\n{KEY}state = "{row["state_after"]}"\n'
        text += f'level = "{row["level"]}"\nseverity = "{row["severity"] or "none"}"\n'
    for row in notifications:
        text += f'[[test.notification]]\nat = "{stamp[row["at"]]}s"\nrule = "failing"\nreason = "{row["reason"]}"\n{KEY}'
        text += f"channels = {row['channels']}\n"
    path.write_text(text)
    assert outcome(read_tests(path, config)[0], config) == []
    if notifications:
        path.write_text(text.rpartition("[[test.notification]]")[0])
        assert [problem[:38] for _, problem in outcome(read_tests(path, config)[0], config)] == [
            "notification: not expected, but said: "
        ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (series("eror", "1", "a"), "test \"t\".series #1.metric: no metric 'eror'; did you mean 'errors'?"),
        (series("errors", "1", "a", statistic="p99"), "series #1.statistic: errors has no 'p99'; it has: total, bad, ratio"),
        (series("errors", "1", "a", statistic="total"), "series #1.statistic: say how many records there are with counts"),
        (series("requests", "1", "a", counts="1"), "series #1.counts: the values of a count are its records"),
        (series("hits", "1", "a"), "series #1.key: hits has no groups: leave key out"),
        (series("errors", "1").replace("values", 'key = { Host = "a" }\nvalues'), "errors has the groups ClientRequestHost"),
        (series("errors", "1y", "a"), "series #1.values: '1y' is not a value"),
        (series("errors", "1", "a", counts="1.5"), "series #1.counts: must be whole numbers"),
        ('start = "2025-12-01T00:01:00Z"\n' + series("errors", "1", "a"), "start: windows start at whole multiples of 5m"),
        ('start = "noon"\n' + series("errors", "1", "a"), "start: 'noon' is not a time"),
        ("start = 2025-12-01T00:00:00\n" + series("errors", "1", "a"), "start: has no zone"),
        ('rules = ["failng"]\n' + series("errors", "1", "a"), "rules: no rule 'failng'; did you mean 'failing'?"),
        (
            series("errors", "1", "a") + '[[test.expect]]\nat = "7m"\nrule = "failing"\nstate = "firing"\n',
            "no window ends at 7m",
        ),
        (series("errors", "1", "a") + '[[test.expect]]\nat = "5m"\nrule = "slw"\nstate = "firing"\n', "did you mean 'slow'?"),
        (series("errors", "1", "a") + '[[test.expect]]\nat = "5m"\nrule = "slow"\n', "nothing is expected"),
        (series("errors", "1", "a") + '[[test.notification]]\nat = "5m"\nchannels = ["chatt"]\n', "did you mean 'chat'?"),
        (series("errors", "1", "a") + '[[test.notification]]\nat = "5m"\nreason = "frst"\n', "did you mean 'first'?"),
        (
            series("errors", "1", "a") + '[[test.silence]]\nmatch = ["a"]\nend = "5m"\n',
            "silence #1.match: 'a' is not a matcher",
        ),
        ("series = []\n", "series: is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(tests_of, text, problem):
    with pytest.raises(ConfigErrors) as caught:
        tests_of('[[test]]\nname = "t"\n' + text)
    assert problem in str(caught.value)


def test_a_total_that_groups_do_not_add_up_to_must_be_given(tests_of):
    config = configured(old='statistic = "p99"', new='statistic = "p99"\nkeys = "all"')
    text = '[[test]]\nname = "t"\npartial = true\n' + series("time", "1", "a")
    with pytest.raises(ConfigErrors, match="slow judges the total of time, which groups do not add up to"):
        tests_of(text, config)
    assert outcome(tests_of(text + series("time", "1"), config)[0], config) == []


def test_json_names_the_failure_and_a_file_without_tests_is_bad_use(tmp_path):
    config, *_, slow = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "monitor.toml").write_text(config)
    (tmp_path / "tests.toml").write_text(slow)
    as_json = edgewatch("test", "-c", tmp_path / "monitor.toml", tmp_path / "tests.toml", "--json")
    (found,) = json.loads(as_json.stdout)
    assert (as_json.returncode, found["ok"], found["failures"][0]["at"]) == (1, False, "10m")
    (tmp_path / "tests.toml").write_text("")
    none = edgewatch("test", "-c", tmp_path / "monitor.toml", tmp_path / "tests.toml")
    assert (none.returncode, "there is none; a test is written [[test]]" in none.stderr) == (2, True)
