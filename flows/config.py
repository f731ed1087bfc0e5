"""Config: one TOML file to the options of all components, checked as a whole; every problem of the file is said at once.

Options live in their components; what is here is what spans them: which metric a rule judges, which channel a route names,
which fields an expression uses, and the built-in pack for a file without metrics and rules.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from connectors.dataset import Dataset, DatasetOptions, build_dataset
from connectors.ingest_options import IngestOptions
from connectors.kafka_options import KafkaOptions
from connectors.probe_options import ProbeOptions
from connectors.receive_options import ReceiveOptions
from flows.app_error_options import AppErrorOptions
from flows.dashboard_options import DashboardOptions
from flows.engine_options import EngineOptions
from flows.expression import Expression, ExpressionError
from flows.health import HealthOptions
from flows.inhibit import InhibitOptions
from flows.kinds import expanded, metrics_of
from flows.label_checks import matches_of, unmet
from flows.metric import MetricOptions
from flows.mute import MuteOptions
from flows.observe_options import ObserveOptions
from flows.options import ConfigError, Reader, no_such, unknown
from flows.output import canonical
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rule import RuleOptions
from flows.rule_checks import composite_problems, rule_problems, slo_problems
from flows.runbook import first_steps, link_of, prefix_problem, steps_problem
from flows.slo import SloOptions
from flows.status_options import StatusPageOptions
from flows.window import WindowOptions
from flows.zone_path import zone_path
from sinks.channels import CHANNELS, kind_of
from sinks.clickhouse import ClickHouseOptions
from sinks.heartbeat import HeartbeatOptions

_TABLES = (
    "environment",
    "labels",
    "runbooks",
    "zone_quiets_paths",
    "input",
    "receive",
    "ingest",
    "probe",
    "window",
    "engine",
    "dataset",
    "metric",
    "rule",
    "slo",
    "route",
    "inhibit",
    "mute",
    "channel",
    "clickhouse",
    "heartbeat",
    "health",
    "status_page",
    "dashboard",
    "observe",
    "app_errors",
)

# Tables that hold where they are not written, too.
_ALWAYS: dict[str, Any] = {
    "health": HealthOptions,
    "status_page": StatusPageOptions,
    "observe": ObserveOptions,
    "dashboard": DashboardOptions,
}

# The seed's data points, ready to use without a [[dataset]] table.
BUILT_IN_DATASETS = {
    options.name: options
    for options in (
        DatasetOptions(name="http_requests", kind="http_requests"),
        DatasetOptions(
            name="performance",
            kind="data_points",
            blobs=("url", "method", "status"),
            doubles=("total_ms", "db_ms", "cache_ms"),
            indexes=("environment", "ray_id"),
        ),
        DatasetOptions(
            name="business",
            kind="data_points",
            blobs=("event", "user_id", "portal"),
            doubles=("amount", "count"),
            indexes=("time", "environment"),
        ),
        DatasetOptions(
            name="errors",
            kind="data_points",
            blobs=("name", "message", "url", "method"),
            doubles=("count",),
            indexes=("user_id", "environment"),
        ),
        *(DatasetOptions(name=kind, kind=kind) for kind in ("workers_trace_events", "app_logs", "health", "runtime_stats")),
    )
}


class ConfigErrors(Exception):
    """All problems of one file."""

    def __init__(self, name: str, errors: list[ConfigError]) -> None:
        """Take the file's name and its problems."""
        self.name = name
        self.errors = errors
        super().__init__("\n".join(f"{name}: {error}" for error in errors))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration; `version` identifies its content.

    `unread_runbooks` says by rule why its alerts carry no first steps.
    """

    source: Path
    version: str
    environment: str
    labels: dict[str, str]
    kafka: KafkaOptions | None
    receive: ReceiveOptions | None
    ingest: IngestOptions | None
    app_errors: AppErrorOptions | None
    probes: tuple[ProbeOptions, ...]
    window: WindowOptions
    engine: EngineOptions
    datasets: tuple[DatasetOptions, ...]
    metrics: tuple[MetricOptions, ...]
    rules: tuple[RuleOptions, ...]
    slos: tuple[SloOptions, ...]
    routes: tuple[RouteOptions, ...]
    channels: dict[str, Any]
    clickhouse: ClickHouseOptions | None
    heartbeat: HeartbeatOptions | None
    health: HealthOptions
    status_page: StatusPageOptions
    observe: ObserveOptions
    dashboard: DashboardOptions
    policy: PolicyOptions
    unread_runbooks: Mapping[str, str]

    def topic_datasets(self) -> dict[str, str]:
        """Give topic -> dataset."""
        return {name: topic.dataset for name, topic in self.kafka.topic_options().items()} if self.kafka else {}


def load(path: Path, *, secrets: bool = True) -> Config:
    """Load a file; raises ConfigErrors. Without `secrets` none is read, as a replay needs none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigErrors(str(path), [ConfigError("", f"cannot be read: {reason}")]) from error
    return loads(text, path, secrets=secrets)


