"""The registry of the suite: every way to use every kind of channel, and how tests ask all of them."""

from typing import Any

import pytest

from tests.sinks.conformance.chats import DISCORD, SLACK_BOT, SLACK_WEBHOOK, TEAMS
from tests.sinks.conformance.entry import Case, Entry, NotMeant
from tests.sinks.conformance.machines import ALERTMANAGER, PAGERDUTY, SENTRY, WEBHOOK
from tests.sinks.conformance.mail import EMAIL
from tests.sinks.conformance.printed import CONSOLE
from tests.sinks.conformance.public_page import POSTING, PROPOSING
from tests.sinks.conformance.topic import KAFKA

ENTRIES = (
    *(ALERTMANAGER, CONSOLE, DISCORD, EMAIL, KAFKA, PAGERDUTY, SENTRY),
    *(SLACK_BOT, SLACK_WEBHOOK, POSTING, PROPOSING, TEAMS, WEBHOOK),
)


def marked(entry: Entry, *values: Any, name: str) -> Any:
    """Give a test's parameters for an entry, marked by what it needs."""
    return pytest.param(entry, *values, id=name, marks=[pytest.mark.kafka] if entry.needs_kafka else [])


def every() -> list[Any]:
    """Give every entry."""
    return [marked(entry, name=entry.name) for entry in ENTRIES]


def each(question: str) -> list[Any]:
    """Give (entry, case) of every entry that the question has a meaning for."""
    asked = [(entry, getattr(entry, question)) for entry in ENTRIES]
    meant = [(entry, cases) for entry, cases in asked if not isinstance(cases, NotMeant)]
    return [marked(entry, case, name=f"{entry.name}: {_name(case)}") for entry, cases in meant for case in cases]


def _name(case: Any) -> str:
    return case.name if isinstance(case, Case) else ascii(case)
