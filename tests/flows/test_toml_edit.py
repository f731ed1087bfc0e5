"""Changed fields in the text of a configuration: each form that people write them in, read back by the configuration itself."""

import tomllib
from pathlib import Path

import pytest

from flows.config import built_in_text, loads
from flows.sweep_axis import parse_axes
from flows.toml_edit import edited, snippet
from tests.flows.sweeps import CONFIG, config_of

PACK = """
# Nothing but where it goes: the built-in pack applies.
[channel.slack]
webhook_url = "https://hooks.slack.test/services/a/b/c"
"""
RULE = 'name = "slow"                                # the 99th percentile\n'
FORMS = {
    "inline": CONFIG,
    "a number for both": CONFIG.replace("min_count = 10", "min_count = 10\nfor = 3"),
    "a table": CONFIG.replace("min_count = 10", "min_count = 10\n[rule.for]\nwarning = 4 # windows"),
    "overrides": CONFIG.replace(
        "min_count = 10", 'min_count = 10\noverrides = [{ match = { ClientRequestHost = "z" }, above = { critical = 9000 } }]'
    ),
    "tables of overrides": CONFIG.replace(
        "min_count = 10",
        'min_count = 10\n[[rule.overrides]]\nmatch = { ClientRequestHost = "z" } # slow by nature\nabove = { critical = 9000 }',
    ),
}
AXES = [
    "slow.above.critical=2500",
    "slow.for.critical=2",
    "slow.cooldown=30m",
    "slow{ClientRequestHost=z}.above.critical=7000",
    "slow{ClientRequestHost=new}.recover=500",
    "failing.above.warning=0.025",
]


def changes(config, texts):
    axes = parse_axes(texts, {rule.name: rule for rule in config.rules})
    return [(axis, axis.values[0]) for axis in axes]


def expected(config, made):
    rules = {rule.name: rule for rule in config.rules}
    for axis, value in made:
        rules[axis.rule] = axis.put(rules[axis.rule], value)
    return tuple(rules.values())


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_the_changed_text_says_what_was_changed_and_keeps_the_rest(text):
    config = config_of(text)
    made = changes(config, AXES)
    new = edited(text, made, built_in_text(), [])
    assert config_of(new).rules == expected(config, made)
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [each for each in comments if each not in new] == []


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_what_is_to_be_pasted_has_the_changed_keys_alone(text):
    made = changes(config_of(text), AXES)
    new = edited(text, made, built_in_text(), [])
    pasted = {rule["name"]: rule for rule in tomllib.loads(snippet(new, made))["rule"]}
    assert {name: sorted(rule) for name, rule in pasted.items()} == {
        "slow": ["above", "cooldown", "for", "name", "overrides"],
        "failing": ["above", "name"],
    }
    whole = {rule["name"]: rule for rule in tomllib.loads(new)["rule"]}
    assert all(whole[name][key] == value for name, rule in pasted.items() for key, value in rule.items())


def test_a_configuration_without_rules_gets_the_pack_that_applies_to_it():
    config = loads(PACK, Path("monitor.toml"), secrets=False)
    made = changes(config, ["slow_responses.above.critical=2000"])
    names = [each.name for each in config.metrics] + [each.name for each in config.rules]
    new = edited(PACK, made, built_in_text(), names)
    assert new.startswith(PACK.rstrip())
    found = loads(new, Path("monitor.toml"), secrets=False)
    assert (found.rules, found.metrics) == (expected(config, made), config.metrics)


def test_nothing_changed_is_the_same_text():
    assert edited(CONFIG, [], built_in_text(), []) == CONFIG
    assert snippet(CONFIG, []) == ""
