"""What two configurations would have said: each kind of difference made by a change of a rule, and the words for it."""

from dataclasses import replace

import pytest

from flows.alert import Alerting
from flows.config_diff import changes_between, measured_otherwise
from flows.diff import Side, Span, compare
from flows.diff_words import fails, markdown_lines, text_lines
from flows.incidents import Incident
from flows.paging import Pages
from flows.recommend import parse_budget
from tests.flows.sweeps import CONFIG, LENGTH, START, config_of, history_of, host

LIMITS = "above = { warning = 1000, critical = 3000 }"
WINDOWS = 60


def cells(spans):
    """Make five hours of host a at 300 ms, but for spans of windows (first, last, ms)."""
    latency = {(n, host("a|b")): ({"p99": 300.0}, 500) for n in range(WINDOWS)}
    for first, last, value in spans:
        for number in range(first, last):
            latency[number, host("a|b")] = ({"p99": value}, 500)
    return {"latency": latency, "errors": {(n, "{}"): ({"ratio": 0.0}, 100) for n in range(WINDOWS)}}


def side(config, history):
    alerting, found = Alerting(config, config.policy), Side(Pages(config.policy.pagers))
    for window in history_of(config, history).windows(START, START + WINDOWS * LENGTH):
        for said in alerting.evaluate(window).notifications:
            found.add(said)
    return found


def diff(new_text, spans, incidents=None):
    old, new = config_of(), config_of(new_text)
    history = cells(spans)
    span = Span(start=START, end=START + WINDOWS * LENGTH, incidents=incidents, grace_ms=600_000)
    metric_of = {rule.name: rule.metric for rule in new.rules}
    return compare(side(old, history), side(new, history), changes_between(old, new), span, metric_of)


def with_limits(text):
    return CONFIG.replace(LIMITS, text)


LOWER, HIGHER = "above = { warning = 1000, critical = 2000 }", "above = { warning = 1000, critical = 5000 }"


@pytest.mark.parametrize(
    ("text", "spans", "kinds", "why"),
    [
        (CONFIG, [(10, 20, 4000.0)], [], []),
        (CONFIG.replace("# ms", "# milliseconds"), [(10, 20, 4000.0)], [], []),
        (with_limits(HIGHER), [(10, 20, 4000.0)], ["pages no more"], ["above.critical 3000 -> 5000"]),
        (with_limits(LOWER), [(10, 20, 2500.0)], ["pages now"], ["above.critical 3000 -> 2000"]),
        (with_limits("above = { critical = 3000 }"), [(10, 20, 2500.0)], ["gone"], ["above.warning 1000 -> (none)"]),
        (with_limits("above = { warning = 200 }"), [(10, 20, 150.0)], ["new"] * 2, None),
        (CONFIG.replace("min_count = 10", "min_count = 10\nfor = 4"), [(10, 20, 4000.0)], ["later"], None),
        (CONFIG.replace("min_count = 10", "min_count = 1000"), [(10, 20, 4000.0)], ["gone"], ["min_count 10 -> 1000"]),
        (with_limits(LOWER), [(10, 14, 2500.0), (14, 20, 4000.0)], ["earlier"], ["above.critical 3000 -> 2000"]),
    ],
)
def test_each_kind_of_difference_is_told_with_the_field_that_made_it(text, spans, kinds, why):
    found = diff(text, spans)
    assert [each.kind for each in found.differences] == kinds
    if why is not None:
        assert [list(each.why) for each in found.differences] == [why] * len(kinds)


def test_severity_is_other_where_both_page_or_neither_does():
    routes = '\n[[route]]\nchannels = ["slack"]\n'
    old, new = config_of(CONFIG + routes), config_of(with_limits(LOWER) + routes)
    before, after = (side(each, cells([(10, 20, 2500.0)])) for each in (old, new))
    span = Span(start=START, end=START + WINDOWS * LENGTH, incidents=None, grace_ms=0)
    found = compare(before, after, changes_between(old, new), span, {})
    assert [(each.kind, each.old.severity, each.new.severity) for each in found.differences] == [
        ("severity", "warning", "critical")
    ]


