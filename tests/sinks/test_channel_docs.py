"""docs/channels.md: the tables it shows are valid, and it names every option."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flows.options import ConfigError, Reader, documented
from sinks.alertmanager import AlertmanagerOptions
from sinks.console import ConsoleOptions
from sinks.discord import DiscordOptions
from sinks.email import EmailOptions
from sinks.heartbeat import HeartbeatOptions
from sinks.kafka_topic import KafkaTopicOptions
from sinks.pagerduty import PagerDutyOptions
from sinks.sentry import SentryOptions
from sinks.slack import SlackOptions
from sinks.statuspage import StatuspageOptions
from sinks.teams import TeamsOptions
from sinks.webhook import WebhookOptions

TEXT = (Path(__file__).parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Slack", SlackOptions),
        ("PagerDuty", PagerDutyOptions),
        ("Console", ConsoleOptions),
        ("Email", EmailOptions),
        ("Statuspage", StatuspageOptions),
        ("Sentry", SentryOptions),
        ("Kafka topic", KafkaTopicOptions),
        ("Heartbeat", HeartbeatOptions),
        ("Webhook", WebhookOptions),
        ("Microsoft Teams", TeamsOptions),
        ("Discord", DiscordOptions),
        ("Alertmanager", AlertmanagerOptions),
    ],
)
def test_a_section_shows_a_valid_table_and_every_option(section: str, kind: type[Any]) -> None:
    text = re.split(r"^## ", TEXT.partition(f"## {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    table = tomllib.loads(re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[0])
    while len(table) == 1:  # [channel.NAME]
        (inner,) = table.values()
        if not isinstance(inner, dict):
            break
        table = inner
    problems: list[ConfigError] = []
    Reader(problems, Path(), secrets=False).table(kind, table, section)
    assert problems == []
    assert [key for key, _, _ in documented(kind) if f"`{key}`" not in text] == []
