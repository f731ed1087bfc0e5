"""README.md: its configurations are valid, what it names is there."""

import re
from pathlib import Path

import pytest

from flows.config import load, loads
from flows.engine_options import EngineOptions
from flows.rule import KINDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_the_first_configuration_and_the_rule_of_your_own_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "http://127.0.0.1/hook")
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "0" * 32)
    first, own = blocks("toml")
    path = tmp_path / "monitor.toml"
    path.write_text(first, encoding="utf-8")
    assert {"error_rate", "response_time"} <= {metric.name for metric in load(path).metrics}
    path.write_text(first + own, encoding="utf-8")
    assert "checkout_failing" in {rule.name for rule in load(path).rules}


def test_what_the_page_on_alerting_shows_of_the_engine_are_its_defaults() -> None:
    page = (ROOT / "docs" / "alerting.md").read_text(encoding="utf-8")
    (shown,) = (
        each for each in re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL) if "[engine]" in each
    )
    assert loads(shown, Path("monitor.toml")).engine == EngineOptions()


def test_the_configuration_of_the_page_on_rules_has_every_kind(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "monitor.toml"
    path.write_text(text, encoding="utf-8")
    config = load(path)
    assert {rule.kind for rule in config.rules} == {*KINDS, "slo"}
    assert {"no_data:failing", "slo:availability", "slo:fast"} <= {rule.name for rule in config.rules}


def test_the_configuration_of_the_page_on_probes_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_PASSWORD", "planted")
    page = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    text, slo = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "monitor.toml"
    path.write_text(text + slo, encoding="utf-8")
    config = load(path)
    assert [(each.name, len(each.step)) for each in config.probes] == [("api", 0), ("create a pitch", 3)]
    names = {rule.name for rule in config.rules}
    assert "slo:login" in names
    assert {
        name for name in re.findall(r"`(\w+)`", page.split("| rule |")[1].split("An objective")[0]) if name != "probe"
    } <= names


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"`((?:connectors|flows|sinks|tests|docs)/[\w./]*)`", TEXT)
    assert [name for name in named if not (ROOT / name).exists()] == []
