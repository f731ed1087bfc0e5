"""The query of every kind of rule, run on ClickHouse over the rows of its windows."""

import json

import numpy as np
import pytest

from flows.alert import Alerting
from flows.kind_options import Baseline
from flows.kinds import expanded
from flows.rows import window_lines
from flows.rule import Thresholds
from flows.slo import SloOptions
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from tests.flows.history import START, Settings
from tests.flows.test_kinds import DAY, METRICS, STEP, counts, key, rule, window

embedded = pytest.importorskip("sinks.embedded", reason="missing service: chdb (pip install 'edgewatch[embedded]')")


def decided(client, options, rules, slos, results):
    """Run rules over windows, storing what a run stores; gives (notification, rows of its query) of each."""
    config = Settings(
        tuple(expanded(rules, slos, METRICS)), metrics=tuple(METRICS.values()), slos=tuple(slos), clickhouse=options
    )
    alerting = Alerting(config)
    out = []
    for result in results:
        for block in window_lines(result):
            client.insert("window_metrics", block.data)
        decisions = alerting.evaluate(result)
        for each in decisions.evaluations:
            client.insert("evaluations", each.lines())
        for line, said in zip(decisions.provenance, decisions.notifications, strict=True):
            out.append((said, client.query(json.loads(line)["sql"])))
    return out


def ratio(bad, of=1000):
    return {"ratio": bad / of, "bad": bad, "total": of, "n": of}


@pytest.mark.slow
def test_the_query_of_each_kind_finds_what_it_decided_on(tmp_path):
    rules = [
        rule(name="moved", kind="change", keys="total", baseline=Baseline(windows=2), above=Thresholds(critical=3)),
        rule(name="gone", kind="absence", statistic="", keys="groups", after=1),
        rule(name="full", kind="capacity", keys="total", capacity=50.0),
        rule(name="errs", metric="errors", statistic="ratio", above=Thresholds(critical=0.5), keys="groups"),
        rule(name="both", kind="composite", metric="", statistic="", all_=("full", "errs")),
        rule(name="boom", kind="event", statistic="", keys="groups"),
    ]
    slos = [SloOptions(name="s", metric="errors", objective=0.99)]
    a = key(host="a")
    cells = [({key(): 1.0, a: 1.0}, 0), ({key(): 2.0, a: 1.0}, 0), ({key(): 60.0}, 900)]
    results = [
        window(START + n * STEP, {"requests": counts(rates), "errors": {a: ratio(bad)}})
        for n, (rates, bad) in enumerate(cells, 1)
    ]
    with embedded.Embedded(tmp_path) as server:
        options = ClickHouseOptions(url=server.url, database="watched")
        client = ClickHouse(options)
        client.migrate()
        found = {said.rule: (said, rows) for said, rows in decided(client, options, rules, slos, results)}
        client.close()
    assert set(found) == {"moved", "gone", "full", "errs", "both", "boom", "slo:s"}
    said, rows = found["moved"]
    assert [row["value"] for row in rows] == [1.0, 2.0, 60.0]
    assert said.evidence["baseline"]["value"] == float(np.median([1.0, 2.0]))
    said, rows = found["gone"]
    assert {row["window_end"] for row in rows} == {"2025-12-01 00:05:00", "2025-12-01 00:10:00"}
    assert [(row["statistic"], row["value"]) for row in found["full"][1]] == [("rate", 60.0)]
    assert [(row["key"], row["value"]) for row in found["errs"][1]] == [({"host": "a"}, 0.9)]
    assert sorted((row["rule"], row["state_after"]) for row in found["both"][1]) == [("errs", "firing"), ("full", "firing")]
    assert [(row["statistic"], row["value"]) for row in found["boom"][1]] == [("count", 300.0)]
    said, rows = found["slo:s"]
    sums = {row["statistic"]: (row["long"], row["short"]) for row in rows}
    assert sums["total"] == (3000, 3000)  # of the pair of 6 h and 30 min, which exceeds its limit most
    pair = next(each for each in said.evidence["slo"]["burn_rates"] if each["limit"] == said.threshold)
    assert pair["long"] == pytest.approx(sums["bad"][0] / sums["total"][0] / 0.01)
    assert pair["short"] == pytest.approx(sums["bad"][1] / sums["total"][1] / 0.01)


@pytest.mark.slow
def test_the_query_of_a_burn_over_days_counts_the_whole_hours_that_were_counted(tmp_path):
    slos = [SloOptions(name="s", metric="errors", objective=0.99, keys="total")]
    ends = {50 * 60_000: ratio(0, of=100_000), DAY + 35 * 60_000: ratio(40)}
    results = [window(START + end, {"errors": {key(): rows}}) for end, rows in ends.items()]
    with embedded.Embedded(tmp_path) as server:
        options = ClickHouseOptions(url=server.url, database="watched")
        client = ClickHouse(options)
        client.migrate()
        ((said, rows),) = decided(client, options, [], slos, results)
        client.close()
    sums = {row["statistic"]: row["long"] for row in rows}
    assert (said.value, said.threshold, sums["total"]) == (pytest.approx(4.0), 3.0, 1000)
