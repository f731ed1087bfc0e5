"""Runbooks in messages: the link can be clicked, the first steps are read, and neither takes the evidence's place."""

from typing import Any

import pytest

from sinks.notification import Notification
from sinks.prometheus_alert import annotations
from sinks.runbook import Runbook, runbook_of
from tests.fakes.notifications import CONTRIBUTED, notification
from tests.sinks.places import KINDS, Servers

ADDRESS = "https://wiki.example.com/edge/high-error-rate.md?a=1&b=2"
STEPS = ["Check Sentry: <one> new *error*?", "Roll_back_now."]
# A console names the link, an incident at PagerDuty has it among its links, and the public is not told.
QUOTING = [kind for kind in KINDS if kind not in {"console", "pagerduty", "statuspage"}]


def said(link: str = ADDRESS, **changes: Any) -> Notification:
    evidence = {**notification().evidence, "runbook": {"link": link, "steps": STEPS}}
    return notification(evidence=evidence, **changes)


@pytest.mark.parametrize("link", [ADDRESS, "docs/runbooks/high-error-rate.md", "https://wiki.example.com/(x)|<y>"])
@pytest.mark.parametrize("kind", QUOTING)
def test_a_message_shows_the_link_the_steps_and_the_evidence(kind: str, link: str, servers: Servers) -> None:
    there = servers.place(kind)
    there.channel.send(said(link), {})
    shown = there.read()
    assert [each for each in (link, *STEPS, "path /api/checkout") if each not in shown] == []
    assert (shown.count(STEPS[0]), shown.count(link), there.wrong()) == (1, 1, [])


@pytest.mark.parametrize("kind", QUOTING)
def test_what_is_over_needs_no_steps(kind: str, servers: Servers) -> None:
    there = servers.place(kind)
    there.channel.send(said(status="resolved", reason="resolved"), {})
    assert (ADDRESS in there.read(), STEPS[0] in there.read(), there.wrong()) == (True, False, [])


def test_a_console_names_the_runbook_behind_the_first_evidence(servers: Servers) -> None:
    there = servers.place("console")
    there.channel.send(said(), {})
    assert there.read().splitlines()[1].endswith(f"| {CONTRIBUTED} | runbook: {ADDRESS}")


def test_the_public_hears_of_no_runbook(servers: Servers) -> None:
    there = servers.place("statuspage")
    there.channel.send(said(), {})
    assert "wiki" not in there.read()


def test_the_longest_of_all_stay_within_the_limits(servers: Servers) -> None:
    long = "&" * 5000
    labels = {f"{n}": long for n in range(20)}
    evidence = {"runbook": {"link": f"https://x/{long}", "steps": [long] * 9}, "exemplars": [{"reason": long}] * 40}
    for kind in QUOTING:
        there = servers.place(kind)
        there.channel.send(notification(title=long, text=long, labels=labels, evidence=evidence), {})
        there.channel.send(notification(evidence={"runbook": {"link": f"https://x/{'&' * 400}", "steps": STEPS}}), {})
        assert (kind, there.wrong()) == (kind, [])


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a b", "https://a<b>", 'https://a"b', "", "runbook.md"])
def test_only_an_address_that_cannot_be_read_as_more_is_clicked(link: str) -> None:
    assert Runbook(link, ()).address == ""


@pytest.mark.parametrize("found", [None, "x", {}, {"link": ""}, {"steps": ["a"]}, ["x"]])
def test_evidence_of_another_form_names_no_runbook(found: object) -> None:
    assert runbook_of(notification(evidence={"runbook": found})) is None


def test_tools_for_alertmanager_find_the_address_where_they_look_for_it() -> None:
    assert annotations(said())["runbook_url"] == ADDRESS
    assert "runbook_url" not in annotations(said("docs/x.md")) | annotations(notification())
