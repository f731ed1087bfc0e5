"""Notifications: who hears, the words, and where the facts can be looked up."""

import json
from dataclasses import replace

import orjson
import pytest

from flows.alert import Alerting
from flows.amount import amount
from flows.exemplar import Exemplar
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rows import exemplar_lines, window_lines
from flows.rule import Override, Thresholds
from flows.runbook import first_steps
from flows.shown import rule_version
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.notification import duration, evidence_lines
from tests.flows.history import METRICS, Settings, rates, result_of, rule

CRITICAL = RouteOptions(severity=("critical",), channels=("pager", "chat"))
REST = RouteOptions(channels=("chat", "mail"))


def said(results, *, routes=(CRITICAL, REST), metrics=METRICS, **changes):
    alerting = Alerting(Settings((rule(**changes),), routes=routes, metrics=metrics))
    return [notification for result in results for notification in alerting.evaluate(result).notifications]


def channels(results, **changes):
    return [(each.reason, *each.channels) for each in said(results, **changes)]


def test_the_first_route_that_takes_the_severity_has_it():
    assert channels(rates(0.4)) == [("first", "chat", "pager")]
    assert channels(rates(0.02, 0.02)) == [("first", "chat", "mail")]
    assert channels(rates(0.4), routes=(REST, CRITICAL)) == [("first", "chat", "mail")]


def test_a_resolve_and_a_de_escalation_go_to_all_that_heard_of_the_episode():
    assert channels(rates(0.02, 0.02, 0.4, 0.02, 0.02, 0.0, 0.0)) == [
        ("first", "chat", "mail"),
        ("escalated", "chat", "pager"),
        ("de-escalated", "chat", "mail", "pager"),
        ("resolved", "chat", "mail", "pager"),
    ]


def test_after_a_reopening_only_those_that_heard_of_it_hear_the_resolve():
    results = rates(0.4, 0.0, 0.0, 0.02, 0.02, 0.02, 0.0, 0.0)
    assert channels(results) == [
        ("first", "chat", "pager"),
        ("resolved", "chat", "pager"),
        ("reopened", "chat", "mail"),
        ("resolved", "chat", "mail"),
    ]


def test_a_severity_that_no_route_takes_is_written_down_without_channels():
    assert channels(rates(0.02, 0.02), routes=(CRITICAL,)) == [("first",)]
    assert channels(rates(0.4), routes=()) == [("first",)]


@pytest.mark.parametrize(("severity", "words"), [(("critcal",), "allowed: warning, critical"), ((), "takes nothing")])
def test_a_route_that_cannot_be_meant_is_refused(severity, words):
    problems = list(RouteOptions(severity=severity, channels=("chat",)).problems())
    assert [key for key, _ in problems] == ["severity"]
    assert words in problems[0][1]


def hosts(**rates):
    return result_of(0, {("error_rate", f'{{"host":"{host}"}}'): (rate, 1000) for host, rate in rates.items()})


def test_a_route_takes_the_alerts_whose_labels_it_matches_and_the_rest_goes_on():
    web = RouteOptions(match={"host": "=~w.*"}, channels=("web",))
    loud = RouteOptions(match=("severity=critical", "environment=test", "rule=high_error_rate"), channels=("pager",))
    results = [hosts(w1=0.4, a=0.4), hosts(w1=0.4, a=0.4)]
    told = said(results, routes=(web, loud, REST))
    assert [(each.key["host"], *each.channels) for each in told] == [("a", "pager"), ("w1", "web")]
    assert channels(rates(0.02, 0.02), routes=(web, loud, REST)) == [("first", "chat", "mail")]


def test_a_route_with_continue_lets_the_routes_behind_it_have_the_alert_too():
    team = RouteOptions(match={"team": "edge"}, channels=("team",), continue_=True)
    other = RouteOptions(match={"team": "other"}, channels=("other",), continue_=True)
    assert channels(rates(0.4), routes=(other, team, CRITICAL, REST)) == [("first", "chat", "pager", "team")]
    assert channels(rates(0.4), routes=(other, team)) == [("first", "team")]


def test_an_escalation_is_routed_anew_by_its_severity_label():
    loud = RouteOptions(match={"severity": "critical"}, channels=("pager",))
    told = channels(rates(0.02, 0.02, 0.4, 0.0, 0.0), routes=(loud, REST))
    assert told == [("first", "chat", "mail"), ("escalated", "pager"), ("resolved", "chat", "mail", "pager")]


