"""What was said against labels, from the evaluator's own notifications to what people and machines read of it."""

import io

from rich.console import Console

from flows.alert import Alerting
from flows.incidents import Incident
from flows.missed import explain_missed, explain_unrung
from flows.paging import Pages
from flows.scored import Heard, scores_of
from flows.sweep_table import print_labels
from tests.flows.sweeps import LENGTH, START, config_of, history_of, host

WINDOWS = 120
GRACE = 600_000


def incident(first, last, name, rule=None):
    return Incident(START + first * LENGTH, START + last * LENGTH, name, rule)


INCIDENTS = [incident(10, 16, "paged"), incident(40, 46, "told"), incident(70, 76, "missed", "slow")]


def heard():
    """Judge ten hours: a critical hour, a milder one, one under the limits, and a false alarm at the end."""
    config = config_of()
    latency = {(n, host("a")): ({"p99": 300.0}, 500) for n in range(WINDOWS)}
    for first, value in ((10, 4000.0), (40, 1500.0), (70, 940.0), (100, 5000.0)):
        latency |= {(n, host("a")): ({"p99": value}, 500) for n in range(first, first + 6)}
    history = history_of(config, {"latency": latency, "errors": {(0, "{}"): ({"ratio": 0.0}, 1)}})
    alerting, found = Alerting(config, config.policy), Heard(Pages(config.policy.pagers))
    for window in history.windows(START, START + WINDOWS * LENGTH):
        for said in alerting.evaluate(window).notifications:
            found.add(said)
    return config, history, found


def labels_report():
    config, history, found = heard()
    scores = scores_of(INCIDENTS, found, outside=[incident(-900, -890, "long ago")], grace_ms=GRACE)
    reasons = explain_missed(history, config, scores.told.missed, GRACE)
    unrung = explain_unrung(history, config, scores.told_alone(), GRACE)
    return scores.with_reasons(reasons, unrung).as_dict()


def test_who_was_told_and_who_was_paged_are_told_apart():
    got = labels_report()
    assert [(row["name"], row["told_after_ms"], row["paged_after_ms"]) for row in got["episodes"]] == [
        ("paged", LENGTH, LENGTH),
        ("told", 2 * LENGTH, None),
        ("missed", None, None),
    ]
    assert [
        (got[name]["recall"]["k"], got[name]["precision"]["k"], got[name]["precision"]["n"]) for name in ("told", "paged")
    ] == [
        (2, 2, 3),
        (1, 1, 2),
    ]
    assert (got["false_alarms"], got["outside"]) == ({"slow": 1}, ["long ago"])


def test_what_was_missed_has_its_reason():
    (row,) = [row for row in labels_report()["episodes"] if row["name"] == "missed"]
    assert row["why_not"] == [
        {
            "rule": "slow",
            "key": host("a"),
            "words": "latency p99 was 940 ms at most, threshold warning above 1 000 ms and critical above 3 000 ms",
        }
    ]


def test_what_rang_nobody_has_its_reason_too():
    (row,) = [row for row in labels_report()["episodes"] if row["name"] == "told"]
    assert [each["words"] for each in row["why_not_paged"]] == [
        "warning: latency p99 was 1 500 ms at most, critical above 3 000 ms"
    ]


def test_the_table_fits_80_columns_and_says_it_all():
    out = io.StringIO()
    print_labels(labels_report(), Console(file=out, width=80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        "told of   2 of 3 (21-94 %) incidents",
        "paged for 1 of 3 (6-79 %)",
        "about none: slow 1",
        "10 min",
        "long ago",
    ):
        assert words in text
    assert "slow: latency p99 was 940 ms at most" in " ".join(text.split())
