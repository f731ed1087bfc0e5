"""Example: the configuration file with every option once, written from the option classes' own defaults and help.

`python -m flows.example > flows/example.toml` writes it again; a test fails where it is stale.
"""

import dataclasses
import sys
from typing import Any

from connectors.dataset import DatasetOptions
from connectors.ingest_options import IngestOptions
from connectors.kafka_options import KafkaOptions, TopicOptions
from connectors.probe_options import ProbeOptions, StepOptions
from connectors.receive_options import ReceiveOptions
from flows.app_error_options import AppErrorOptions
from flows.dashboard_options import DashboardOptions
from flows.engine_options import EngineOptions
from flows.health import HealthOptions
from flows.inhibit import InhibitOptions
from flows.metric import MetricOptions
from flows.mute import MuteOptions
from flows.observe_options import ObserveOptions
from flows.options import documented
from flows.otlp_options import OtlpOptions
from flows.route import RouteOptions
from flows.rule import RuleOptions
from flows.slo import SloOptions
from flows.status_options import StatusPageOptions
from flows.window import WindowOptions
from sinks.channels import CHANNELS
from sinks.clickhouse import ClickHouseOptions
from sinks.heartbeat import HeartbeatOptions

# What has no default, or is best shown with another value.
SHOWN: dict[str, dict[str, str]] = {
    "input.kafka": {
        "brokers": '["127.0.0.1:9092"]',
        "topics": '{ "logpush.http_requests" = "http_requests", "app.performance" = { TOPIC } }',
        "client": '{ "security.protocol" = "PLAINTEXT" }',
    },
    "receive": {
        "secrets": '["env:LOGPUSH_SECRET"]',
        "topics": '{ http_requests = "logpush.http_requests" }',
        "client": '{ "linger.ms" = 5 }',
        "hash": '["ClientIP"]',
        "hash_key": '"env:HASH_KEY"',
    },
    "[probe]": {
        "name": '"login"',
        "url": '"https://api.example.com"',
        "headers": '{ Authorization = "env:PROBE_AUTHORIZATION" }',
        "variables": '{ password = "env:PROBE_PASSWORD" }',
    },
    "[probe.step]": {
        "name": '"log in"',
        "url": '"/api/login"',
        "method": '"POST"',
        "body": '\'{ "user": "probe", "password": "${password}" }\'',
        "equals": '{ "user.name" = "probe" }',
        "extract": '{ token = "json:token" }',
        "max": '"2s"',
    },
    "window": {"hop": '"5m"'},
    "[dataset]": {
        "name": '"performance"',
        "kind": '"data_points"',
        "blobs": '["url", "method", "status"]',
        "doubles": '["total_ms", "db_ms", "cache_ms"]',
        "indexes": '["environment", "ray_id"]',
        "event_time": '["timestamp"]',
    },
    "[metric]": {
        "name": '"server_errors"',
        "kind": '"ratio"',
        "dataset": '"http_requests"',
        "where": '"is_user_request"',
        "bad": '"EdgeResponseStatus >= 500"',
        "group_by": '["ClientRequestHost"]',
    },
    "[rule]": {
        "name": '"failing"',
        "metric": '"server_errors"',
        "statistic": '"ratio"',
        "keys": '"groups"',
        "above": "{ warning = 0.01, critical = 0.05 }",
        "recover": "0.008",
        "min_count": "100",
        "for": "{ warning = 2, critical = 1 }",
        "flap": "{ transitions = 4, windows = 12, leave = 2 }",
        "runbook": '"docs/runbooks/failing.md"',
        "labels": '{ team = "edge" }',
        "overrides": '[{ match = { ClientRequestHost = "admin.example.com" }, above = { critical = 0.1 } }]',
        "no_data": '{ after = 6, alert = false, keys = false, severity = "warning" }',
    },
    "observe": {"sentry_dsn": '"env:SENTRY_DSN"'},
    "observe.otlp": {"endpoint": '"http://127.0.0.1:4318"', "headers": '{ Authorization = "env:OTLP_AUTHORIZATION" }'},
    "app_errors": {"dsn": '"env:SENTRY_APP_DSN"'},
    "[slo]": {
        "name": '"availability"',
        "metric": '"server_errors"',
        "objective": "0.999",
        "labels": '{ team = "edge" }',
    },
    "[route]": {
        "match": '{ team = "edge" }',
        "severity": '["critical"]',
        "channels": '["pagerduty", "slack"]',
        "group_by": '["rule"]',
        "limit": "50",
        "route": '[{ match = { rule = "failing" }, channels = ["slack"] }]',
    },
    "[inhibit]": {
        "source": '{ rule = "failing", severity = "critical" }',
        "target": '{ severity = "warning" }',
        "equal": '["ClientRequestHost"]',
    },
    "[mute]": {
        "name": '"nights"',
        "match": "['team!=\"edge\"', 'rule=~\"slow_.*\"']",
        "times": '["22:00-06:00"]',
        "weekdays": '["mon-fri"]',
        "zone": '"Europe/Berlin"',
        "except_critical": "true",
    },
    "channel.slack": {
        "webhook_url": '"env:SLACK_WEBHOOK_URL"',
        "channels": '{ critical = "#alerts-critical", warning = "#alerts-warning" }',
    },
    "channel.email": {
        "host": '"smtp.example.com"',
        "user": '"alerts@example.com"',
        "password": '"env:SMTP_PASSWORD"',
        "from": '"edgewatch <alerts@example.com>"',
        "to": '["team@example.com"]',
        "to_by_severity": '{ critical = ["oncall@example.com", "team@example.com"] }',
    },
    "channel.pagerduty": {"routing_key": '"env:PAGERDUTY_ROUTING_KEY"'},
    "channel.kafka": {
        "brokers": '["127.0.0.1:9092"]',
        "topic": '"edgewatch.notifications"',
        "client": '{ "security.protocol" = "PLAINTEXT" }',
    },
    "channel.sentry": {"dsn": '"env:SENTRY_ALERTS_DSN"'},
    "channel.statuspage": {
        "api_key": '"env:STATUSPAGE_API_KEY"',
        "page": '"abc123"',
        "components": '{ api = "cmp_api_123", database = "cmp_db_456" }',
        "map": '{ api = ["failing"] }',
        "statuses": '{ failing = "partial_outage" }',
    },
    "status_page": {
        "components": '{ api = ["failing"] }',
        "statuses": '{ failing = "partial_outage" }',
    },
    "heartbeat": {"url": '"env:HEARTBEAT_URL"'},
    "dashboard": {"url": '"https://edgewatch.example.com"', "token": '"env:EDGEWATCH_TOKEN"'},
    "channel.alertmanager": {"urls": '["http://127.0.0.1:9093"]'},
    "channel.discord": {"webhook_url": '"env:DISCORD_WEBHOOK_URL"'},
    "channel.teams": {"webhook_url": '"env:TEAMS_WEBHOOK_URL"'},
    "channel.webhook": {
        "url": '"env:WEBHOOK_URL"',
        "secrets": '["env:WEBHOOK_SECRET"]',
        "headers": '{ Authorization = "env:WEBHOOK_AUTHORIZATION" }',
    },
    "clickhouse": {"password": '"env:CLICKHOUSE_PASSWORD"'},
}