def test_the_life_of_an_alert_in_the_words_that_people_read():
    told = said(rates(0.0, 0.02, 0.02, 0.1234, 0.02, 0.02, 0.0, 0.004))
    assert [(each.title, each.text) for each in told] == [
        (
            "High error rate on a: 2 % (warning above 1 %)",
            (
                "error_rate was 2 % (1 000 records), 2025-12-01 00:10 to 00:15 UTC."
                " Limits: critical above 5 %, warning above 1 %; clear at 0.8 %."
            ),
        ),
        (
            "High error rate on a: 12.3 % (critical above 5 %)",
            (
                "Up from warning to critical, 10 min after it began."
                " error_rate was 12.3 % (1 000 records), 2025-12-01 00:15 to 00:20 UTC."
                " Limits: critical above 5 %, warning above 1 %; clear at 0.8 %."
            ),
        ),
        (
            "High error rate on a: 2 % (warning above 1 %)",
            (
                "Down from critical to warning, 20 min after it began."
                " error_rate was 2 % (1 000 records), 2025-12-01 00:25 to 00:30 UTC."
                " Limits: critical above 5 %, warning above 1 %; clear at 0.8 %. Worst 12.3 %, 5 windows beyond a limit."
            ),
        ),
        (
            "High error rate on a: back to 0.4 %",
            (
                "Over after 30 min. error_rate was 0.4 % (1 000 records), 2025-12-01 00:35 to 00:40 UTC."
                " Limits: critical above 5 %, warning above 1 %; clear at 0.8 %. Worst 12.3 %, 5 windows beyond a limit."
            ),
        ),
    ]


def test_the_words_of_what_goes_on_and_ends_without_data():
    told = said(rates(0.4, None, None, None), repeat_ms=600_000, forget_after_ms=600_000)
    limits = "Limits: critical above 5 %, warning above 1 %; clear at 0.8 %. Worst 40 %, 1 window beyond a limit."
    assert [(each.reason, each.title, each.text) for each in told[1:]] == [
        (
            "repeat",
            "High error rate on a: no data (critical above 5 %)",
            f"Not over after 10 min. error_rate: no data, 2025-12-01 00:10 to 00:15 UTC. {limits}",
        ),
        (
            "forgotten",
            "High error rate on a: no data any more",
            f"Closed after 15 min: no data for more than 10 min. {limits}",
        ),
    ]


def test_the_words_of_a_reopening_name_the_episode():
    again = said(rates(0.4, 0.0, 0.0, 0.06, 0.06))[2]
    assert again.text.startswith("Back within the cooldown: the episode of 2025-12-01 00:05 UTC goes on. error_rate was 6 %")


def test_the_words_of_a_window_with_too_few_records_say_so():
    few = result_of(1, {("error_rate", '{"host":"a"}'): (0.0, 1)})
    told = said([rates(0.4)[0], few], repeat_ms=300_000, min_count=100)
    assert "error_rate was 0 % (1 record, too few to judge)" in told[1].text


def test_a_value_is_written_so_that_it_differs_from_its_limit():
    assert said(rates(0.0500001))[0].title == "High error rate on a: 5.00001 % (critical above 5 %)"


def test_values_have_the_unit_of_their_metric_and_counts_are_whole():
    slow = result_of(0, {("latency", "{}"): (3240.56, 12345)})
    limits = Thresholds(warning=1000.0, critical=3000.0)
    told = said([slow], name="slow_responses", metric="latency", statistic="p99", above=limits)[0]
    assert told.title == "Slow responses: 3 241 ms (critical above 3 000 ms)"
    assert "latency p99 was 3 241 ms (12 345 records)" in told.text
    quiet = result_of(0, {("requests", "{}"): (3.0, 3)})
    rest = {"keys": "total", "above": None, "below": Thresholds(critical=1000.0)}
    told = said([quiet], name="low-traffic", metric="requests", statistic="count", **rest)[0]
    assert told.title == "Low-traffic: 3 (critical below 1 000)"


@pytest.mark.parametrize(
    ("value", "statistic", "unit", "digits", "want"),
    [
        (0.99954, "ratio", "", None, "99.954 %"),
        (0.07 * 0.8, "ratio", "", None, "5.6 %"),
        (0.0, "ratio", "", 3, "0 %"),
        (12345.678, "p99", "ms", 3, "12 346 ms"),
        (999.96, "p99", "ms", 3, "1 000 ms"),
        (-12345.0, "mean", "", 3, "-12 345"),
        (-0.25, "mean", "ms", 3, "-0.25 ms"),
        (123456789, "count", "ms", 3, "123 456 789"),
        (0.5, "rate", "", 3, "0.5 a second"),
        (1e20, "sum", "", 3, "1e+20"),
        (1e-7, "mean", "", 3, "1e-07"),
    ],
)
def test_an_amount_is_written_for_people(value, statistic, unit, digits, want):
    assert amount(value, statistic, unit, digits) == want


