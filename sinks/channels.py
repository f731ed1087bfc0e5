"""The kinds of channels: a new channel is one file and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sinks import alertmanager, console, discord, email, kafka_topic, pagerduty, sentry, slack, statuspage, teams, webhook
from sinks.delivery import ChannelDestination
from sinks.notification import UNLIMITED, Channel, Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind:
    """What a kind of channel is made of, and how delivery treats it."""

    options: type[Any]
    build: Callable[[str, Any], Channel]
    pace: Pace = UNLIMITED
    unsaid: str = "each"  # see ChannelDestination
    acknowledges: bool = False  # whether it is told when a person silences an alert that it was told of
    ended: str = "digest"  # incidents of a backlog that are over: one "digest", "each" as it was said, or "never" said
    people: bool = False  # whether people read it without being paged
    reaches: bool = True  # whether somebody has it once it was taken; what nobody may be looking at reaches nobody
    many: str = "each"  # alerts at once: "each" by itself, "digest" by route and group, "storm" beyond a few one for all


CHANNELS: dict[str, ChannelKind] = {
    "alertmanager": ChannelKind(
        options=alertmanager.AlertmanagerOptions, build=alertmanager.build, pace=alertmanager.PACE, ended="never"
    ),
    "console": ChannelKind(options=console.ConsoleOptions, build=console.build, people=True, reaches=False, many="digest"),
    "discord": ChannelKind(
        options=discord.DiscordOptions, build=discord.build, pace=discord.PACE, unsaid="once", people=True, many="digest"
    ),
    "email": ChannelKind(
        options=email.EmailOptions, build=email.build, pace=email.PACE, unsaid="once", people=True, many="digest"
    ),
    "kafka": ChannelKind(options=kafka_topic.KafkaTopicOptions, build=kafka_topic.build, ended="each"),
    "pagerduty": ChannelKind(
        options=pagerduty.PagerDutyOptions,
        build=pagerduty.build,
        pace=pagerduty.PACE,
        unsaid="never",
        acknowledges=True,
        ended="never",
        many="storm",
    ),
    "sentry": ChannelKind(options=sentry.SentryOptions, build=sentry.build, pace=sentry.PACE),
    "slack": ChannelKind(
        options=slack.SlackOptions, build=slack.build, pace=slack.PACE, unsaid="once", people=True, many="digest"
    ),
    "statuspage": ChannelKind(
        options=statuspage.StatuspageOptions,
        build=statuspage.build,
        pace=statuspage.PACE,
        unsaid="never",
        ended="never",
        reaches=False,
    ),
    "teams": ChannelKind(
        options=teams.TeamsOptions, build=teams.build, pace=teams.PACE, unsaid="once", people=True, many="digest"
    ),
    "webhook": ChannelKind(options=webhook.WebhookOptions, build=webhook.build, pace=webhook.PACE),
}


def kind_of(options: object) -> ChannelKind:
    """Give the kind whose options these are."""
    return next(kind for kind in CHANNELS.values() if isinstance(options, kind.options))


def destinations(channels: Mapping[str, object]) -> list[ChannelDestination]:
    """Make the configured channels, ready for delivery, from their options by name."""
    out = []
    for name, options in channels.items():
        kind = kind_of(options)
        made = kind.build(name, options)
        out.append(ChannelDestination(made, pace=kind.pace, unsaid=kind.unsaid, people=kind.people, reaches=kind.reaches))
    return out
