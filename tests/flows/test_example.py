"""The example file: every option once, as the option classes have it, and valid."""

import dataclasses
import importlib
import pkgutil
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


def test_no_option_that_is_a_secret_shows_in_a_representation():
    rooms = [importlib.import_module(room) for room in ("connectors", "flows", "sinks")]
    modules = [f"{room.__name__}.{each.name}" for room in rooms for each in pkgutil.iter_modules(room.__path__)]
    classes = {kind for name in modules for kind in vars(importlib.import_module(name)).values() if isinstance(kind, type)}
    columns = [(kind, each) for kind in classes if dataclasses.is_dataclass(kind) for each in dataclasses.fields(kind)]
    secret = [(f"{kind.__name__}.{each.name}", each.repr) for kind, each in columns if each.metadata.get("secret")]
    assert [name for name, shown in secret if shown] == []
    assert {"SlackOptions.token", "ObserveOptions.sentry_dsn"} <= {name for name, _ in secret}
