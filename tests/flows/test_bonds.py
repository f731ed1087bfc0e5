"""Which datasets are judged together."""

import pytest

from flows.bonds import bonds_of
from flows.config import BUILT_IN_DATASETS, loads
from flows.inhibit import InhibitOptions
from flows.metric import MetricOptions
from flows.rule import RuleOptions, Thresholds

METRICS = {
    name: MetricOptions(name=name, kind="count", dataset=dataset, group_by=("host",))
    for name, dataset in (("requests", "web"), ("latency", "db"), ("jobs", "queue"))
}
LABELS = {"environment": "test", "platform": "p"}


def rule(name, metric, **changes):
    limits = Thresholds(critical=1)
    return RuleOptions(**({"name": name, "metric": metric, "statistic": "count", "above": limits} | changes))


RULES = [rule("slow", "requests", labels={"team": "edge"}), rule("db_down", "latency"), rule("stuck", "jobs")]


@pytest.mark.parametrize(
    ("source", "target", "want"),
    [
        ({"rule": "db_down"}, {"rule": "slow"}, (("db", "web"),)),
        ({"rule": "db_down"}, {"team": "edge"}, (("db", "web"),)),
        ({"rule": "slow"}, {"rule": "slow", "severity": "warning"}, ()),
        ({"rule": "db_down"}, {"rule": "=~s.*"}, (("db", "queue", "web"),)),
        ({"severity": "critical"}, {"severity": "warning"}, (("db", "queue", "web"),)),
        ({"rule": "db_down", "host": "a"}, {"rule": "slow", "host": "b"}, (("db", "web"),)),
        ({"rule": "db_down"}, {"team": "nobody"}, ()),
        ({"rule": "db_down", "environment": "other"}, {"rule": "slow"}, ()),
        ({"rule": "db_down"}, {"team": "!=edge", "rule": "stuck"}, (("db", "queue"),)),
    ],
)
def test_an_inhibition_bonds_the_datasets_that_its_sides_can_be_of(source, target, want):
    assert bonds_of(RULES, METRICS, [InhibitOptions(source=source, target=target)], LABELS) == want


def test_what_decides_is_judged_before_what_it_decides_about():
    chain = [InhibitOptions(source={"rule": "slow"}, target={"rule": "stuck"})]
    assert bonds_of(RULES, METRICS, chain, LABELS) == (("web", "queue"),)
    chain += [InhibitOptions(source={"rule": "stuck"}, target={"rule": "db_down"})]
    assert bonds_of(RULES, METRICS, chain, LABELS) == (("web", "queue", "db"),)
    chain += [InhibitOptions(source={"rule": "db_down"}, target={"rule": "slow"})]
    assert bonds_of(RULES, METRICS, chain, LABELS) == (("db", "web", "queue"),)


def test_a_composite_bonds_the_datasets_of_its_rules_and_bonds_that_meet_become_one():
    both = rule("both", "requests", kind="composite", statistic="rules", all_=("slow", "db_down"))
    inhibit = InhibitOptions(source={"rule": "stuck"}, target={"rule": "db_down"})
    assert bonds_of([*RULES, both], METRICS, [], LABELS) == (("db", "web"),)
    assert bonds_of([*RULES, both], METRICS, [inhibit], LABELS) == (("queue", "db", "web"),)


def test_without_inhibitions_and_composites_every_dataset_is_judged_apart():
    assert bonds_of(RULES, METRICS, [], LABELS) == ()


def test_the_built_in_pack_judges_every_dataset_apart(tmp_path):
    topics = ", ".join(f'{name} = "{name}"' for name in BUILT_IN_DATASETS)
    config = loads(f'[input.kafka]\nbrokers = ["127.0.0.1:9"]\ntopics = {{ {topics} }}\n', tmp_path / "monitor.toml")
    metrics = {metric.name: metric for metric in config.metrics}
    assert {metrics[rule.metric].dataset for rule in config.rules} == set(BUILT_IN_DATASETS)
    assert bonds_of(config.rules, metrics, config.policy.inhibits, LABELS) == ()
