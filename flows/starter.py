"""Starter: the first configuration of a user and a test of one of its rules, as commented TOML, from a few answers.

Text, not options written back: what a newcomer reads beside each key is the point of it. It holds no secret, only where one is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.config import Config
from flows.rule import RuleOptions
from flows.toml_edit import inline

_SECRETS = {  # channel -> its key that is a secret, the secret's name, what it is
    "slack": ("webhook_url", "SLACK_WEBHOOK_URL", "incoming webhook of the channel"),
    "pagerduty": ("routing_key", "PAGERDUTY_ROUTING_KEY", "integration key (Events API v2)"),
    "teams": ("webhook_url", "TEAMS_WEBHOOK_URL", "URL of the workflow"),
    "discord": ("webhook_url", "DISCORD_WEBHOOK_URL", "webhook of the channel"),
    "webhook": ("url", "WEBHOOK_URL", "called for each notification; unsigned without secrets = [...]"),
    "sentry": ("dsn", "SENTRY_ALERTS_DSN", "project that takes the alerts"),
}
CHANNELS = ("console", "slack", "pagerduty", "email", "teams", "discord", "webhook", "sentry", "alertmanager")
_PAGER = "pagerduty"
_COMMENT_AT = 50

_SETTINGS = """\
[window]
length = "5m"                                     # rules judge one value a window
allowed_lateness = "2m"                           # Logpush: its upload interval plus 90 s; check --online measures it

[engine]
directory = "state"                               # offsets, open windows, alerts and what waits to be sent; keep it
"""
_PACK = """\
# No [[metric]] and no [[rule]]: the built-in pack watches the datasets above. `edgewatch check` lists its rules, and
# `edgewatch init --copy-rules` writes them here to be changed. A rule of your own takes the pack's place:
#
# [[metric]]
# name = "checkout_errors"
# kind = "ratio"
# dataset = "http_requests"
# where = 'is_user_request and ClientRequestPath starts_with "/api/checkout"'
# bad = "EdgeResponseStatus >= 500"
#
# [[rule]]
# name = "checkout_failing"
# metric = "checkout_errors"
# statistic = "ratio"
# above = { warning = 0.01, critical = 0.05 }
# min_count = 100
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What an email channel needs besides a password; without `user` the server is asked for no login."""

    host: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a user said: `topics` is topic -> dataset, `clickhouse` "" for none, `secret_files` "" for the environment."""

    environment: str
    brokers: tuple[str, ...]
    topics: Mapping[str, str]
    start: str
    channels: tuple[str, ...]
    mail: Mail = field(default_factory=Mail)
    alertmanager: tuple[str, ...] = ()
    clickhouse: str = ""
    clickhouse_user: str = ""
    secret_files: str = ""

    def secrets(self) -> list[str]:
        """Give the names of the secrets that the configuration refers to."""
        names = [_SECRETS[each][1] for each in self.channels if each in _SECRETS]
        names += ["SMTP_PASSWORD"] if "email" in self.channels and self.mail.user else []
        return names + (["CLICKHOUSE_PASSWORD"] if self.clickhouse and self.clickhouse_user else [])

    def reference(self, name: str) -> str:
        """Give what stands in the configuration for a secret."""
        return f"file:{self.secret_files.rstrip('/')}/{name.lower()}" if self.secret_files else f"env:{name}"


def configuration(answers: Answers, pack: str = "") -> str:
    """Give the text of a configuration; `pack` are metrics and rules to stand in it."""
    channels = [_channel(name, answers) for name in answers.channels]
    parts = [_head(answers), _input(answers), _SETTINGS, *channels, _routes(answers.channels), _clickhouse(answers)]
    return "\n".join([*filter(None, parts), pack or _PACK])


