"""The runbooks: one a built-in rule, each with first steps that an alert can quote and SQL that runs."""

import re
import tomllib
from pathlib import Path

import pytest

from flows.config import built_in_text
from flows.runbook import first_steps
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
RULES = [rule["name"] for rule in tomllib.loads(built_in_text())["rule"]]


@pytest.mark.parametrize("rule", RULES)
def test_every_built_in_rule_has_a_runbook_with_first_steps_that_an_alert_quotes(rule):
    steps = first_steps(RUNBOOKS, f"{rule.replace('_', '-')}.md")
    assert len(steps) == 3
    assert f"]({rule.replace('_', '-')}.md)" in (RUNBOOKS / "README.md").read_text()


def test_there_is_no_runbook_without_a_rule():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {"README", *(rule.replace("_", "-") for rule in RULES)}


def test_the_sql_of_every_runbook_runs(tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    with Embedded(tmp_path / "clickhouse") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        found = {}
        for rule in RULES:
            text = (RUNBOOKS / f"{rule.replace('_', '-')}.md").read_text()
            found[rule] = [client.query(sql) for sql in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]
        client.close()
    assert found == {rule: [[]] for rule in RULES}