def loads(text: str, path: Path, *, secrets: bool = True) -> Config:
    """Load from text; `path` is named in errors, and relative secrets are files beside it."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors(str(path), [ConfigError("", f"is not TOML: {error}")]) from error
    problems: list[ConfigError] = []
    config = _Builder(given, path, Reader(problems, path.parent, secrets)).build()
    if problems or config is None:
        raise ConfigErrors(str(path), problems)
    return config


class _Builder:
    """Builds the parts, then checks what spans them."""

    def __init__(self, given: dict[str, Any], path: Path, reader: Reader) -> None:
        self._given = given
        self._path = path
        self._read = reader

    def _refuse(self, key: str, problem: str) -> None:
        self._read.problems.append(ConfigError(key, problem))

    def build(self) -> Config | None:
        given = self._given
        self._check_tables()
        environment = self._text("environment", "production")
        labels = self._labels()
        kafka = self._kafka()
        doors: dict[str, Any] = {"receive": ReceiveOptions, "ingest": IngestOptions, "app_errors": AppErrorOptions}
        receive, ingest, app_errors = (self._optional(key, kind) for key, kind in doors.items())
        probes = self._tables("probe", ProbeOptions)
        window = self._read.table(WindowOptions, given.get("window", {}), "window")
        engine = self._engine(window, kafka)
        datasets = self._datasets()
        metrics, rules = self._measures(kafka, datasets)
        slos = self._tables("slo", SloOptions)
        channels = self._channels()
        routes = self._routes(channels)
        clickhouse, heartbeat = (self._optional("clickhouse", ClickHouseOptions), self._optional("heartbeat", HeartbeatOptions))
        found = [self._read.table(kind, given.get(key, {}), key) for key, kind in _ALWAYS.items()]
        health, status_page, observe, dashboard = found
        self._check(kafka, datasets, metrics)
        sound = self._check_rules(rules, metrics, slos, window)
        metrics |= {made.name: made for made in metrics_of(slos, metrics)}
        rules = expanded(rules, slos, metrics) if sound else rules
        policy = self._policy(rules, channels, (dashboard.url if dashboard else "", observe.trace_url if observe else ""))
        if self._flag("zone_quiets_paths") and not self._read.problems:
            policy = replace(policy, inhibits=(*policy.inhibits, *zone_path(rules, metrics)))
        self._check_matches(routes, policy, rules)
        unread = {rule.name: problem for rule in rules if (problem := steps_problem(self._path.parent, rule.runbook))}
        rules = self._linked(rules)
        if self._read.problems:
            return None
        return Config(
            source=self._path,
            version=hashlib.sha256(canonical(_plain(given))).hexdigest()[:12],
            environment=environment,
            labels=labels,
            kafka=kafka,
            receive=receive,
            ingest=ingest,
            app_errors=app_errors,
            probes=tuple(probes),
            window=window,
            engine=engine,
            datasets=tuple(datasets.values()),
            metrics=tuple(metrics.values()),
            rules=tuple(rules),
            slos=tuple(slos),
            routes=tuple(routes),
            channels=channels,
            clickhouse=clickhouse,
            heartbeat=heartbeat,
            health=health,
            status_page=status_page,
            observe=observe,
            dashboard=dashboard,
            policy=policy,
            unread_runbooks=unread,
        )

    def _check_tables(self) -> None:
        for key in self._given:
            if key == "silence":
                self._refuse(key, "silences are not configured: use `edgewatch silence add`")
            elif key not in _TABLES:
                self._refuse(key, unknown(key, list(_TABLES)))

    def _labels(self) -> dict[str, str]:
        labels = self._given.get("labels", {})
        if isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values()):
            return labels
        self._refuse("labels", "must be a table of strings")
        return {}

    def _linked(self, rules: list[RuleOptions]) -> list[RuleOptions]:
        """Give the rules with the links that alerts show of their runbooks."""
        prefix = self._text("runbooks", "")
        if problem := prefix_problem(prefix):
            self._refuse("runbooks", problem)
        return [replace(rule, runbook=link_of(rule.runbook, prefix)) for rule in rules]

    def _flag(self, key: str) -> bool:
        value = self._given.get(key, False)
        if not isinstance(value, bool):
            self._refuse(key, "must be true or false")
        return value is True

    def _text(self, key: str, default: str) -> str:
        value = self._given.get(key, default)
        if not isinstance(value, str):
            self._refuse(key, "must be a string")
            return default
        return value

    def _optional(self, key: str, kind: type[Any]) -> Any:
        return self._read.table(kind, self._given[key], key) if key in self._given else None

    def _engine(self, window: WindowOptions | None, kafka: KafkaOptions | None) -> Any:
        """Read the engine's options; what always comes late is not stale, so `stale_after` is longer than windows wait."""
        given = self._given.get("engine", {})
        engine: EngineOptions | None = self._read.table(EngineOptions, given, "engine")
        if engine is None or window is None or not engine.stale_after_ms:
            return engine
        topics = kafka.topic_options().values() if kafka else ()
        late = max([window.allowed_lateness_ms, *(topic.allowed_lateness_ms or 0 for topic in topics)])
        least = late + window.idle_after_ms
        if "stale_after" not in given:
            return replace(engine, stale_after_ms=max(engine.stale_after_ms, 2 * least))
        if engine.stale_after_ms <= least:
            problem = f"must be longer than windows wait ({least // 1000} s: allowed_lateness and idle_after), or 0s for never"
            self._refuse("engine.stale_after", problem)
        return engine

    def _kafka(self) -> KafkaOptions | None:
        inputs = self._given.get("input", {})
        if not isinstance(inputs, Mapping):
            self._refuse("input", "must be a table")
            return None
        for key in inputs:
            if key != "kafka":
                self._refuse(f"input.{key}", unknown(key, ["kafka"]))
        if "kafka" not in inputs:
            return None
        kafka: KafkaOptions | None = self._read.table(KafkaOptions, inputs["kafka"], "input.kafka")
        if kafka is None:
            return None
        where = "input.kafka.client"
        client = {k: self._read.resolve(v, f"{where}.{k}") if isinstance(v, str) else v for k, v in kafka.client.items()}
        return kafka.with_client(client)

    def _tables(self, key: str, kind: type[Any]) -> list[Any]:
        given = self._given.get(key, [])
        if not isinstance(given, list):
            self._refuse(key, f"must be written [[{key}]]")
            return []
        out, names = [], set()
        for number, table in enumerate(given, 1):
            name = table.get("name") if isinstance(table, dict) else None
            made = self._read.table(kind, table, f'{key} "{name}"' if isinstance(name, str) else f"{key} #{number}")
            if isinstance(name, str) and name in names:
                self._refuse(f'{key} "{name}"', "the name is given twice")
            names.add(name)
            if made is not None:
                out.append(made)
        return out

    def _datasets(self) -> dict[str, DatasetOptions]:
        return {**BUILT_IN_DATASETS, **{options.name: options for options in self._tables("dataset", DatasetOptions)}}

    def _measures(
        self, kafka: KafkaOptions | None, datasets: dict[str, DatasetOptions]
    ) -> tuple[dict[str, MetricOptions], list[RuleOptions]]:
        """Give metrics and rules: the file's, or the built-in pack's for the datasets in use."""
        if "metric" in self._given or "rule" in self._given:
            metrics = {options.name: options for options in self._tables("metric", MetricOptions)}
            return metrics, self._tables("rule", RuleOptions)
        used = {topic.dataset for topic in kafka.topic_options().values()} if kafka else set(datasets)
        pack = _Builder(tomllib.loads(built_in_text()), self._path, self._read)
        metrics = {m.name: m for m in pack._tables("metric", MetricOptions) if m.dataset in used}
        metrics = {name: m for name, m in metrics.items() if _fits(m, _built(kafka, datasets[m.dataset]))}
        return metrics, [rule for rule in pack._tables("rule", RuleOptions) if rule.metric in metrics]

    def _channels(self) -> dict[str, Any]:
        given = self._given.get("channel", {"console": {}})
        if not isinstance(given, dict):
            self._refuse("channel", "must be written [channel.NAME]")
            return {}
        return {name: self._channel(name, table) for name, table in given.items()}

    def _channel(self, name: str, table: Any) -> Any:
        path = f"channel.{name}"
        if not isinstance(table, dict):
            return self._refuse(path, "must be a table")
        kind = table.get("kind", name)
        if kind not in CHANNELS:
            return self._refuse(f"{path}.kind", f"{kind!r} is not a kind of channel; allowed: {', '.join(CHANNELS)}")
        return self._read.table(CHANNELS[kind].options, {k: v for k, v in table.items() if k != "kind"}, path)

    def _routes(self, channels: dict[str, Any]) -> list[RouteOptions]:
        routes: list[RouteOptions] = self._tables("route", RouteOptions)
        for number, route in enumerate(routes, 1):
            self._check_route(route, f"route #{number}", channels)
            if route.channels is None:
                self._refuse(f"route #{number}.channels", "is missing; names of channels")
        if "route" in self._given:
            return routes
        # As the seed: critical pages, and everything is also said in chat.
        pagers = {n for n in channels if self._given.get("channel", {}).get(n, {}).get("kind", n) == "pagerduty"}
        chats = tuple(name for name in channels if name not in pagers)
        return [
            RouteOptions(severity=("critical",), channels=tuple(channels)),
            RouteOptions(channels=chats or tuple(channels)),
        ]

    def _check_route(self, route: RouteOptions, path: str, channels: dict[str, Any]) -> None:
        for name in route.channels or ():
            if name not in channels:
                self._refuse(f"{path}.channels", f"no channel {name!r}; there are: {', '.join(channels)}")
        for name in route.escalate_to:
            if name not in channels:
                self._refuse(f"{path}.escalate_to", f"no channel {name!r}; there are: {', '.join(channels)}")
        pagers = [name for name, options in channels.items() if options is not None and kind_of(options).acknowledges]
        if route.escalate_to and pagers:
            self._refuse(f"{path}.escalate_to", f"{pagers[0]} is a pager, whose own escalation policy does this")
        for number, inner in enumerate(route.route, 1):
            self._check_route(inner, f"{path}.route #{number}", channels)

    def _policy(self, rules: list[RuleOptions], channels: dict[str, Any], links: tuple[str, str]) -> PolicyOptions:
        kinds = {name: kind_of(options) for name, options in channels.items() if options is not None}
        return PolicyOptions(
            dashboard=links[0],
            trace_url=links[1],
            runbooks={rule.name: first_steps(self._path.parent, rule.runbook) for rule in rules},
            modes={name: kind.many for name, kind in kinds.items()},
            pagers=frozenset(name for name, kind in kinds.items() if kind.acknowledges),
            inhibits=tuple(self._tables("inhibit", InhibitOptions)),
            mutes=tuple(self._tables("mute", MuteOptions)),
        )

    def _check(
        self,
        kafka: KafkaOptions | None,
        datasets: dict[str, DatasetOptions],
        metrics: dict[str, MetricOptions],
    ) -> None:
        for topic, options in (kafka.topic_options() if kafka else {}).items():
            if options.dataset not in datasets:
                self._refuse(f'input.kafka.topics."{topic}"', no_such("dataset", options.dataset, datasets))
                continue
            for name in options.labels.keys() & build_dataset(datasets[options.dataset]).fields.keys():
                self._refuse(f'input.kafka.topics."{topic}".labels', f"{name} is a field of {options.dataset}")
        for metric in metrics.values():
            if metric.dataset not in datasets:
                self._refuse(f'metric "{metric.name}".dataset', no_such("dataset", metric.dataset, datasets))
            else:
                for key, problem in metric_problems(metric, _built(kafka, datasets[metric.dataset])):
                    self._refuse(f'metric "{metric.name}".{key}', problem)

    def _check_rules(
        self, rules: list[RuleOptions], metrics: dict[str, MetricOptions], slos: list[SloOptions], window: WindowOptions | None
    ) -> bool:
        """Refuse what rules and objectives ask of metrics and of each other that is not there; tells whether all is."""
        labels = self._given.get("labels", {})
        general = labels if isinstance(labels, dict) else {}
        before = len(self._read.problems)
        for rule in rules:
            composite = composite_problems(rule, rules, slos) if rule.kind == "composite" else ()
            for key, problem in (*rule_problems(rule, metrics, general), *composite):
                self._refuse(f'rule "{rule.name}".{key}', problem)
        for slo in slos:
            for key, problem in slo_problems(slo, metrics, window):
                self._refuse(f'slo "{slo.name}".{key}', problem)
        return len(self._read.problems) == before

    def _check_matches(self, routes: list[RouteOptions], policy: PolicyOptions, rules: list[RuleOptions]) -> None:
        """Refuse rules and severities that are not there: what is to match them would never take effect."""
        if not self._read.problems:
            for key, problem in unmet(matches_of(routes, policy.inhibits, policy.mutes), rules):
                self._refuse(key, problem)