# What is no table of its own: key, type, default, example, what is written beside the example.
GENERAL = (
    ("environment", "string", '"production"', '"production"', "part of every alert's identity"),
    ("labels", "table of strings", "{}", '{ platform = "example" }', "go on every alert"),
    (
        "runbooks",
        "string",
        '""',
        '"https://wiki.example.com/edge/"',
        'what links to runbooks begin with; "": alerts name the files',
    ),
    ("zone_quiets_paths", "true or false", "false", "false", "true: an alert on a host quiets the same on its paths"),
)
TABLES: list[tuple[str, type[Any]]] = [
    ("input.kafka", KafkaOptions),
    ("receive", ReceiveOptions),
    ("ingest", IngestOptions),
    ("[probe]", ProbeOptions),
    ("[probe.step]", StepOptions),
    ("window", WindowOptions),
    ("engine", EngineOptions),
    ("[dataset]", DatasetOptions),
    ("[metric]", MetricOptions),
    ("[rule]", RuleOptions),
    ("[slo]", SloOptions),
    ("[route]", RouteOptions),
    ("[inhibit]", InhibitOptions),
    ("[mute]", MuteOptions),
    *((f"channel.{name}", kind.options) for name, kind in CHANNELS.items()),
    ("clickhouse", ClickHouseOptions),
    ("heartbeat", HeartbeatOptions),
    ("dashboard", DashboardOptions),
    ("health", HealthOptions),
    ("status_page", StatusPageOptions),
    ("observe", ObserveOptions),
    ("observe.otlp", OtlpOptions),
    ("app_errors", AppErrorOptions),
]


def example_text() -> str:
    """Give the file's text."""
    head = (
        "# Every option once, with its default or an example. A line that begins with # is an option without a default.\n"
        "# Written by `python -m flows.example`; edit the option classes, not this file.\n"
    )
    general = "".join(f"{f'{key} = {shown}':<37} # {text}\n" for key, _, _, shown, text in GENERAL)
    return head + general + "".join(_table(name, kind) for name, kind in TABLES)


def _table(name: str, kind: type[Any]) -> str:
    shown = SHOWN.get(name, {})
    durations = {c.name.removesuffix("_ms") for c in dataclasses.fields(kind) if c.metadata.get("duration")}
    lines = []
    nested = {c.name for c in dataclasses.fields(kind) if c.metadata.get("tables")}
    for key, default, text in documented(kind):
        value = shown.get(key) or (None if key in nested else value_of(default, duration=key in durations))
        written = f"{key} = {value}" if value is not None else f"# {key} ="
        lines.append(f"{written.replace('{ TOPIC }', _topic()):<37} # {text}\n")
    return f"\n[{name}]\n" + "".join(lines)


def _topic() -> str:
    keys = ", ".join(key for key, _, _ in documented(TopicOptions))
    assert keys == "dataset, allowed_lateness, sample_rate, labels"  # noqa: S101 (a new key must be shown here)
    return '{ dataset = "performance", allowed_lateness = "2m", sample_rate = 1.0, labels = { zone = "eu" } }'


def value_of(default: Any, *, duration: bool) -> str | None:
    """Write a default as TOML; None where there is none, or none that one value shows."""
    if default is None or default is dataclasses.MISSING or dataclasses.is_dataclass(default):
        return None
    if duration:
        return f'"{_duration(default)}"'
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, tuple | list):
        return "[" + ", ".join(f'"{item}"' if isinstance(item, str) else f"{item}" for item in default) + "]"
    return "{}" if isinstance(default, dict) else f"{default}"


def _duration(ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0s"


if __name__ == "__main__":
    sys.stdout.write(example_text())
