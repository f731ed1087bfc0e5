"""The live flow under Bytewax's own runner: the same line, the same state folder, and a resume after a kill."""

import signal
import subprocess
import sys

import pytest

from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.runs import ROOT, STARTED, edgewatch, wait_until
from tests.test_blind import Feed, Watched

pytestmark = pytest.mark.slow


def under_bytewax(run):
    command = [sys.executable, "-m", "bytewax.run", f"flows.under_bytewax:flow('{run.config}')"]
    command += ["-r", str(run.folder / "state" / "recovery"), "-s", "1", "-b", "0"]
    with run.log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    STARTED.append(process)
    return process


def test_the_flow_runs_under_bytewaxs_own_runner_and_goes_on_after_a_kill_where_it_was(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        run = Watched(tmp_path, brokers, name, slack, pagerduty)
        run.process.kill()
        run.process.wait()
        run.process = under_bytewax(run)
        feed.status = 503
        wait_until(lambda: run.pages("failing"), what="a page")
        refused = edgewatch("run", "-c", run.config)
        assert (refused.returncode, "is in use by another run" in refused.stderr) == (1, True)
        run.process.kill()
        run.process.wait()
        run.process = under_bytewax(run)
        feed.status = 200
        wait_until(lambda: len(run.pages("failing")) > 1, what="the end of the page")
        assert [action for action, *_ in run.pages("failing")] == ["trigger", "resolve"]
        assert len({key for *_, key in run.pages("failing")}) == 1
        run.process.send_signal(signal.SIGTERM)
        run.process.wait(240)
    assert "Traceback" not in run.log.read_text()
