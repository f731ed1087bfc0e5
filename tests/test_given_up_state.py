"""A live run whose state is given up: it goes on from its last closed window, and with its alerts where they are kept."""

import json
import time

import httpx
import pytest

from flows.output import rfc3339
from flows.restart import read_restart
from sinks.embedded import Embedded
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.runs import checked, edgewatch, start, wait_until
from tests.test_blind import Feed, Watched

pytestmark = pytest.mark.slow
STARTS = "SELECT DISTINCT toUnixTimestamp(window_start) FROM edgewatch.window_metrics WHERE statistic = 'total' FORMAT CSV"


def starts(url):
    """Give the starts (s) of the windows that are in ClickHouse."""
    return sorted(int(line) for line in httpx.post(url, content=STARTS, timeout=30).raise_for_status().text.split())


def test_alerts_that_are_kept_go_on_and_end_at_their_pager_and_no_window_is_left_out(brokers, topic, tmp_path):
    name = topic(2)
    slack, pagerduty, feed = FakeSlack(), FakePagerDuty(), Feed(brokers, name)
    with slack, pagerduty, feed, Embedded(tmp_path / "clickhouse") as server:
        run = Watched(tmp_path, brokers, name, slack, pagerduty)
        run.process.kill()
        run.process.wait()
        run.config.write_text(run.config.read_text().replace("http://127.0.0.1:9", server.url))
        run.process = start(*run.command, log=run.log)
        feed.status = 503
        wait_until(lambda: run.pages("failing"), what="a page")
        fired = int(time.time())
        refused = edgewatch("recovery", "reset", "-c", run.config, "--yes")
        assert (refused.returncode, "is in use by another run" in refused.stderr) == (1, True)
        wait_until(lambda: starts(server.url)[-1:] >= [fired], what="its window in ClickHouse")
        run.stop()
        checked("recovery", "reset", "-c", run.config, "--yes", "--keep-alerts")
        run.process = start(*run.command, log=run.log)
        before = starts(server.url)
        wait_until(lambda: starts(server.url)[-1] >= before[-1] + 4, what="windows after the reset")
        assert [action for action, *_ in run.pages("failing")] == ["trigger"]
        feed.status = 200
        wait_until(lambda: len(run.pages("failing")) > 1, what="the end of the page")
        assert [action for action, *_ in run.pages("failing")] == ["trigger", "resolve"]
        assert len({key for *_, key in run.pages("failing")}) == 1
        run.stop()
        found = starts(server.url)
        assert found == list(range(found[0], found[-1] + 1, 2))
        # The run that went on is compared from there, with the alerts that it took: one was open.
        went_on, end = read_restart(run.folder / "state" / "restart.json").start, found[-1] * 1000
        verified = checked("verify", "-c", run.config, "--from", rfc3339(found[0] * 1000), "--to", rfc3339(end))
        assert f"it went on from {rfc3339(went_on)}: what is before is not compared" in verified.stderr
        out = tmp_path / "again"
        checked("replay", "-c", run.config, "--recorded", run.folder / "state", "--out", out)
        first = json.loads((out / "transitions.ndjson").read_bytes().splitlines()[0])
        assert (first["rule"], first["from"]) == ("failing", "firing")
