"""A live run and its pager: a silence acknowledges, another configuration is a change event, and kills repeat neither."""

import os
import signal
import time

import pytest

from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.runs import checked, start, wait_until
from tests.test_live import KEY, Feed, stopped, write_config

pytestmark = pytest.mark.slow


def killed(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_silence_acknowledges_and_a_new_configuration_is_told_once_through_kills(brokers, topic, tmp_path):
    names = (topic(2), topic(1))
    log = tmp_path / "log"
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, *names) as feed:
        pagerduty.routing_keys = {KEY}
        config = write_config(tmp_path, brokers, names, slack, pagerduty, "http://127.0.0.1:9")
        text = config.read_text().partition("[clickhouse]")[0] + "changes = true\n"
        text = text.replace("[channel.console]\n\n", "").replace(
            f'[channel.slack]\nwebhook_url = "{slack.webhook_url}"\n\n', ""
        )
        config.write_text(text)
        process = start("run", "-c", config, log=log)
        feed.status = 503
        wait_until(lambda: pagerduty.pages, what="the page")
        silence = ("silence", "add", "-c", config, "rule=high_error_rate", "--for", "1h", "--reason", "x", "--author", "ann")
        assert "matches 1 of 1" in checked(*silence).stdout
        wait_until(lambda: pagerduty.acknowledged == set(pagerduty.pages), what="the acknowledgement")
        killed(process)
        for limit in ("0.4", "0.4"):
            config.write_text(text.replace("critical = 0.5", f"critical = {limit}"))
            process = start("run", "-c", config, log=log)
            wait_until(lambda: pagerduty.changes, what="the change event")
            time.sleep(1)
            killed(process)
        process = start("run", "-c", config, log=log)
        feed.status = 200
        wait_until(lambda: not pagerduty.open, what="the resolve")
        assert stopped(process) == 0, log.read_text()
        (change,) = pagerduty.changes
        assert change["payload"]["summary"].endswith(": 1 rule (high_error_rate) changed")
        actions = [seen.json["event_action"] for seen in pagerduty.seen if seen.path == "/v2/enqueue"]
        assert list(dict.fromkeys(actions)) == ["trigger", "acknowledge", "resolve"]  # a kill may repeat the one under way
        assert (len(pagerduty.pages), pagerduty.dropped) == (1, [])
    assert "Traceback" not in log.read_text()
    assert KEY not in log.read_text()