def test_a_lost_incident_and_an_exceeded_budget_fail():
    incident = Incident(START + 10 * LENGTH, START + 20 * LENGTH, "checkout", "slow")
    found = diff(with_limits(HIGHER), [(10, 20, 4000.0)], [incident])
    assert ([(each.incident.name, each.by) for each in found.lost], found.found[0]["paged"], found.found[1]["paged"]) == (
        [("checkout", "paged")],
        1,
        0,
    )
    assert (fails(found, None), fails(diff(CONFIG, [(10, 20, 4000.0)], [incident]), None)) == (True, False)
    same = diff(CONFIG, [(10, 20, 4000.0)])
    assert [fails(same, parse_budget(text)) for text in ("1 page a week", "40 pages/week")] == [True, False]


def test_the_text_says_what_matters_in_few_lines():
    incident = Incident(START + 10 * LENGTH, START + 20 * LENGTH, "checkout", "slow")
    text = "\n".join(text_lines(diff(with_limits(HIGHER), [(10, 20, 4000.0)], [incident]), parse_budget("2 pages/week")))
    assert "pages no more: slow on ClientRequestHost=a|b" in text
    assert "  before: 2025-12-01T00:55:00Z critical, pages, for 55 min" in text
    assert "  after:  2025-12-01T01:00:00Z warning, for 50 min" in text
    assert "  because above.critical 3000 -> 5000" in text
    assert "Lost: nobody is paged for 'checkout' (2025-12-01T00:50:00Z) any more." in text
    assert "The new configuration keeps the budget of 2 pages/week: 0 (0 a week)." in text


def test_the_markdown_is_a_table_that_log_data_cannot_break():
    text = "\n".join(markdown_lines(diff(with_limits(HIGHER), [(10, 20, 4000.0)]), None))
    (row,) = [line for line in text.splitlines() if line.startswith("| pages no more")]
    assert row.replace("\\|", "").count("|") == 7
    assert "ClientRequestHost=a\\|b" in row
    assert "| pages | 1 (33.6 a week) | 0 (0 a week) |" in text


def test_changes_are_named_as_the_file_has_them():
    more = CONFIG.replace('name = "failing"', 'name = "failing"\nrepeat = "2h"\nfor = 3').replace(
        'bad = "EdgeResponseStatus >= 500"', 'bad = "EdgeResponseStatus >= 400"'
    )
    more = more.replace("min_count = 10", 'overrides = [{ match = { ClientRequestHost = "a" }, above = { critical = 9000 } }]')
    found = changes_between(config_of(), config_of(more + '\n[[mute]]\nname = "night"\ntimes = ["00:00-06:00"]\n'))
    assert found.rules["failing"] == ("for.warning 2 -> 3", "for.critical 1 -> 3", "repeat 1h -> 2h")
    assert found.rules["slow"] == (
        "min_count 10 -> 0",
        "overrides [] -> [{ match = { ClientRequestHost = 'a' }, above = { critical = 9000 } }]",
    )
    assert found.metrics == {"errors": ("bad 'EdgeResponseStatus >= 500' -> 'EdgeResponseStatus >= 400'",)}
    assert found.general == ("[[mute]] changed",)
    assert found.why("failing", "errors")[-1].startswith("metric errors: bad")
    assert found.why("other", "none") == ["[[mute]] changed"]


def test_windows_of_one_cannot_be_judged_by_another_that_measures_otherwise():
    old = config_of()
    metric = replace(old.metrics[0], where="EdgeResponseStatus < 400")
    new = replace(old, metrics=(metric, *old.metrics[1:], replace(metric, name="more")))
    assert measured_otherwise(old, old) == []
    assert measured_otherwise(old, new) == [
        "metric latency: where '' -> 'EdgeResponseStatus < 400'",
        "metric more is new",
    ]
