"""Explanations with traces: which of the records that were kept of a window were part of one, and where to look at it."""

import json

import pytest

from flows.decision_log import EVALUATIONS, ClickHouseLog, FolderLog, Wanted
from flows.output import canonical
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.flows.history import LENGTH
from tests.runs import checked

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = """
[input.kafka]
brokers = ["127.0.0.1:9"]
topics = { t = "workers_trace_events" }
[observe]
trace_url = "https://traces.example.com/t/{trace_id}"
"""
AT = 1_764_547_200_000


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Give a configuration and the folder of a replay of a Worker that fails, every second time with a trace."""
    folder = tmp_path_factory.mktemp("traced")
    logs = folder / "logs" / "workers_trace_events" / "0"
    logs.mkdir(parents=True)
    headers = {"Headers": {"traceparent": f"00-{TRACE}-{SPAN}-01"}}
    records: list[dict] = [
        {
            "EventTimestampMs": AT + 100 * n,
            "ScriptName": "api",
            "Outcome": "ok" if n > 1500 else "exception",
            "Event": {"RayID": f"{n:016x}"} | ({"Request": headers} if n % 2 == 0 else {}),
        }
        for n in range(4000)
    ]
    (logs / "a.ndjson").write_bytes(b"".join(canonical(each) + b"\n" for each in records))
    config, out = folder / "monitor.toml", folder / "out"
    config.write_text(TRACED)
    checked("replay", "-c", config, "--source", f"archive:{folder / 'logs'}", "--out", out)
    return config, out


def said(config, out, at, *more):
    command = ("explain", "-c", config, "high_worker_failure_rate", "--from-dir", out, "--key", "ScriptName=api")
    return checked(*command, "--at", f"2025-12-01T{at}Z", *more).stdout


@pytest.mark.slow
def test_traces_of_the_records_that_an_alert_shows_are_named_and_linked(traced):
    config, out = traced
    link = f"https://traces.example.com/t/{TRACE}"
    lines = [line for line in said(config, out, "00:01:00").splitlines() if line.startswith("trace ")]
    assert lines == [
        f"trace    error at 2025-12-01T00:00:00Z ray {0:016x} trace {link}",
        f"trace    error at 2025-12-01T00:00:00.200Z ray {2:016x} trace {link}",
    ]
    shown = json.loads(said(config, out, "00:01:00", "--json"))["exemplars"]
    assert [(each["ray_id"], each.get("trace_id"), each.get("trace")) for each in shown] == [
        (f"{0:016x}", TRACE, link),
        (f"{1:016x}", None, None),
        (f"{2:016x}", TRACE, link),
    ]
    other = config.with_name("other.toml")
    other.write_text(TRACED.replace("traces.example.com/t", "elsewhere.example.com"))
    assert f"trace https://elsewhere.example.com/{TRACE}" in said(other, out, "00:01:00")
    assert "\ntrace " not in said(config, out, "00:06:00")


@pytest.mark.slow
def test_clickhouse_gives_the_exemplars_that_an_alert_showed_and_those_of_quiet_windows(traced, tmp_path):
    record = next(row for row in FolderLog(traced[1]).rows(EVALUATIONS, Wanted(key='{"ScriptName":"api"}')))
    shown = FolderLog(traced[1]).exemplars(record)
    assert len(shown) == 3
    line: dict = {"metric": record["metric"], "window_start": "2025-12-01T00:00:00Z", "key": {"ScriptName": "api"}, "index": 0}
    lines = []
    for run, end in (("", "2025-12-01T00:05:00Z"), ("", "2025-12-01T00:10:00Z"), ("backtest", "2025-12-01T00:15:00Z")):
        for n, each in enumerate(shown):
            at = {"run": run, "window_end": end, "partition": "t/0", "offset": n}
            lines.append(canonical(line | at | {name: value for name, value in each.items() if name != "trace"}))
    kept = [{name: value for name, value in each.items() if name != "trace"} for each in shown]
    with Embedded(tmp_path) as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        client.insert("exemplars", b"\n".join(lines))
        found = [ClickHouseLog(client).exemplars(record | {"at": AT + n * LENGTH}) for n in range(4)]
        client.close()
    assert found == [[], kept, kept, []]
