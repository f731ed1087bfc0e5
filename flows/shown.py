"""Shown: what alerts say of their rule besides the decision: its version, its runbook, where its rows and its view are."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flows.metric import MetricOptions
from flows.output import canonical
from flows.policy import PolicyOptions
from flows.rule import RuleOptions
from sinks.clickhouse import ClickHouseOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`database` has the rows; `runbooks` (first steps) and `versions` are by rule; `dashboard` is an address, or empty.

    `trace_url` is an address with `{trace_id}` in it, or empty.
    """

    database: str
    runbooks: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]
    dashboard: str = ""
    trace_url: str = ""


class _Config(Protocol):
    @property
    def metrics(self) -> Sequence[MetricOptions]: ...
    @property
    def rules(self) -> Sequence[RuleOptions]: ...
    @property
    def clickhouse(self) -> ClickHouseOptions | None: ...


def shown_of(config: _Config, policy: PolicyOptions) -> Shown:
    """Give what the alerts of a configuration say of their rules."""
    metrics = {metric.name: metric for metric in config.metrics}
    return Shown(
        database=(config.clickhouse or ClickHouseOptions()).database,
        runbooks=policy.runbooks,
        versions={rule.name: rule_version(rule, metrics[rule.metric]) for rule in config.rules},
        dashboard=policy.dashboard,
        trace_url=policy.trace_url,
    )


def rule_version(options: RuleOptions, metric: MetricOptions) -> str:
    """Name what a rule and its metric say: 12 hex digits of a hash.

    Options that are as by default do not count, so a new kind of option changes no version.
    """
    return hashlib.sha256(canonical([_given(options), _given(metric)])).hexdigest()[:12]


def _given(options: Any) -> dict[str, Any]:
    out = {}
    for column in dataclasses.fields(options):
        value = getattr(options, column.name)
        default = column.default if column.default_factory is dataclasses.MISSING else column.default_factory()
        if value != default:
            out[column.name] = value
    return out
