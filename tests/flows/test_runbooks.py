"""The runbooks: one a built-in rule, each with first steps that an alert can quote and SQL that runs."""

import re
import tomllib
from pathlib import Path

import pytest

from flows.checks import describe
from flows.config import Config, ConfigErrors, built_in_text, loads
from flows.drill import notifications
from flows.runbook import first_steps, link_of

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
RULES = [rule["name"] for rule in tomllib.loads(built_in_text())["rule"]]


OWN = """
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"

[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { critical = 0.1 }
runbook = "%s"
"""


def configured(folder: Path, text: str = "") -> Config:
    return loads(text, folder / "monitor.toml", secrets=False)


def evidence(config: Config, rule: str) -> dict[str, object]:
    found: dict[str, object] = notifications(config, rule, severity="critical", at=1_764_547_200_000)[0].evidence["runbook"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_an_alert_of_a_built_in_rule_names_its_runbook_and_quotes_it_wherever_the_configuration_is(
    rule: str, tmp_path: Path
) -> None:
    name = f"{rule.replace('_', '-')}.md"
    told = evidence(configured(tmp_path), rule)
    assert told == {"link": f"docs/runbooks/{name}", "steps": list(first_steps(RUNBOOKS, name))}
    linked = evidence(configured(tmp_path, 'runbooks = "https://wiki.example.com/edge/"'), rule)
    assert linked == {**told, "link": f"https://wiki.example.com/edge/{name}"}


def test_a_runbook_beside_the_configuration_takes_the_place_of_edgewatchs_own(tmp_path: Path) -> None:
    (tmp_path / "docs" / "runbooks").mkdir(parents=True)
    (tmp_path / "docs" / "runbooks" / "slow-database.md").write_text("- Ask Ann.\n", encoding="utf-8")
    assert evidence(configured(tmp_path), "slow_database")["steps"] == ["Ask Ann."]


@pytest.mark.parametrize(
    ("runbook", "prefix", "link"),
    [
        ("runbooks/fail.md", "", "runbooks/fail.md"),
        ("runbooks/fail.md#then", "https://wiki.example.com/", "https://wiki.example.com/fail.md#then"),
        ("run books/f ä.md", "https://wiki.example.com/?page=", "https://wiki.example.com/?page=f%20%C3%A4.md"),
        ("https://elsewhere.example.com/x", "https://wiki.example.com/", "https://elsewhere.example.com/x"),
        ("", "https://wiki.example.com/", ""),
    ],
)
def test_the_link_of_a_runbook_is_its_name_behind_the_prefix(runbook: str, prefix: str, link: str) -> None:
    assert link_of(runbook, prefix) == link


@pytest.mark.parametrize("prefix", ["wiki.example.com/", "https://wiki.example.com/edge", "https://a b/", "javascript:x/"])
def test_a_prefix_that_no_file_name_fits_behind_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"runbooks: '.*' is not an address that a file name fits behind"):
        configured(tmp_path, f'runbooks = "{prefix}"')


@pytest.mark.parametrize(
    ("runbook", "words"),
    [
        ("fail.md", "1 of 1 rules have one"),
        ("https://wiki.example.com/fail", "1 of 1 rules have one"),
        ("", "0 of 1 rules have one"),
        ("none.md", "1 of 1 rules have one; failing: no file none.md beside the configuration, so its alerts carry no steps"),
        ("docs/runbooks/none.md", "failing: no file docs/runbooks/none.md beside"),
        ("fail.md#then", "failing: no list under a heading #then in fail.md"),
        ("empty.md", "failing: no list in empty.md"),
    ],
)
def test_a_check_says_which_runbooks_cannot_be_quoted(runbook: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "fail.md").write_text("# Fail\n\n1. Look.\n", encoding="utf-8")
    (tmp_path / "empty.md").write_text("# Fail\n", encoding="utf-8")
    said = describe(configured(tmp_path, OWN % runbook))["runbooks"]
    assert (words in said, said.count("so its alerts")) == (True, "failing" in words)


@pytest.mark.parametrize("rule", RULES)
def test_every_built_in_rule_has_a_runbook_with_first_steps_that_an_alert_quotes(rule):
    steps = first_steps(RUNBOOKS, f"{rule.replace('_', '-')}.md")
    assert len(steps) == 3
    assert f"]({rule.replace('_', '-')}.md)" in (RUNBOOKS / "README.md").read_text()


def test_there_is_no_runbook_without_a_rule():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {"README", *(rule.replace("_", "-") for rule in RULES)}


def test_every_runbook_has_one_query():
    texts = {rule: (RUNBOOKS / f"{rule.replace('_', '-')}.md").read_text() for rule in RULES}
    assert [rule for rule, text in texts.items() if len(re.findall(r"^```sql$", text, re.MULTILINE)) != 1] == []
