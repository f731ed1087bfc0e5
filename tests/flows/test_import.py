"""Rules of Prometheus: what they become is valid and what was meant; what has no counterpart is named with the reason."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("promql_parser", reason="missing package: promql-parser (pip install 'edgewatch[import]')")

from flows.config import loads
from flows.prometheus_rules import Mapped, Vocabulary, read
from tests.runs import ROOT, checked

PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
TABLE = {"name": "db_latency", "kind": "distribution", "dataset": "performance", "value": "db_ms"}
WORDS = Vocabulary(
    metrics={"pg_seconds": Mapped("db_latency", "mean", 1000.0)},
    labels={"job": "", "pod": "ClientIP"},
    known={"db_latency": TABLE},
)
R = "http_requests_total"


def translated(expr, **more):
    (found,) = read(json.dumps({"groups": [{"name": "g", "rules": [{"alert": "TooMany", "expr": expr, **more}]}]}), WORDS)
    return found


@pytest.mark.slow
def test_the_page_shows_what_the_command_says_and_writes(tmp_path):
    (rules,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (console,) = re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (written,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    command, _, said = console.partition("\n")
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    how = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(["sh", "-c", command.removeprefix("$ ")], check=False, **how)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert (tmp_path / "imported.toml").read_text() == written
    assert "rules: high_error_rate" in checked("check", "-c", tmp_path / "imported.toml").stdout
    json_too = subprocess.run(
        ["sh", "-c", f"cat rules.yml | {command[2:].replace('rules.yml', '-')} --partial --json"], check=False, **how
    )
    report = json.loads(json_too.stdout)
    assert (json_too.returncode, len(report["translated"]), report["refused"][0]["alert"]) == (0, 3, "DiskWillFill")


@pytest.mark.parametrize(
    ("expr", "metric", "rule"),
    [
        (f"sum(rate({R}[5m])) > 7", {"kind": "count"}, {"statistic": "rate", "keys": "total", "above": {"warning": 7.0}}),
        (f"7 > sum(rate({R}[5m]))", {"kind": "count"}, {"statistic": "rate", "below": {"warning": 7.0}}),
        (f"sum(increase({R}[1h])) > 24", {"kind": "count"}, {"statistic": "count", "above": {"warning": 2.0}}),
        (
            f'sum by (host) (rate({R}{{code!~"2..",job="a"}}[5m])) * 100 / sum by (host) (rate({R}{{job="a"}}[5m])) > 5',
            {
                "kind": "ratio",
                "bad": "not (EdgeResponseStatus >= 200 and EdgeResponseStatus < 300)",
                "group_by": ["ClientRequestHost"],
            },
            {"statistic": "ratio", "keys": "groups", "above": {"warning": 0.05}},
        ),
        (
            f'sum(rate({R}{{code=~"[45]..",method="GET"}}[5m])) / sum(rate({R}{{method="GET"}}[5m])) > 0.1',
            {
                "where": 'is_user_request and ClientRequestMethod == "GET"',
                "bad": "(EdgeResponseStatus >= 400 and EdgeResponseStatus < 500 or EdgeResponseStatus >= 500)",
            },
            {},
        ),
        (
            "histogram_quantile(0.9, sum(rate(http_request_duration_seconds_bucket[5m])) by (le, path)) > 2",
            {"kind": "distribution", "group_by": ["ClientRequestPath"]},
            {"statistic": "p90", "above": {"warning": 2000.0}},
        ),
        (
            f'sum(rate({R}{{code=~"^5.."}}[5m])) / sum(rate({R}[5m])) * 100 > 5 and sum(rate({R}[5m])) > 0.1',
            {"kind": "ratio", "bad": "EdgeResponseStatus >= 500"},
            {"above": {"warning": 0.05}, "min_count": 30},
        ),
        (f'absent({R}{{host=~"a|b"}})', {"where": 'is_user_request and ClientRequestHost in ("a", "b")'}, {"kind": "absence"}),
        ("max(pg_seconds) > 0.25", TABLE, {"metric": "db_latency", "statistic": "mean", "above": {"warning": 250.0}}),
    ],
)
def test_a_known_shape_is_translated_to_what_it_means(expr, metric, rule):
    found = translated(expr)
    assert not found.refused
    assert found.metric | metric == found.metric
    assert found.rule | rule == found.rule


def test_times_are_windows_and_a_severity_is_one_of_two():
    found = translated(
        f"sum(rate({R}[5m])) > 7", **{"for": "11m", "keep_firing_for": "1h", "labels": {"severity": "page", "a": "{{ x }}"}}
    )
    assert (found.rule["for"], found.rule["clear"], found.rule["above"]) == (3, 12, {"critical": 7.0})
    assert "labels" not in found.rule
    assert any("the label a is a template" in note for note in found.notes)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (f"rate({R}[5m]) > 1", "each series is judged by itself"),
        (f"sum(rate({R}[5m] offset 1w)) > 1", "offset or @"),
        (f"sum without (a) (rate({R}[5m])) > 1", "without (...)"),
        (f"sum by (zone) (rate({R}[5m])) > 1", "the label zone: say which field it is"),
        (f'sum(rate({R}{{path=~"/a.*"}}[5m])) > 1', "the regular expression '/a.*'"),
        (f"sum(rate({R}[5m])) == 1", "no comparison with a number"),
        (f"sum(rate({R}[5m])) > sum(rate(b[5m]))", "compared with another series"),
        (f"sum(rate({R}[5m])) > 1 and sum(rate({R}[5m])) < 9", "and between conditions"),
        (f"sum(rate(b[5m])) / sum(rate({R}[5m])) > 1", "not a part of the lower one"),
        (f'sum(rate({R}[5m])) / sum(rate({R}{{code="200"}}[5m])) > 1', "not a part of the lower one"),
        (f"topk(3, sum(rate({R}[5m]))) > 1", "topk"),
        (f"{R} > 1", "a counter, whose value alone says nothing"),
        ("histogram_quantile(0.42, sum by (le) (rate(http_request_duration_seconds_bucket[5m]))) > 1", "the quantile 0.42"),
        ("node_load1 > 4", "node_load1 is not known"),
        ('pg_seconds{pod="a"} > 4', "selects a part of pg_seconds"),
        ("sum(rate(", "unclosed left parenthesis"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_the_part_that_stands_in_the_way(expr, why):
    assert why in translated(expr).refused


def test_two_rules_of_one_name_and_a_metric_of_a_known_name_stay_apart():
    expr = f"sum(rate({R}[5m])) > 7"
    rules = [{"alert": name, "expr": expr} for name in ("DbLatency", "DbLatency")] + [
        {"alert": "Slow", "expr": "pg_seconds > 1"}
    ]
    found = read(json.dumps({"spec": {"groups": [{"name": "g", "rules": rules}]}}), WORDS)
    assert [(each.rule["name"], each.rule["metric"]) for each in found] == [
        ("db_latency", "db_latency_imported"),
        ("db_latency_2", "db_latency_2"),
        ("slow", "db_latency"),
    ]


@pytest.mark.parametrize(
    ("text", "why"), [("a: [", "not YAML"), ("a: 1", "no `groups:`"), ("groups: [{rules: [1]}]", "no mapping")]
)
def test_another_file_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        read(text, WORDS)


def test_loads_takes_what_is_written_of_quotes():
    found = translated(f"sum(rate({R}{{path='/a\"b'}}[5m])) > 1")
    text = f'[[metric]]\nname = "m"\nkind = "count"\ndataset = "http_requests"\nwhere = {json.dumps(found.metric["where"])}\n'
    assert loads(text, Path("m.toml"), secrets=False).metrics[0].name == "m"
