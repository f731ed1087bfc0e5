"""The example file: every option once, as the option classes have it, and valid."""

import tomllib
from pathlib import Path

from flows.config import load
from flows.example import example_text
from sinks.channels import CHANNELS

EXAMPLE = Path(__file__).parents[2] / "flows" / "example.toml"


def test_the_example_is_what_the_option_classes_say():
    assert EXAMPLE.read_text(encoding="utf-8") == example_text()


def test_the_example_is_a_valid_configuration():
    config = load(EXAMPLE, secrets=False)
    assert [rule.name for rule in config.rules] == ["failing", "slo:availability"]
    assert sorted(config.channels) == sorted(CHANNELS)


def test_every_written_default_is_the_one_that_applies():
    shown = tomllib.loads(example_text())
    assert shown["window"]["exact_samples"] == 20_000
    assert shown["rule"][0]["repeat"] == "1h"