@pytest.mark.parametrize(
    ("ms", "want"), [(0, "0 s"), (90_000, "1 min 30 s"), (3_900_000, "1 h 5 min"), (90_061_000, "1 d 1 h")]
)
def test_a_length_of_time_is_written_by_its_two_largest_units(ms, want):
    assert duration(ms) == want


def with_exemplars():
    shown = Exemplar("error", 120.0, 1_764_547_201_250, "8f1a", "logpush-0", 17, 3)
    row = ("error_rate", '{"host":"a"}')
    return result_of(0, {row: (0.4, 1000)}, exemplars={row: (shown,)})


def test_evidence_names_the_records_but_not_where_they_stand():
    told = said([with_exemplars()])[0]
    assert told.evidence == {
        "exemplars": [{"reason": "error", "value": 120.0, "event_time": "2025-12-01T00:00:01.250Z", "ray_id": "8f1a"}],
        "contribution": None,
        "window": {"start": "2025-12-01T00:00:00Z", "end": "2025-12-01T00:05:00Z"},
        "n": 1000,
        "keys_heard": 1,
        "rule_version": rule_version(rule(), METRICS[0]),
    }
    assert told.labels == {"team": "edge", "host": "a"}
    assert (told.value, told.threshold, told.group, told.environment) == (0.4, 0.05, None, "test")


def test_a_row_of_an_exemplar_has_its_trace_where_it_is_part_of_one():
    place, (plain,) = next(iter(with_exemplars().exemplars.items()))
    (block,) = exemplar_lines(result_of(0, {place: (0.4, 1000)}, {place: (plain, replace(plain, trace_id="4bf9"))}))
    assert [json.loads(line).get("trace_id") for line in block.data.splitlines()] == [None, "4bf9"]


def test_provenance_names_where_the_records_stand_and_what_the_window_was_read_from():
    read = [{"partition": "logpush-0", "from": 0, "to": 99}]
    decisions = Alerting(Settings((rule(),))).evaluate(with_exemplars(), read)
    line = json.loads(decisions.provenance[0])
    assert line["id"] == decisions.notifications[0].id
    assert line["exemplars"] == [{"partition": "logpush-0", "offset": 17, "index": 3, "ray_id": "8f1a"}]
    assert line["partitions"] == read
    assert decisions.provenance[0] == orjson.dumps(line, option=orjson.OPT_SORT_KEYS) + b"\n"


def test_how_many_keys_the_rule_heard_counts_those_with_a_row_and_those_that_fire_without_one():
    rows = {("error_rate", f'{{"host":"{host}"}}'): (0.4 if host == "a" else 0.0, 1000) for host in "abc"}
    rows |= {("error_rate", "{}"): (0.4, 3000)}
    first = said([result_of(0, rows)], keys="all")
    assert {each.key.get("host"): each.evidence.get("keys_heard") for each in first} == {"a": 3, None: None}
    del rows["error_rate", '{"host":"a"}'], rows["error_rate", '{"host":"c"}']
    rows["error_rate", '{"host":"b"}'] = 0.4, 1000
    later = said([result_of(0, {**rows, ("error_rate", '{"host":"a"}'): (0.4, 1000)}), result_of(1, rows)])
    assert [each.evidence["keys_heard"] for each in later] == [2, 2]


def test_what_goes_out_says_where_it_was_read_from_and_shares_it_between_alerts():
    read = [{"partition": "logpush-0", "from": 0, "to": 99}]
    window = result_of(0, {("error_rate", f'{{"host":"{host}"}}'): (0.4, 1000) for host in "ab"})
    decisions = Alerting(Settings((rule(),))).evaluate(window, read)
    found = [each.provenance for each in decisions.messages]
    assert [list(each["partitions"]) for each in found] == [read, read]
    assert found[0]["partitions"] is found[1]["partitions"]
    assert [each["sql"] for each in found] == [json.loads(line)["sql"] for line in decisions.provenance]


def test_a_rules_version_changes_with_the_rule_and_its_metric_alone():
    first = rule_version(rule(), METRICS[0])
    assert rule_version(rule(min_count=0), METRICS[0]) == first
    assert len({first, rule_version(rule(min_count=1), METRICS[0]), rule_version(rule(), METRICS[1])}) == 3
    changed = rule(overrides=(Override(match={"host": "a"}, above=Thresholds(warning=0.2)),))
    told = said([hosts(a=0.4, b=0.4)], overrides=changed.overrides)
    assert {each.evidence["rule_version"] for each in told} == {rule_version(changed, METRICS[0])}


