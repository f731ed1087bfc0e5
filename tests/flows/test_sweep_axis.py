"""What a sweep is asked for: values of fields, of rules and of keys, and what each fault is called."""

import pytest

from flows.hold import Hold
from flows.options import ConfigError
from flows.sweep_axis import parse_axes, sweepable
from tests.flows.sweeps import CONFIG, config_of

MORE = """
[[rule]]
name = "jump"
kind = "change"
metric = "latency"
statistic = "p50"
above = { warning = 2.0 }
baseline = { windows = 6 }

[[rule]]
name = "silent"
kind = "absence"
metric = "errors"
after = 3

[[rule]]
name = "both"
kind = "composite"
all = ["slow", "failing"]

[[rule]]
name = "slow.tail"
metric = "latency"
statistic = "p999"
below = { critical = 5 }

[[slo]]
name = "works"
metric = "errors"
objective = 0.99
"""
RULES = {rule.name: rule for rule in config_of(CONFIG + MORE).rules}


def axis(text):
    return parse_axes([text], RULES)[0]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("slow.above.critical=1000:3000:500", (1000.0, 1500.0, 2000.0, 2500.0, 3000.0)),
        ("failing.above.warning=0.01:0.05:0.01", (0.01, 0.02, 0.03, 0.04, 0.05)),
        ("slow.above.critical=1000:2600:500", (1000.0, 1500.0, 2000.0, 2500.0)),
        ("slow.for.critical=1:3:1", (1, 2, 3)),
        ("slow.min_count=10,100,1000", (10, 100, 1000)),
        ("slow.cooldown=0s:1h:30m", (0, 1_800_000, 3_600_000)),
        ("slow.repeat=1h,1d", (3_600_000, 86_400_000)),
        ("slow.clear=4", (4,)),
        ("slow.tail.below.critical=3,4", (3.0, 4.0)),
        ("jump.baseline.windows=6,12", (6, 12)),
        ("silent.after=2:4:1", (2, 3, 4)),
    ],
)
def test_values_are_a_range_with_both_ends_or_a_list(text, values):
    assert axis(text).values == values


def test_a_value_is_put_in_place_and_read_back():
    found = axis("slow.for.warning=3")
    changed = found.put(RULES["slow"], 3)
    assert (found.of(RULES["slow"]), found.of(changed), changed.for_) == (2, 3, Hold(warning=3, critical=1))
    found = axis("jump.baseline.windows=12")
    assert (found.of(RULES["jump"]), found.put(RULES["jump"], 12).baseline.windows) == (6, 12)


def test_keys_of_a_rule_get_an_override_ahead_of_all_others_and_one_that_is_there_is_changed():
    first, second = axis("slow{ClientRequestHost=a}.above.critical=1,2"), axis("slow{ClientRequestHost=b}.recover=9")
    changed = second.put(first.put(RULES["slow"], 2.0), 9.0)
    assert [each.match for each in changed.overrides] == [{"ClientRequestHost": "b"}, {"ClientRequestHost": "a"}]
    assert (first.of(RULES["slow"]), first.of(changed), second.of(changed)) == (None, 2.0, 9.0)
    assert [each.above.critical for each in first.put(changed, 1.0).overrides if each.above] == [1.0]


def test_values_are_shown_as_a_file_has_them():
    shown = [axis(text).shown(axis(text).values[0]) for text in ("slow.above.critical=1500", "slow.repeat=90m", "slow.clear=2")]
    assert shown == ["1500", "90m", "2"]
    assert axis("failing.above.warning=0.025").shown(0.025) == "0.025"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slo.above.critical=1:2:1", "no rule 'slo'; did you mean 'slow'? there are: slow, failing"),
        (
            "slow.above.citical=1:2:1",
            "cannot be swept by 'above.citical'; did you mean 'above.critical'? allowed: above.warning,",
        ),
        ("slow.below.critical=1", "cannot be swept by 'below.critical'"),
        ("slow.min_bad=1", "cannot be swept by 'min_bad'"),
        ("slow.baseline.windows=1", "slow, a rule of kind threshold, cannot be swept by 'baseline.windows'"),
        ("jump.min_bad=1", "jump, a rule of kind change, cannot be swept by 'min_bad'"),
        ("both.for=1", "both is made of other rules; sweep those: slow, failing"),
        ("slo:works.for=1", "follows from its objective by fixed burn rates; change the [[slo]]"),
        ("silent.above.critical=1", "allowed: cooldown, repeat"),
        ("slow{ClientRequestHost=a}.clear=1", "keys of slow cannot be swept by 'clear'; "),
        ("silent{a=b}.after=1", "a rule of kind absence has no overrides"),
        ("slow{ClientRequestHost}.recover=1", "'ClientRequestHost' does not say which keys are meant"),
        ("slow{ClientRequestHost=a.recover=1", "the brace is not closed"),
        ("slow.above.critical", "write RULE.FIELD=A:B:STEP"),
        ("slow", "names no field of slow; write RULE.FIELD=A:B:STEP; fields: above.warning,"),
        ("slow.above.critical=", "names no value"),
        ("slow.above.critical=1:2", "'1:2' is not A:B:STEP"),
        ("slow.above.critical=1:2:0", "the step must be above 0, not 0"),
        ("slow.above.critical=1:2:-1", "the step must be above 0, not -1"),
        ("slow.above.critical=3:2:1", "from 3 is beyond 2"),
        ("slow.above.critical=1:100000:1", "is 100000 values; at most 10000 are tried"),
        ("slow.above.critical=low", "'low' is not a number"),
        ("slow.above.critical=nan", "'nan' is not a number that a value can be compared with"),
        ("slow.clear=1.5", "1.5 is not a whole number"),
        ("slow.repeat=5", "'5' is not a duration"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_what_can(text, words):
    with pytest.raises(ConfigError) as caught:
        axis(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"--sweep {text}: ")


def test_a_field_is_given_once():
    for texts, words in (
        (["slow.clear=1", "slow.clear=2"], "slow.clear is given twice"),
        (["slow.for=1", "slow.for.warning=2"], "for sets both severities"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_axes(texts, RULES)


def test_every_field_that_is_allowed_can_be_swept():
    values = {"cooldown": "1h", "repeat": "1h", "forget_after": "1h"}
    for rule in RULES.values():
        for field in sweepable(rule):
            found = axis(f"{rule.name}.{field}={values.get(field, '2')}")
            assert found.of(found.put(rule, found.values[0])) == found.values[0]
