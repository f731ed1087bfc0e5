"""A live run of several processes over real faults: it goes on by itself, loses nothing, and says how it is."""

import datetime
import json
import os
import re
import signal
from pathlib import Path

import httpx
import msgspec
import pytest

from flows.config import load
from flows.last_words import last_words
from flows.run_folder import RunFolder
from flows.self_report import SelfReport
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.kafka import topics
from tests.ports import free_port
from tests.runs import edgewatch, start, wait_until
from tests.test_blind import Feed, Watched

pytestmark = pytest.mark.slow
SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([-+.0-9e]+)")


class Asked(Watched):
    """A live run that answers at an address, and is started again when it makes no progress for ten seconds."""

    def __init__(self, *arguments, idle_after="1s", **options):
        super().__init__(*arguments, **options)
        self.process.kill()
        self.process.wait()
        self.url = f"http://127.0.0.1:{free_port()}"
        text = self.config.read_text().replace('snapshot_interval = "500ms"', 'snapshot_interval = "500ms"\nhang_after = "10s"')
        text = text.replace('idle_after = "1s"', f'idle_after = "{idle_after}"')
        self.config.write_text(f'{text}\n[observe]\nlisten = "{self.url.removeprefix("http://")}"\n')
        self.process = start(*self.command, log=self.log)

    def get(self, path):
        try:
            return httpx.get(f"{self.url}/{path}", timeout=10)
        except httpx.TransportError:
            return None

    def report(self):
        answer = self.get("status")
        return msgspec.json.decode(answer.content, type=SelfReport) if answer is not None else None

    def children(self):
        return [int(each) for each in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def is_ready(self):
        answer = self.get("readyz")
        return answer is not None and answer.status_code == 200

    def totals(self):
        """Give, by window start, the records of the first row that was written of a window."""
        found: dict[str, set[int]] = {}
        for row in self.rows("window_metrics"):
            if row["statistic"] == "total":
                found.setdefault(row["window_start"], set()).add(row["value"])
        return found


def metrics(text):
    return {(found[1], found[2] or ""): float(found[3]) for line in text.splitlines() if (found := SAMPLE.fullmatch(line))}


def test_a_run_says_over_http_how_it_is(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        run = Asked(tmp_path, brokers, name, slack, pagerduty)
        feed.status = 503
        wait_until(lambda: (found := run.report()) and found.alerts, what="an alert in the report")
        partition = f'dataset="http_requests",partition="0",topic="{name}"'
        lag = "edgewatch_lag_messages", partition
        found = {}
        wait_until(lambda: found.update(metrics(run.get("metrics").text)) or lag in found, what="an answer of the broker")
        assert found["edgewatch_records_total", partition] > 0
        assert found[lag] >= 0
        assert found["edgewatch_watermark_delay_seconds", partition] > 0
        assert found["edgewatch_alerts_firing", 'dataset="http_requests",severity="critical"'] == 1
        assert found["edgewatch_barrier_age_seconds", 'dataset="http_requests"'] > 0
        assert run.get("livez").text == "ok\n"
        wait_until(lambda: metrics(run.get("metrics").text)["edgewatch_destination_down", 'destination="clickhouse"'] == 1)
        unready = run.get("readyz")
        assert unready.status_code == 503
        assert unready.text.startswith("clickhouse is down")
        shown = edgewatch("top", "-c", run.config, "--once", COLUMNS="80")
        assert shown.returncode == 0, shown.stderr
        assert "failing" in shown.stdout
        assert max(map(len, shown.stdout.splitlines())) <= 80
        run.stop()
    away = edgewatch("top", "-c", run.config, "--once")
    assert (away.returncode, "does not answer as a run does" in away.stderr) == (1, True)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_run_whose_process_dies_or_hangs_goes_on_by_itself_and_counts_every_record_once(brokers, topic, tmp_path, fault):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        # A busy machine's feed pauses for a second: what came after would be late, and in no window.
        run = Asked(tmp_path, brokers, name, slack, pagerduty, processes=2, idle_after="30s")
        wait_until(lambda: len(run.children()) == 2 and run.totals(), what="the first windows")
        before = run.children()
        os.kill(before[1], fault)
        wait_until(lambda: len(run.children()) == 2 and not {*run.children()} & {*before}, what="new processes")
        noticed = "was killed by SIGKILL" if fault == signal.SIGKILL else "made no progress for 10 s"
        assert noticed in run.log.read_text()
        assert "goes on from its last snapshot" in run.log.read_text()
        feed.status = 503
        wait_until(lambda: run.pages("failing"), what="a page after the fault")
        run.stop()
        totals = run.totals()
    records: dict[int, int] = {}
    for message in [*topics.held(brokers, name, 0), *topics.held(brokers, name, 1)]:
        start_ms = json.loads(message.value())["EdgeEndTimestamp"] // 2000 * 2000
        records[start_ms] = records.get(start_ms, 0) + 1
    starts = {int(datetime.datetime.fromisoformat(each).timestamp() * 1000): got for each, got in totals.items()}
    assert starts == {at: {records[at]} for at in starts}
    assert sorted(starts) == [at for at in sorted(records) if min(starts) <= at <= max(starts)]


def test_a_run_that_was_given_up_is_said_by_every_channel_and_ends_with_the_next_start(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name):
        run = Asked(tmp_path, brokers, name, slack, pagerduty)
        wait_until(lambda: run.report() is not None, what="a run")
        run.stop()
        last_words(load(run.config), RunFolder(tmp_path / "state"), 6)
        (page,) = run.pages("pipeline_blind")
        assert page[1].startswith("edgewatch is blind: its processes ended 6 times in a row, and it was given up")
        run.process = start(*run.command, log=run.log)
        wait_until(lambda: len(run.pages("pipeline_blind")) == 2, what="the end of the page")
        assert [action for action, *_ in run.pages("pipeline_blind")] == ["trigger", "resolve"]
        run.stop()


def test_an_address_that_is_taken_costs_a_warning_not_the_run_and_is_taken_when_it_can_be(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name):
        run = Asked(tmp_path, brokers, name, slack, pagerduty)
        wait_until(lambda: run.report() is not None, what="a run")
        folder = tmp_path / "other"
        other = tmp_path / "other.toml"
        other.write_text(run.config.read_text().replace(str(tmp_path / "state"), str(folder)))
        log = tmp_path / "other.log"
        second = start("run", "-c", other, log=log)
        wait_until((folder / "firing.json").exists, what="windows of the other run")
        assert re.search(r"observe\.listen: cannot listen on 127\.0\.0\.1:\d+: Address already in use", log.read_text())
        run.stop()
        assert run.report() is None
        wait_until(lambda: run.report() is not None, what="the other run's figures")
        assert f"observe.listen: {run.url.removeprefix('http://')} could be taken" in log.read_text()
        second.send_signal(signal.SIGTERM)
        assert second.wait(240) == 0
