"""`edgewatch status`: a proposed incident is shown, posted by a person, and posted once."""

import json

import pytest

from sinks.notebook import SpoolNotebook
from sinks.spool import Spool
from sinks.statuspage import Statuspage, StatuspageOptions
from tests.fakes.notifications import EPISODE, notification
from tests.fakes.statuspage import API_KEY, COMPONENTS, PAGE, FakeStatuspage
from tests.runs import checked, edgewatch

CONFIG = """
[input.kafka]
brokers = ["127.0.0.1:9092"]
topics = { "logpush.http_requests" = "http_requests" }
[engine]
directory = "DIR"
[channel.public]
kind = "statuspage"
api_key = "env:EW_STATUSPAGE_KEY"
page = "abc123"
components = { api = "cmp_api_123" }
url = "URL"
"""


@pytest.fixture
def page():
    with FakeStatuspage() as server:
        yield server


@pytest.fixture
def config(page, tmp_path, monkeypatch):
    """Give a configuration whose spool holds a proposal."""
    monkeypatch.setenv("EW_STATUSPAGE_KEY", API_KEY)
    path = tmp_path / "monitor.toml"
    path.write_text(CONFIG.replace("DIR", str(tmp_path / "state")).replace("URL", page.api_url))
    spool = Spool(tmp_path / "state" / "spool" / "spool-0.db")
    there = Statuspage("public", StatuspageOptions(api_key=API_KEY, page=PAGE, components=COMPONENTS, url=page.api_url))
    there.notebook = SpoolNotebook(spool, "public")
    there.send(notification(), {})
    spool.close()
    return path


@pytest.mark.slow
def test_a_proposal_is_listed_for_people_and_machines(config):
    assert checked("status", "list", "-c", config).stdout.splitlines() == [
        f"{EPISODE}  Problems with api",
        "    Automated monitoring has found problems with api. We are investigating.",
        "1 proposed",
    ]
    found = json.loads(checked("status", "list", "-c", config, "--json").stdout)
    assert found[EPISODE]["component_ids"] == ["cmp_api_123"]


@pytest.mark.slow
def test_an_approved_proposal_is_posted_once(config, page):
    said = [checked("status", "approve", "-c", config, EPISODE).stdout for _ in range(2)]
    assert said == ["posted\n", "the page has it already\n"]
    assert [incident["name"] for incident in page.incidents] == ["Problems with api"]


def test_what_was_not_proposed_cannot_be_approved(config, page):
    done = edgewatch("status", "approve", "-c", config, "f" * 16 + ":1")
    assert (done.returncode, "no incident is proposed for" in done.stderr, page.incidents) == (2, True, [])


def test_a_refused_approval_exits_1_with_one_clear_line_without_the_key(config, monkeypatch):
    monkeypatch.setenv("EW_STATUSPAGE_KEY", "planted-wrong-key")
    done = edgewatch("status", "approve", "-c", config, EPISODE)
    assert (done.returncode, done.stderr.count("\n"), "the API key is refused" in done.stderr) == (1, 1, True)
    assert "planted" not in done.stdout + done.stderr