def example_test(config: Config) -> str:
    """Give the text of a test of the first rule with limits of a configuration on the built-in pack, "" where none has any."""
    rule = next((each for each in config.rules if each.kind == "threshold" and each.statistic), None)
    if rule is None:
        return ""
    severity = "warning" if rule.thresholds.critical is None else "critical"
    good, bad = _values(rule)
    windows = int(getattr(rule.hold, severity))
    fires_s = (2 + windows) * config.window.pane_ms // 1000
    grouped = next(each.group_by for each in config.metrics if each.name == rule.metric)
    key = [f"key = {inline(dict.fromkeys(grouped, 'example'))}"] if grouped and rule.keys != "total" else []
    heard = next(each.channels for each in config.routes if not each.severity or severity in each.severity) or ()
    lines = [
        "# Made-up windows through the rules, and what is to come of them: nothing is sent, no service is asked.",
        "[[test]]",
        f"name = {inline(f'{rule.name} is said when it is {severity}')}",
        _line("rules", [rule.name], "whose notifications are compared"),
        "",
        "[[test.series]]",
        f"metric = {inline(rule.metric)}",
        *key,
        _line("statistic", rule.statistic, "what the values are"),
        _line("values", f"{good:g}x2 {bad:g}x{windows + 1}", "a value a window: two good ones, then bad ones"),
        _line("counts", str(max(rule.min_count, 1000)), "records behind each"),
        "",
        "[[test.notification]]",
        _line(
            "at", f"{fires_s}s" if fires_s % 60 else f"{fires_s // 60}m", "since the start: the window ends that makes it fire"
        ),
        f"rule = {inline(rule.name)}",
        *key,
        'reason = "first"',
        f"severity = {inline(severity)}",
        _line("channels", sorted(heard), "who hears of it"),
    ]
    return "\n".join(lines) + "\n"


def _values(rule: RuleOptions) -> tuple[float, float]:
    """Give a value on the good side of all limits, and one beyond them."""
    limits = [each for each in (rule.thresholds.warning, rule.thresholds.critical) if each is not None]
    low, high = min(limits), max(limits)
    above = (high + 1) / 2 if rule.is_share else 2 * high + 1
    return (low / 2, above) if rule.above else (above, low / 2)


def _head(answers: Answers) -> str:
    lines = ["# What edgewatch watches, and who hears of it. flows/example.toml of the project has every option."]
    return "\n".join([*lines, _line("environment", answers.environment, "part of every alert's identity")]) + "\n"


def _input(answers: Answers) -> str:
    client = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "edgewatch"}
    client["sasl.password"] = answers.reference("KAFKA_PASSWORD")
    lines = [
        "[input.kafka]",
        _line("brokers", list(answers.brokers), "host:port, one or more"),
        _line("start", answers.start, "the first start; afterwards it goes on where it was"),
        *(f"topics.{inline(topic)} = {inline(dataset)}" for topic, dataset in answers.topics.items()),
        "# A cluster that asks who you are; any setting of librdkafka may stand here:",
        f"# client = {inline(client)}",
    ]
    return "\n".join(lines) + "\n"


def _channel(name: str, answers: Answers) -> str:
    lines = [f"[channel.{name}]"]
    if name in _SECRETS:
        key, secret, words = _SECRETS[name]
        lines.append(_line(key, answers.reference(secret), words))
    elif name == "email":
        mail = answers.mail
        lines += [_line("host", mail.host, "SMTP server, by STARTTLS"), _line("from", mail.sender, "sender")]
        lines += [_line("to", list(mail.to), "who gets mail")]
        if mail.user:
            lines += [f"user = {inline(mail.user)}", f"password = {inline(answers.reference('SMTP_PASSWORD'))}"]
    elif name == "alertmanager":
        lines.append(_line("urls", list(answers.alertmanager), "every member of the cluster"))
    else:
        lines[0] = f"{lines[0]:<{_COMMENT_AT - 1}} # the terminal, or the log of the service"
    return "\n".join(lines) + "\n"


def _routes(channels: tuple[str, ...]) -> str:
    """Write who hears of what: a pager of what is critical, everybody else of all."""
    others = [each for each in channels if each != _PAGER]
    every = f"[[route]]\nchannels = {inline(others or list(channels))}\n"
    if not others or len(others) == len(channels):
        return every
    first = f"{'[[route]]':<{_COMMENT_AT - 1}} # the first that fits takes an alert"
    return f'{first}\nseverity = ["critical"]\nchannels = {inline(list(channels))}\n\n{every}'


def _clickhouse(answers: Answers) -> str:
    lines = [f"{'[clickhouse]':<{_COMMENT_AT - 1}} # windows and decisions, for the dashboard and reports"]
    lines.append(_line("url", answers.clickhouse or "http://127.0.0.1:8123", "HTTP interface; tables are made at the start"))
    if answers.clickhouse and answers.clickhouse_user:
        lines += [f"user = {inline(answers.clickhouse_user)}", f"password = {inline(answers.reference('CLICKHOUSE_PASSWORD'))}"]
    return "".join(f"{line}\n" if answers.clickhouse else f"# {line}\n" for line in lines)


def _line(key: str, value: Any, words: str) -> str:
    return f"{f'{key} = {inline(value)}':<{_COMMENT_AT - 1}} # {words}"
