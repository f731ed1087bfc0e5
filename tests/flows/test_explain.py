"""Explanations: that they agree with the records, wherever those are kept, and say why and by whom."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.config import load, loads
from flows.decision_log import EVALUATIONS, NOTIFICATIONS, TRANSITIONS, ClickHouseLog, FolderLog, Wanted
from flows.explain import Place, case_of
from flows.explain_words import as_dict, sentences, verdict
from flows.moment import moment
from flows.output import canonical, rfc3339
from flows.rule import Thresholds
from flows.rule_test_options import read_tests
from flows.rule_test_windows import windows_of
from flows.suppressor import Surroundings
from flows.writer import TABLES
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.spool import Spool, SpoolItem
from tests.flows.history import LENGTH, METRICS, histories, play, rates, results_of, rule, rules
from tests.runs import ACCEPTANCE, ROOT, checked, edgewatch, make_logs

pytestmark = pytest.mark.slow
FILES = (EVALUATIONS, TRANSITIONS, NOTIFICATIONS)
RECORDED = ("level", "state_before", "state_after", "severity", "suppressed_by", "value", "count")
COUNTED = ("run_warning", "run_critical", "cleared")
POLICY = """
[[inhibit]]
source = { rule = "high_error_rate", severity = "critical" }
target = { rule = "slow_responses" }
equal = ["ClientRequestHost"]
[[mute]]
name = "the first hour"
times = ["00:00-01:00"]
match = { rule = "low_cache_hit_rate" }
"""
SILENCE = {"kind": "silence", "id": "s1", "match": ["rule=slow_database"], "author": "me", "reason": "moving the disks"}
HOST = "ClientRequestHost=h1.example.com"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """Give a configuration and the folder of its replay, with a silence, a mute and an inhibition."""
    folder = tmp_path_factory.mktemp("replayed")
    config, out = folder / "monitor.toml", folder / "out"
    config.write_text((ACCEPTANCE / "monitor.toml").read_text() + POLICY)
    (out / ".state").mkdir(parents=True)
    event = SILENCE | {"start": 0, "end": 2_000_000_000_000, "at": 0}
    (out / ".state" / "controls.ndjson").write_text(json.dumps(event) + "\n")
    logs = make_logs(folder / "logs", records=40_000)
    checked("replay", "-c", config, "--source", f"archive:{logs}", "--out", out)
    return config, out


def explain(config, *arguments):
    return edgewatch("explain", "-c", config, *arguments)


def said(config, out, name, at, *arguments):
    done = explain(config, name, "--from-dir", out, "--at", f"2025-12-01T{at}Z", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(out, name):
    return [json.loads(line) for line in (out / f"{name}.ndjson").read_bytes().splitlines()]


def cases(log, config, surroundings=None):
    """Give the case of every evaluation of a log."""
    for row in log.rows(EVALUATIONS, Wanted()):
        place = Place(row["rule"], row["key"], row["at"] - config.window.length_ms, row["at"])
        yield case_of(log, config, place, surroundings or Surroundings(), row)


class Remembered:
    """A log in memory: what a folder or a server gives, without reading it for each question."""

    def __init__(self, log):
        self._rows: dict = {}
        for table in FILES:
            for row in log.rows(table, Wanted()):
                self._rows.setdefault((table, row["rule"], row["key"]), []).append(row)

    def rows(self, table, wanted):
        names = (wanted.rule, wanted.key)
        found = [
            row
            for (name, *place), rows in self._rows.items()
            if name == table and all(want in (None, have) for want, have in zip(names, place, strict=True))
            for row in rows
        ]
        low, high = (-1 if wanted.after is None else wanted.after), (2**62 if wanted.until is None else wanted.until)
        return sorted((row for row in found if low < row["at"] <= high), key=lambda row: (row["at"], row["rule"], row["key"]))


def agrees(case):
    """Check what is said against the record, and give all of it."""
    record, words = case.record, {each.about: each.text for each in sentences(case)}
    state = words["state"].split(": ")[0].rstrip(".").split(", ")[0].split(". ")[0]
    assert state.removesuffix(f" ({record['severity']})").endswith(record["state_after"])
    assert record["level"] == "no_data" or f"Level {record['level']}" in words["value"]
    assert (record["level"] == "no_data") == ("nothing to judge" in words["value"])
    assert (f"({record['severity']})" in words["state"]) == (record["severity"] is not None)
    assert verdict(case).startswith("Said at") == bool(case.said_now)
    assert bool(case.quiet) == (record["suppressed_by"] is not None)
    assert case.expected_level in (None, record["level"])
    shown = as_dict(case)
    assert [shown["record"][name] for name in RECORDED] == [record[name] for name in RECORDED]
    return words


def test_the_page_shows_what_the_command_says(replayed):
    page = (ROOT / "docs" / "alerting.md").read_text(encoding="utf-8")
    assert said(*replayed, "high_error_rate", "00:32:00", "--key", HOST) in page


def test_what_is_said_of_every_evaluation_of_a_replay_agrees_with_its_record(replayed):
    config = load(replayed[0], secrets=False)
    log = Remembered(FolderLog(replayed[1]))
    found = [agrees(case) for case in cases(log, config)]
    assert len(found) == len(rows_of(replayed[1], EVALUATIONS)) > 500
    assert {"value", "limits", "state", "quiet", "before", "after"} <= {about for words in found for about in words}


def write(folder, results, chosen, **settings_):
    """Play windows and write the three files; gives a configuration and the counters of the state machine a window."""
    base = loads("", Path("monitor.toml"))
    config = dataclasses.replace(base, environment="test", rules=tuple(chosen), metrics=METRICS, **settings_)
    alerting = Alerting(config, config.policy)
    lines: tuple[list, list, list] = ([], [], [])
    counters = {}
    for result in results:
        for all_lines, more in zip(lines, play(alerting, [result]), strict=True):
            all_lines.extend(more)
        for book in alerting._books:
            columns = [getattr(book._columns, name).tolist() for name in COUNTED]
            for key, values in zip(book._keys, zip(*columns, strict=True), strict=True):
                counters[book.rule.options.name, key, result.end] = values
    for name, found in zip(FILES, lines, strict=True):
        (folder / f"{name}.ndjson").write_bytes(b"".join(found))
    return config, counters


@settings(max_examples=40)
@given(st.data(), histories(), st.sampled_from([1.0, 2.0]), st.sampled_from([0, 1]))
def test_counts_and_repeats_are_those_of_the_state_machine(tmp_path_factory, data, history, backoff, most):
    folder = tmp_path_factory.mktemp("files")
    changes = {"forget_after_ms": 86_400_000, "repeat_backoff": backoff, "max_repeats": most}
    chosen = [dataclasses.replace(data.draw(rules(name)), **changes) for name in "rs"]
    config, counters = write(folder, results_of(history), chosen)
    for case in cases(Remembered(FolderLog(folder)), config):
        agrees(case)
        counted = case.counters()
        assert counted[:3] == counters[case.name, canonical(case.key).decode(), case.end]
        assert counted.all_known
        due = re.search(r"is repeated from (.*) UTC on", verdict(case))
        if due:
            assert moment(f"{due[1].replace(' ', 'T')}Z", 0) > case.end
        for row in case.said_now:
            if row["reason"] == "repeat":
                silent = dataclasses.replace(case, said=case.heard)
                due = re.search(r"is repeated from (.*) UTC on", verdict(silent))
                assert due is not None
                assert moment(f"{due[1].replace(' ', 'T')}Z", 0) <= case.end


def words_at(folder, config, n, key='{"host":"a"}', **changes):
    """Give what is said of the n-th window."""
    found = [case for case in cases(FolderLog(folder), config) if canonical(case.key).decode() == key]
    case = dataclasses.replace(found[n], **changes)
    return verdict(case), {each.about: each.text for each in sentences(case)}


def test_a_guard_and_too_few_bad_records_are_said_with_their_numbers(tmp_path):
    cells = [{("error_rate", '{"host":"a"}'): cell} for cell in ((0.4, 5), (0.0525, 4000), (0.4, 1000))]
    config, _ = write(tmp_path, results_of(cells), [rule(guard="wilson", min_bad=3)])
    assert "Level ok, though above 1 %: 2 bad records are fewer than 3 (min_bad)." in words_at(tmp_path, config, 0)[1]["value"]
    assert words_at(tmp_path, config, 1)[1]["value"].endswith(
        "Level warning: above 1 % (guard wilson: it is at least 4.6 % for sure)."
    )


def test_an_override_is_named_and_its_limits_shown(tmp_path):
    config = loads(
        (ACCEPTANCE / "monitor.toml")
        .read_text()
        .replace(
            "min_count = 100\nfor", 'overrides = [{ match = { ClientRequestHost = "a" }, above = { critical = 0.5 } }]\nfor'
        ),
        Path("monitor.toml"),
    )
    line: dict = {"window_end": "2025-12-01T00:05:00Z", "rule": "high_error_rate", "key": {"ClientRequestHost": "a"}}
    line |= {"metric": "error_rate", "statistic": "ratio", "value": 0.3, "count": 1000, "level": "warning"}
    line |= {"state_before": "inactive", "state_after": "pending", "severity": None, "suppressed_by": None}
    (tmp_path / "evaluations.ndjson").write_bytes(canonical(line) + b"\n")
    _, words = words_at(tmp_path, config, 0, '{"ClientRequestHost":"a"}')
    override = 'by the override for ClientRequestHost="a"'
    assert words["limits"] == f"Critical above 50 %, warning above 1 %; clear at 0.8 %, {override}."


def test_other_limits_than_those_of_the_record_are_said(tmp_path):
    config, _ = write(tmp_path, rates(0.2), [rule()])
    other = dataclasses.replace(config, rules=(rule(above=Thresholds(warning=0.01, critical=0.3)),))
    _, words = words_at(tmp_path, other, 0)
    assert (
        "By the limits loaded it would be warning: the record was made with others. What was said then names 5 %."
        in words["limits"]
    )
    assert "By the limits loaded" not in words_at(tmp_path, config, 0)[1]["limits"]
    gone = dataclasses.replace(config, rules=())
    assert words_at(tmp_path, gone, 0)[1]["limits"] == "The configuration has no such rule, so its limits are not known."


def test_hysteresis_cooldown_and_pending_are_explained(tmp_path):
    config, _ = write(tmp_path, rates(0.02, 0.2, 0.009, 0.0, 0.0, 0.2, 0.2), [rule()])
    found = [words_at(tmp_path, config, n) for n in range(7)]
    assert found[0][0] == "Nothing was said: it was pending: it had not been bad for long enough."
    assert found[0][1]["state"] == (
        "From inactive to pending: 1 evaluation in a row at warning or worse."
        " It fires after 1 critical or 2 at warning or worse in a row (for)."
    )
    assert found[1][0] == "Said at 2025-12-01 00:10 UTC: first (critical), to console."
    assert found[2][1]["state"] == "Stays firing (critical): ok, but not clear: that is at 0.8 %."
    assert found[3][1]["state"] == "From firing to recovering (critical): 1 clear in a row, 2 resolve (clear)."
    assert found[4][1]["state"] == "From recovering to inactive, resolved: 2 clear in a row, 2 resolve (clear)."
    assert found[5][0].startswith(
        "Nothing was said: it came back within the cooldown of 1 h after it was over 2025-12-01 00:25 UTC"
    )
    assert found[6][0] == "Said at 2025-12-01 00:35 UTC: reopened (critical), to console."


def test_a_rule_that_does_not_notify_and_one_that_no_route_takes_are_told_apart(tmp_path):
    config, _ = write(tmp_path, rates(0.2), [rule(notify=False)])
    assert words_at(tmp_path, config, 0)[0].startswith("Nothing was said: the rule has notify = false")
    config, _ = write(tmp_path, rates(0.2), [rule()], routes=())
    assert words_at(tmp_path, config, 0)[0].endswith("first (critical), to nobody, because no route takes it.")


def test_a_kind_that_is_not_known_here_is_explained_by_its_record(tmp_path):
    config, _ = write(tmp_path, rates(0.2), [rule()])
    odd = dataclasses.replace(config.rules[0], kind="phase_of_the_moon")
    _, words = words_at(tmp_path, dataclasses.replace(config, rules=(odd,)), 0)
    assert words["value"] == "error_rate was 20 % (1 000 records). Level critical."


KINDS = """
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
[[metric]]
name = "requests"
kind = "count"
dataset = "http_requests"
[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { critical = 0.05 }
clear = 1
flap = { transitions = 4 }
[[rule]]
name = "changed"
kind = "change"
metric = "requests"
statistic = "count"
baseline = { windows = 4 }
above = { warning = 2 }
for = 1
[[rule]]
name = "silent"
kind = "absence"
metric = "requests"
after = 2
[[rule]]
name = "full"
kind = "capacity"
metric = "requests"
statistic = "rate"
capacity = 10
[[rule]]
name = "both"
kind = "composite"
all = ["failing", "full"]
[[rule]]
name = "seen"
kind = "event"
metric = "requests"
above = { critical = 0 }
[[slo]]
name = "availability"
metric = "errors"
objective = 0.99
"""
PLAYED = """
[[test]]
name = "t"
[[test.series]]
metric = "errors"
values = "0.0x4 0.2 0 0.2 0 0.2 _x3"
[[test.series]]
metric = "requests"
values = "1000x4 3000 1000x4 _x3"
"""


def test_every_kind_of_rule_is_explained_in_its_own_words(tmp_path):
    config = loads(KINDS, Path("monitor.toml"))
    (tmp_path / "tests.toml").write_text(PLAYED)
    (test,) = read_tests(tmp_path / "tests.toml", config)
    lines = play(Alerting(config, config.policy), windows_of(test, config))
    for name, found in zip(FILES, lines, strict=True):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(found))
    words: dict = {}
    for case in cases(Remembered(FolderLog(tmp_path)), config):
        words.setdefault(case.name, []).append((verdict(case), agrees(case)))
    assert words["changed"][0][1]["value"].endswith(
        "Level insufficient: too little is known of the windows that it is compared with, so it counts towards nothing."
    )
    assert words["changed"][4][1]["value"] == "requests was 3 times its baseline (3 000 records). Level warning: above 2 times."
    assert words["silent"][10][1]["value"] == "There was no record for 2 windows in a row. Level critical: from 2 windows on."
    assert words["silent"][10][1]["limits"] == "It fires from 2 windows on, and is over with the first record."
    assert (
        words["full"][4][1]["value"] == "requests rate was 100 % of its capacity (3 000 records). Level critical: above 90 %."
    )
    assert words["seen"][0][1]["value"] == "requests: 1 000 records of this kind. Level critical: above 0."
    assert words["both"][4][1]["value"] == "2 of its 2 rules fired: failing firing, full firing. Level critical."
    assert "critical above 14.4 times over 1 h and 5 min, or critical above 6" in words["slo:availability"][4][1]["limits"]
    assert words["failing"][7][0].startswith("Said at 2025-12-01 00:40 UTC: flapping")
    assert "It began to fire or resolved 4 times in 8 windows; 4 make it flapping." in words["failing"][7][1]["flapping"]
    assert words["failing"][8][1]["quiet"] == "Kept quiet by flapping, which was said once; it is held until it settles."


@pytest.mark.parametrize(
    ("name", "at", "words"),
    [
        (
            "slow_database",
            "00:26:00",
            'kept quiet by silence s1 of me (moving the disks), until 2033-05-18T03:33:20Z, for rule="',
        ),
        ("low_cache_hit_rate", "00:26:00", "kept quiet by mute 'the first hour' (00:00-01:00 UTC)"),
    ],
)
def test_what_kept_an_alert_quiet_is_named(replayed, name, at, words):
    assert words in said(*replayed, name, at)


def test_the_source_of_an_inhibition_is_named(replayed):
    config, out = replayed
    row = next(row for row in rows_of(out, EVALUATIONS) if row["suppressed_by"] == "inhibit")
    host = f"ClientRequestHost={row['key']['ClientRequestHost']}"
    at = moment(row["window_end"], 0) - 60_000
    text = said(config, out, row["rule"], f"00:{at // 60_000 % 60:02}:00", "--key", host)
    assert f"kept quiet by high_error_rate on {host}, which was firing (critical)" in text


def test_without_a_key_the_keys_with_something_to_say_are_listed_worst_first(replayed):
    config, out = replayed
    lines = said(config, out, "high_error_rate", "00:26:00").splitlines()
    assert lines[0].startswith("high_error_rate, window 2025-12-01T00:25:00Z to 2025-12-01T00:30:00Z:")
    assert lines[1].startswith("  --key ClientRequestHost=h0.example.com  firing (critical), level critical, value 0.")
    found = [row for row in rows_of(out, EVALUATIONS) if row["rule"] == "high_error_rate"]
    bad = {row["window_end"] for row in found if row["state_after"] != "inactive" or row["state_before"] != "inactive"}
    well = moment(min({row["window_end"] for row in found} - bad), 0) - 1000
    assert "all were well" in said(config, out, "high_error_rate", rfc3339(well)[11:-1])
    listed = json.loads(said(config, out, "high_error_rate", "00:26:00", "--json"))
    severities = [each["severity"] or "none" for each in listed["keys"]]
    assert severities == sorted(severities)
    assert listed["judged"] > len(listed["keys"]) > 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["high_error_rate", "--at", "2025-12-02T00:00:00Z"], 1, "has not closed yet"),
        (["high_error_rate", "--at", "2024-12-02T00:00:00Z"], 1, "the first window that high_error_rate judged"),
        (["high_eror_rate", "--at", "2025-12-01T00:00:00Z"], 1, "did you mean 'high_error_rate'?"),
        (
            ["high_error_rate", "--at", "2025-12-01T00:20:00Z", "--key", "ClientRequestHost=h1.exmple.com"],
            1,
            f"did you mean --key {HOST}",
        ),
        (["high_error_rate", "--at", "2025-12-01T00:20:00Z", "--key", "h1"], 2, "write --key Name=value"),
        (["high_error_rate", "--at", "2025-12-01T00:20"], 2, "say the zone"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(replayed, arguments, code, words):
    config, out = replayed
    done = explain(config, *arguments, "--from-dir", out)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_time_at_which_something_was_said_points_to_the_window_before(replayed):
    text = said(*replayed, "high_error_rate", "00:30:00", "--key", HOST)
    assert "window 2025-12-01T00:30:00Z to 2025-12-01T00:35:00Z" in text
    assert "was said of the window before: --at 2025-12-01T00:29:59Z" in text


def test_without_records_or_a_place_for_them_it_is_bad_use(replayed, tmp_path):
    config, _ = replayed
    nowhere = explain(config, "high_error_rate", "--at", "2025-12-01T00:20:00Z")
    assert (nowhere.returncode, "give --from-dir OUT of a replay" in nowhere.stderr) == (2, True)
    empty = explain(config, "high_error_rate", "--at", "-2h", "--from-dir", tmp_path)
    assert (empty.returncode, "has no evaluations.ndjson" in empty.stderr) == (2, True)


def test_what_became_of_a_notification_is_read_from_the_spool(replayed, tmp_path):
    config, out = replayed
    row = next(row for row in rows_of(out, NOTIFICATIONS) if row["at"] == "2025-12-01T00:30:00Z" and row["key"])
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool" / "spool-0.db")
    spool.put([SpoolItem(f"{row['id']}/{name}", name, "e", b"x", 0) for name in ("console", "pager")])
    spool.bury([f"{row['id']}/pager"], error="HTTP 404: gone")
    spool.close()
    key = f"ClientRequestHost={row['key']['ClientRequestHost']}"
    text = said(config, out, row["rule"], "00:29:00", "--key", key, "--state", tmp_path)
    assert re.search(r"^sent +console waits$", text, flags=re.MULTILINE)
    assert re.search(r"^sent +pager was given up.*: HTTP 404: gone$", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    with Embedded(tmp_path_factory.mktemp("chdb")) as server:
        yield server


@pytest.fixture(scope="module")
def stored(replayed, embedded, tmp_path_factory):
    """Give a configuration whose records are in ClickHouse, of the replay, and of a backtest that must not show."""
    config, out = replayed
    path = tmp_path_factory.mktemp("stored") / "monitor.toml"
    path.write_text(config.read_text() + f'\n[clickhouse]\nurl = "{embedded.url}"\npassword = "env:EXPLAIN_PASSWORD"\n')
    client = ClickHouse(ClickHouseOptions(url=embedded.url))
    client.migrate()
    for name in FILES:
        for run, version in (("", "abc"), ("backtest", "def")):
            stamp = canonical({"config_version": version, "run": run})[:-1] + b","
            lines = (out / f"{name}.ndjson").read_bytes().splitlines(keepends=True)
            client.insert(TABLES[name], b"".join(stamp + line[1:] for line in lines))
    yield path, client
    client.close()


def test_clickhouse_gives_what_the_files_of_a_replay_give(replayed, stored):
    files, tables = FolderLog(replayed[1]), ClickHouseLog(stored[1])
    end = moment("2025-12-01T00:30:00Z", 0)
    key = canonical({"ClientRequestHost": "h1.example.com"}).decode()
    for table in FILES:
        for wanted in (
            Wanted(),
            Wanted(rule="high_error_rate", key=key),
            Wanted(rule="low_cache_hit_rate", key="{}", after=end - LENGTH, until=end),
            Wanted(after=end - 1, until=end),
            Wanted(rule="it's \\ not there"),
        ):
            want = files.rows(table, wanted)
            names = set(want[0]) - {"window_end", "evidence"} if want else set()
            assert [{name: row[name] for name in names} for row in tables.rows(table, wanted)] == [
                {name: row[name] for name in names} for row in want
            ]
    assert (tables.span("slow_responses"), tables.span("x")) == (files.span("slow_responses"), None)
    assert tables.rules() == files.rules()


def test_a_live_record_is_explained_from_clickhouse_and_another_version_of_the_configuration_is_said(replayed, stored):
    config, out = replayed
    place = ("high_error_rate", "--at", "2025-12-01T00:26:00Z", "--key", HOST)
    live = edgewatch("explain", "-c", stored[0], *place, "--state", out / ".state", EXPLAIN_PASSWORD="")
    assert live.returncode == 0, live.stderr
    version = load(stored[0], secrets=False).version
    note = f" The record was made with configuration version abc; limits are shown as of the one loaded, {version}."
    assert note in live.stdout
    assert live.stdout.replace(note, "") == explain(config, *place, "--from-dir", out).stdout
    unset = edgewatch("explain", "-c", stored[0], *place)
    assert (unset.returncode, "EXPLAIN_PASSWORD is not set" in unset.stderr) == (2, True)


def test_a_server_that_is_away_is_one_line(stored, tmp_path):
    path = tmp_path / "monitor.toml"
    path.write_text(re.sub(r'url = "http.*"', 'url = "http://127.0.0.1:1"', stored[0].read_text()))
    done = edgewatch("explain", "-c", path, "high_error_rate", "--at", "-1h", EXPLAIN_PASSWORD="x")
    assert (done.returncode, "Traceback" in done.stderr, done.stderr.count("\n")) == (1, False, 1)


def test_no_window_is_stamped_by_asking(replayed):
    config, out = replayed
    before = (out / ".state" / "controls.ndjson").read_bytes()
    said(config, out, "slow_database", "00:26:00")
    assert (out / ".state" / "controls.ndjson").read_bytes() == before