def metric_problems(metric: MetricOptions, dataset: Dataset) -> list[tuple[str, str]]:
    """Give (key, problem) for what a metric asks of its dataset that it does not have."""
    kinds = dataset.kinds
    out: list[tuple[str, str]] = []
    for key in ("where", "bad", "good"):
        text = getattr(metric, key)
        if text:
            try:
                out += [(key, problem) for problem in Expression.parse(text, dataset.predicates).check(kinds)]
            except ExpressionError as error:
                out.append((key, f"{error} in {text!r}"))
    wanted = "string" if metric.kind == "distinct" else "number"
    for key, name, kind in (
        *(("group_by", name, "string") for name in metric.group_by),
        ("value", metric.value, wanted),
    ):
        if name and name not in kinds:
            out.append((key, no_such("field", name, kinds)))
        elif name and kinds[name] != kind:
            out.append((key, f"{name} is a {kinds[name]}, and a {kind} is needed"))
    return out


def built_in_text() -> str:
    """Give the built-in pack as TOML."""
    return resources.files("flows").joinpath("builtin.toml").read_text()


def _built(kafka: KafkaOptions | None, options: DatasetOptions) -> Dataset:
    """Make a dataset with the labels of its topics."""
    return build_dataset(options, kafka.labels_of(options.name) if kafka else {})


def _fits(metric: MetricOptions, dataset: Dataset) -> bool:
    """Tell whether a dataset of the user's own has what a metric of the pack needs."""
    return not metric_problems(metric, dataset)


def _plain(value: Any) -> Any:
    """Give TOML values as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