def test_the_link_to_the_dashboard_names_rule_key_and_time():
    policy = PolicyOptions(dashboard="https://e.example.com/watch/")
    odd = result_of(0, {("error_rate", '{"host":"\u00e9 &?#"}'): (0.4, 1000)})
    (told,) = Alerting(Settings((rule(),)), policy).evaluate(odd).notifications
    key = "%7B%22host%22%3A%22%C3%A9%20%26%3F%23%22%7D"
    link = f"https://e.example.com/watch/alerts?rule=high_error_rate&key={key}&at=2025-12-01T00%3A05%3A00Z"
    assert told.evidence["dashboard"] == link


def test_the_query_of_the_provenance_finds_the_row(tmp_path):
    hosts = ["{}", '{"host":"a"}', json.dumps({"host": "it's \\ \u00e9 \n"}, ensure_ascii=False, separators=(",", ":"))]
    window = result_of(0, {("error_rate", host): (0.1 * (n + 1), 1000) for n, host in enumerate(hosts)})
    with Embedded(tmp_path) as server:
        options = ClickHouseOptions(url=server.url, database="watched")
        client = ClickHouse(options)
        client.migrate()
        for block in window_lines(window):
            client.insert("window_metrics", block.data)
        decisions = Alerting(Settings((rule(keys="all"),), clickhouse=options)).evaluate(window)
        found = [client.query(json.loads(line)["sql"]) for line in decisions.provenance]
        client.close()
    got = [[(row["key"], row["value"], int(row["count"])) for row in rows] for rows in found]
    assert got == [[(each.key, each.value, 1000)] for each in decisions.notifications]


def test_a_runbook_is_evidence_with_its_link_and_first_steps():
    policy = PolicyOptions(runbooks={"high_error_rate": ("Look at the dashboard.", "Roll back.")})
    config = Settings((rule(runbook="docs/errors.md", labels={"tier": "1"}),))
    told = Alerting(config, policy).evaluate(rates(0.4)[0]).notifications[0]
    assert told.evidence["runbook"] == {"link": "docs/errors.md", "steps": ["Look at the dashboard.", "Roll back."]}
    assert list(evidence_lines(told.evidence)) == ["runbook: docs/errors.md", "1. Look at the dashboard.", "2. Roll back."]
    assert told.labels == {"team": "edge", "tier": "1", "host": "a"}


def test_the_first_steps_are_those_of_the_files_first_list(tmp_path):
    lists = "## First\n\n1. Look.\n2) Roll back.\n- Tell people.\n- Sleep.\n\n## After that\n* Write it down.\n"
    (tmp_path / "errors.md").write_text("# Errors\n\nText.\n\n" + lists)
    assert first_steps(tmp_path, "errors.md") == ("Look.", "Roll back.", "Tell people.")
    assert first_steps(tmp_path, "errors.md#after-that") == ("Write it down.",)
    assert [first_steps(tmp_path, link) for link in ("", "none.md", "https://example.com/errors.md")] == [()] * 3


def test_the_limits_of_an_override_show_in_the_words():
    override = Override(match={"host": "a"}, above=Thresholds(critical=0.2))
    told = said(rates(0.4), overrides=(override,))[0]
    assert (told.title, told.threshold) == ("High error rate on a: 40 % (critical above 20 %)", 0.2)
    assert said(rates(0.1), overrides=(override,)) == []


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"repeat_backoff": 2.0}, [1, 3, 7, 15, 31]),
        ({"repeat_backoff": 2.0, "max_repeats": 2}, [1, 3]),
        ({"max_repeats": 3}, [1, 2, 3]),
        ({"repeat_backoff": 1.5}, [1, 3, 6, 10, 16, 24, 36]),
    ],
)
def test_repeats_come_later_and_later_and_end(changes, ends):
    told = said(rates(*[0.4] * 40), repeat_ms=300_000, **changes)
    assert [each.reason for each in told] == ["first"] + ["repeat"] * len(ends)
    assert [(each.at - told[0].at) // 300_000 for each in told[1:]] == ends


@pytest.mark.slow
def test_a_repeat_comes_once_a_day_at_least_and_an_escalation_starts_anew():
    day = 288
    told = said(rates(*[0.4] * (4 * day)), repeat_ms=8 * 3_600_000, repeat_backoff=10.0)
    assert [(each.at - told[0].at) / 300_000 / day for each in told] == [0, 1 / 3, 4 / 3, 7 / 3, 10 / 3]
    told = said(rates(*[0.02] * 8, *[0.4] * 4), repeat_ms=300_000, repeat_backoff=2.0)
    assert [each.reason for each in told] == ["first", "repeat", "repeat", "escalated", "repeat", "repeat"]
