"""Checks: what `edgewatch check` says of a configuration, and what it asks the services that it names."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.archive import Reading
from connectors.native import available
from connectors.source import SourceError
from flows.blindness import channels_of
from flows.config import Config
from flows.early import early_severity
from flows.kind_options import Baseline
from flows.kinds import SLO
from flows.label_checks import matches_of, strangers
from flows.line import build_line
from flows.matcher import parse_match
from flows.route import Route, routes_of
from flows.rule import RuleOptions
from flows.slo import DAY_MS, SloOptions
from flows.vain import endless, untaken
from sinks.clickhouse import ClickHouse
from sinks.notification import DeliveryError

_TIMEOUT_S = 10.0
_SAMPLE = 5000  # messages of each partition whose lateness is measured


@dataclass(frozen=True, slots=True)
class Checked:
    """One service that was asked."""

    what: str
    ok: bool
    words: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"what": self.what, "ok": self.ok, "words": self.words} | ({"facts": self.facts} if self.facts else {})


def describe(config: Config) -> dict[str, str]:
    """Say in a few lines what a configuration does."""
    topics = [f"{topic} -> {dataset}" for topic, dataset in config.topic_datasets().items()]
    slos = {f"{SLO}{slo.name}": slo for slo in config.slos}
    rules = [f"{rule.name} ({_judged(rule, slos)})" for rule in config.rules]
    tree = routes_of(config.routes)
    mutes = [mute.name for mute in config.policy.mutes]
    inhibits = [f"{parse_match(each.source)} quiets {parse_match(each.target)}" for each in config.policy.inhibits]
    window = config.window
    every = "" if window.pane_ms == window.length_ms else f" every {window.pane_ms // 1000} s"
    matches = matches_of(config.routes, config.policy.inhibits, config.policy.mutes)
    metrics = {metric.name: metric for metric in config.metrics}
    strange = "; ".join(strangers(matches, config.policy.inhibits, config.rules, metrics, config.labels))
    vain = {
        "no alert has": f"{strange}; so it never matches" if strange else "",
        "no alert gets to": "; ".join(untaken(tree)),
        "never over": "; ".join(endless(config.rules, metrics)),
    }
    return {
        "configuration": f"{config.source}, version {config.version}, environment {config.environment}",
        "topics": "; ".join(topics) or "none (replay an archive with --source archive:DIR)",
        "decoding": "native" if available() else "in Python, at a third of the speed: installed without a C compiler",
        "window": f"{window.length_ms // 1000} s{every}, allowed lateness {window.allowed_lateness_ms // 1000} s",
        "metrics": ", ".join(metric.name for metric in config.metrics) or "none",
        "rules": "; ".join(rules) or "none",
        "routes": "; ".join(_routes(tree)),
        "kept quiet": "; ".join([*inhibits, *(f"mute {name}" for name in mutes)]) or "nothing but by `edgewatch silence`",
        "runbooks": _runbooks(config),
        "blindness": _blindness(config),
        "clickhouse": config.clickhouse.url if config.clickhouse else "none",
    } | {name: words for name, words in vain.items() if words}


def _runbooks(config: Config) -> str:
    """Say how many rules have one, and which of these alerts cannot quote."""
    named = [rule.name for rule in config.rules if rule.runbook]
    unread = "".join(f"; {name}: {problem}, so its alerts carry no steps" for name, problem in config.unread_runbooks.items())
    return f"{len(named)} of {len(config.rules)} rules have one{unread}"


def _routes(routes: Iterable[Route], before: str = "") -> Iterator[str]:
    """Write each route with those around it, as in `warning of team="edge" > critical -> pager`."""
    for route in routes:
        severities = "/".join(route.severity)
        chosen = before + (f"{severities} of {route.matchers}" if route.matchers.all else severities)
        second = f", and {', '.join(sorted(route.second[1]))} {route.second[0] // 1000} s later" if route.second else ""
        yield f"{chosen} -> {', '.join(route.channels)}{second}"
        yield from _routes(route.inner, f"{chosen} > ")


def _blindness(config: Config) -> str:
    """Say who hears when the line itself does not see."""
    if not config.health.enabled:
        return "not judged: nobody hears when the broker is gone or records cannot be read"
    return f"pipeline_blind -> {', '.join(sorted(channels_of(config)))}"


def _judged(rule: RuleOptions, slos: Mapping[str, SloOptions]) -> str:  # noqa: PLR0911 (one return a kind)
    """Say what a rule judges."""
    what = f"{rule.metric} {rule.statistic}"
    match rule.kind:
        case "absence":
            return f"{rule.metric} silent, {_limits(rule, 'from', 1)} windows"
        case "composite":
            return f"{'all' if rule.all_ else 'any'} of {', '.join(rule.members)}"
        case "slo":
            slo = slos[rule.name]
            return f"{slo.metric}, {slo.objective * 100:g} % over {slo.period_ms // DAY_MS} d"
        case "event":
            when = "at once" if early_severity(rule) else "when their window closes"
            return f"{rule.metric}, {_limits(rule, 'above')}, {when}"
        case "budget":
            return f"{what}, {len(rule.budgets)} budgets by {rule.by}"
        case "capacity":
            return f"{what} of {rule.capacity:g}, {_limits(rule, 'above')}"
        case "change":
            baseline = rule.baseline or Baseline()
            side = "above" if rule.above else "below"
            return f"{what} against {baseline.looks_at} {baseline.against}, {baseline.measure} {_limits(rule, side)}"
    return f"{what}, {_limits(rule, 'above' if rule.above else 'below')}"


def _limits(rule: RuleOptions, side: str, more: int = 0) -> str:
    pairs = (("warning", rule.thresholds.warning), ("critical", rule.thresholds.critical))
    return ", ".join(f"{name} {side} {value + more:g}" for name, value in pairs if value is not None)


def online_checks(config: Config, told: Callable[[int], None] = lambda _: None) -> list[Checked]:
    """Ask Kafka for the topics and how late their records come, and ClickHouse for its version, bringing its schema up to date.

    `told` hears how many records were read so far.
    """
    out = []
    if config.kafka is not None:
        out += _kafka(config, told)
    if config.clickhouse is not None:
        out.append(_clickhouse(config))
    names = ", ".join(config.channels)
    out.append(Checked("channels", ok=True, words=f"{names}: valid; not asked, because asking would say something"))
    return out


def _kafka(config: Config, told: Callable[[int], None]) -> list[Checked]:
    from connectors.kafka import look_at_partitions  # noqa: PLC0415 (only this check needs a client)
    from connectors.lateness import measure  # noqa: PLC0415
    from flows.lateness import facts, is_fine, words  # noqa: PLC0415

    assert config.kafka is not None  # noqa: S101 (the caller has looked)
    allowed = config.window.allowed_lateness_ms
    out: list[Checked] = []
    try:
        partitions = look_at_partitions(config.kafka, allowed_lateness_ms=allowed, timeout_s=_TIMEOUT_S)
        topics = Counter(partition.topic for partition in partitions)
        out += [Checked("kafka", ok=True, words=f"topic {name}: {count} partitions") for name, count in topics.items()]
        measured = measure(config.kafka, _reading(config), partitions, messages=_SAMPLE, told=told)
    except SourceError as error:
        return [*out, Checked("kafka", ok=False, words=str(error))]
    return [*out, *(Checked(f"lateness of {m.topic}", ok=is_fine(m), words=words(m), facts=facts(m)) for m in measured)]


def _reading(config: Config) -> Reading:
    line, window = build_line(config), config.window
    return Reading(
        datasets=line.datasets,
        fields=line.fields(),
        pane_ms=window.pane_ms,
        length_ms=window.length_ms,
        allowed_lateness_ms=window.allowed_lateness_ms,
        max_ahead_ms=window.max_ahead_ms,
        chunk_records=_SAMPLE,
    )


def _clickhouse(config: Config) -> Checked:
    assert config.clickhouse is not None  # noqa: S101
    client = ClickHouse(config.clickhouse)
    try:
        version = client.ping()
        done = client.migrate()
    except DeliveryError as error:
        return Checked("clickhouse", ok=False, words=f"{config.clickhouse.url}: {error}")
    finally:
        client.close()
    schema = "; ".join(done) or "schema up to date"
    return Checked("clickhouse", ok=True, words=f"{config.clickhouse.url}: version {version}; {schema}")
