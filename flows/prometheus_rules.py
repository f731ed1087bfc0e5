"""Prometheus rules: alerts of a rule file as tables of edgewatch's metrics and rules, and why the others have none.

A series is translated to the records that it counts: a request counter to user requests, its labels to their fields.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from flows.promql import Selector, Shape, Untranslatable, alternatives, shape_of

Table = dict[str, Any]

REQUESTS = (
    *("http_requests_total", "http_request_total", "http_server_requests_total", "nginx_http_requests_total"),
    *("nginx_ingress_controller_requests", "traefik_service_requests_total", "traefik_entrypoint_requests_total"),
    *(
        "haproxy_frontend_http_requests_total",
        "traefik_backend_requests_total",
        "istio_requests_total",
        "envoy_cluster_upstream_rq",
    ),
)
TIMES = {  # histograms of how long requests take -> milliseconds in their unit
    **dict.fromkeys(
        ("http_request_duration_seconds", "http_server_requests_seconds", "http_server_request_duration_seconds"), 1000.0
    ),
    **dict.fromkeys(("nginx_ingress_controller_request_duration_seconds", "traefik_service_request_duration_seconds"), 1000.0),
    **dict.fromkeys(("traefik_entrypoint_request_duration_seconds", "nginx_http_request_duration_seconds"), 1000.0),
    "istio_request_duration_milliseconds": 1.0,
}
LABELS = {
    **dict.fromkeys(
        ("code", "status", "status_code", "http_status", "http_status_code", "response_code"), "EdgeResponseStatus"
    ),
    **dict.fromkeys(("host", "vhost", "domain", "server_name", "http_host"), "ClientRequestHost"),
    **dict.fromkeys(("path", "uri", "url", "route", "handler", "endpoint"), "ClientRequestPath"),
    **dict.fromkeys(("method", "http_method", "verb"), "ClientRequestMethod"),
    "country": "ClientCountry",
}
_STATUS = "EdgeResponseStatus"
_STATUS_CLASS = re.compile(r"([1-5])(?:\.\.|xx|\.\*|\.\+|\\d\\d|\\d\{2\}|\[0-9\]\{2\}|\[0-9\]\[0-9\])")
_QUANTILES = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99", 0.999: "p999"}
_SEVERE = {"critical", "page", "pager", "error", "emergency", "fatal", "high", "p1", "sev1"}
_MILD = {"warning", "warn", "ticket", "medium", "low", "p2", "p3", "sev2", "sev3"}
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNITS_S = (31_536_000.0, 604_800.0, 86_400.0, 3600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a user says a metric is: a statistic of a metric that is there; limits are multiplied by `scale`."""

    metric: str
    statistic: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """How series and labels are translated; a label of "" is left out. `known` are the metrics that may be named."""

    metrics: Mapping[str, Mapped] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Table] = field(default_factory=dict)
    window_s: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One rule of a file: translated to a rule and its metric, with notes; or `refused`, with the reason."""

    group: str
    alert: str
    rule: Table = field(default_factory=dict)
    metric: Table = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    text: str = ""
    refused: str = ""


def read(text: str, words: Vocabulary) -> list[Found]:
    """Translate the rules of a file (Prometheus's, or a PrometheusRule of its operator); raises ValueError for another file."""
    try:
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from error
    groups = [group for each in documents for group in _groups(each)]
    taken: set[str] = set()
    found = []
    for group, rule in groups:
        alert = str(rule.get("alert") or rule.get("record") or "?")
        try:
            translated = _translated(group, alert, rule, words)
        except Untranslatable as why:
            found.append(Found(group=group, alert=alert, refused=str(why)))
            continue
        name = _free(translated.rule["name"], taken)
        found.append(_named(translated, name, words))
    return found


def _groups(document: Any) -> Iterator[tuple[str, Table]]:
    held = document.get("spec", document) if isinstance(document, dict) else {}
    groups = held.get("groups") if isinstance(held, dict) else None
    if not isinstance(groups, list):
        raise ValueError("it has no `groups:` of rules")  # noqa: TRY004 (it is the file's value that is wrong)
    for number, group in enumerate(groups, 1):
        name = str(group.get("name", f"#{number}")) if isinstance(group, dict) else f"#{number}"
        for rule in (group.get("rules") or []) if isinstance(group, dict) else []:
            if not isinstance(rule, dict):
                raise ValueError(f"group {name}: a rule is no mapping")  # noqa: TRY004
            yield name, rule


def _translated(group: str, alert: str, given: Table, words: Vocabulary) -> Found:
    if "alert" not in given:
        raise Untranslatable("a recording rule: metrics of edgewatch are counted from records, see [[metric]]")
    text = str(given.get("expr", ""))
    shape = shape_of(text)
    labels = {str(name): str(value) for name, value in (given.get("labels") or {}).items()}
    severity, notes = _severity(labels.pop("severity", ""))
    rule: Table = {"name": _snake(alert)}
    mapped = words.metrics.get(shape.of.name)
    metric = _counted(shape, words, rule, notes) if mapped is None else _mapped(shape, mapped, words, rule, notes)
    if shape.kind == "absent":
        rule |= {"after": _windows(given.get("for"), words), "severity": severity}
    else:
        side = "above" if shape.operator in (">", ">=") else "below"
        rule[side] = {severity: float(f"{rule.pop('limit'):.12g}")}
        rule["for"] = _windows(given.get("for"), words)
        if shape.least:
            rule["min_count"] = math.ceil(shape.least * words.window_s)
        if shape.operator in (">=", "<="):
            notes.append(f"{shape.operator} is judged as {shape.operator[0]}")
    if "keep_firing_for" in given:
        rule["clear"] = _windows(given["keep_firing_for"], words)
    _add_words(rule, given, labels, notes)
    return Found(group=group, alert=alert, rule=rule, metric=metric, notes=tuple(notes), text=" ".join(text.split()))


def _counted(shape: Shape, words: Vocabulary, rule: Table, notes: list[str]) -> Table:
    """Give the metric of user requests that a shape counts; the rule gets its statistic and limit."""
    _must_be_known(shape)
    if shape.by is None:
        raise Untranslatable("each series is judged by itself; say by which labels: sum by (host) (...)")
    grouped = [each for label in shape.by if (each := _field(label, words))]
    if _STATUS in grouped:
        raise Untranslatable("by the status: it is a number here; write a rule for each class of it")
    among = shape.among or shape.of
    where = " and ".join(["is_user_request", *_conditions(among, words)])
    metric: Table = {"kind": "count", "dataset": "http_requests", "where": where}
    if shape.kind == "ratio":
        extra = Selector("", tuple(each for each in shape.of.matchers if each not in among.matchers))
        metric |= {"kind": "ratio", "bad": " and ".join(_conditions(extra, words))}
        if not metric["bad"]:
            raise Untranslatable("both parts of the ratio count the same")
    elif shape.kind in ("quantile", "mean"):
        metric |= {"kind": "distribution", "value": "EdgeTimeToFirstByteMs", "unit": "ms"}
    if grouped:
        metric["group_by"] = grouped
    if shape.kind == "absent":
        rule |= {"kind": "absence", "keys": "total"}
    else:
        rule["statistic"], rule["limit"] = _statistic(shape, words, notes)
        rule["keys"] = "groups" if grouped else "total"
    return metric


def _must_be_known(shape: Shape) -> None:
    name = shape.of.name
    if shape.kind in ("quantile", "mean"):
        if name not in TIMES:
            raise Untranslatable(f"{name} is not known as the time of requests; say what it is: --map {name}=METRIC.STATISTIC")
    elif name not in REQUESTS and not (name.endswith("_count") and name.removesuffix("_count") in TIMES):
        raise Untranslatable(f"{name} is not known as a count of requests; say what it is: --map {name}=METRIC.STATISTIC")
    elif shape.kind == "value":
        raise Untranslatable(f"{name} is a counter, whose value alone says nothing; give rate() or increase() of it")


def _statistic(shape: Shape, words: Vocabulary, notes: list[str]) -> tuple[str, float]:
    """Give the statistic that is judged, and the limit in its unit."""
    if shape.of.range_s and shape.of.range_s != words.window_s:
        notes.append(f"the range of {shape.of.range_s:g} s becomes the window of {words.window_s} s")
    match shape.kind:
        case "ratio":
            return "ratio", shape.limit
        case "quantile":
            if shape.quantile not in _QUANTILES:
                raise Untranslatable(f"the quantile {shape.quantile:g}: there are 0.5, 0.9, 0.95, 0.99 and 0.999")
            return _QUANTILES[shape.quantile], shape.limit * TIMES[shape.of.name]
        case "mean":
            return "mean", shape.limit * TIMES[shape.of.name]
        case "increase":
            return "count", shape.limit * words.window_s / shape.of.range_s
    return "rate", shape.limit


def _mapped(shape: Shape, mapped: Mapped, words: Vocabulary, rule: Table, notes: list[str]) -> Table:
    """Give the metric that a user named; what it counts is not looked at, so selections must be left out by name."""
    if mapped.metric not in words.known:
        raise Untranslatable(f"--map {shape.of.name}: no metric {mapped.metric!r}; there are: {', '.join(words.known)}")
    for label, operator, value in shape.of.matchers + (shape.among.matchers if shape.among else ()):
        if _field(label, words):
            raise Untranslatable(
                f"{label}{operator}{value!r} selects a part of {shape.of.name}, and {mapped.metric} is mapped as a whole;"
                f" --label {label}= leaves it out"
            )
    metric = dict(words.known[mapped.metric])
    asked = {each for label in shape.by or () if (each := _field(label, words))}
    if asked - set(metric.get("group_by", ())):
        raise Untranslatable(f"by ({', '.join(sorted(asked))}): {mapped.metric} has group_by {metric.get('group_by', [])}")
    if shape.kind == "absent":
        rule |= {"kind": "absence", "keys": "total"}
        return metric | {"keep": mapped.metric}
    alone = shape.by is None and "group_by" in metric
    keys = "groups" if asked or alone else "total"
    rule |= {"statistic": mapped.statistic, "limit": shape.limit * mapped.scale, "keys": keys}
    notes.append(f"{shape.kind} of {shape.of.name} is {mapped.metric}.{mapped.statistic}, as --map says")
    return metric | {"keep": mapped.metric}


def _conditions(selector: Selector, words: Vocabulary) -> list[str]:
    out = []
    for label, operator, value in selector.matchers:
        if name := _field(label, words):
            out.append(_condition(name, operator, value))
    return out


def _condition(name: str, operator: str, value: str) -> str:
    parts = list(_statuses(value) if name == _STATUS else alternatives(value)) if operator in ("=~", "!~") else [value]
    if name == _STATUS:
        tests = [_status(part) for part in parts]
        joined = " or ".join(tests)
        joined = f"({joined})" if len(tests) > 1 or " and " in joined else joined
        return f"not {joined if joined.startswith('(') else f'({joined})'}" if operator.startswith("!") else joined
    quoted = ", ".join(_quoted(part) for part in parts)
    if len(parts) == 1:
        return f"{name} {'!=' if operator.startswith('!') else '=='} {quoted}"
    return f"{name} {'not in' if operator.startswith('!') else 'in'} ({quoted})"


def _statuses(pattern: str) -> Iterator[str]:
    inner = pattern.removeprefix("^").removesuffix("$")
    inner = inner[1:-1] if inner.startswith("(") and inner.endswith(")") else inner
    if found := re.fullmatch(r"\[([1-5])-?([1-5])\](?:\.\.|\.\*|\d\d|\[0-9\]\{2\})", inner):
        low, high = sorted(map(int, found.groups()))
        span = range(low, high + 1) if "-" in inner[:5] else (low, high)
        yield from (f"{each}.." for each in span)
        return
    yield from inner.split("|")


def _status(text: str) -> str:
    if found := _STATUS_CLASS.fullmatch(text):
        low = int(found[1]) * 100
        return f"{_STATUS} >= {low} and {_STATUS} < {low + 100}" if low < 500 else f"{_STATUS} >= {low}"  # noqa: PLR2004
    if not text.isdigit():
        raise Untranslatable(f"the status {text!r}: only numbers, classes such as 5.. and a choice of them are translated")
    return f"{_STATUS} == {int(text)}"


def _field(label: str, words: Vocabulary) -> str:
    """Give the field of a label, "" where it is left out."""
    name = words.labels.get(label, LABELS.get(label))
    if name is None:
        raise Untranslatable(
            f"the label {label}: say which field it is, --label {label}=FIELD, or leave it out, --label {label}="
        )
    return name


def _severity(given: str) -> tuple[str, list[str]]:
    word = given.lower()
    if word in _SEVERE:
        return "critical", []
    if word in _MILD:
        return "warning", []
    return "warning", [f"severity {given!r} becomes warning" if given else "no severity: warning"]


def _windows(duration: Any, words: Vocabulary) -> int:
    """Give how many windows in a row a duration is, at least one."""
    text = str(duration or "0s")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Untranslatable(f"the duration {text!r}")
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True))
    return max(1, math.ceil(seconds / words.window_s))


def _add_words(rule: Table, given: Table, labels: dict[str, str], notes: list[str]) -> None:
    annotations = {str(name): str(value) for name, value in (given.get("annotations") or {}).items()}
    runbook = annotations.pop("runbook_url", annotations.pop("runbook", ""))
    if runbook and "{{" not in runbook:
        rule["runbook"] = runbook
    kept = {name: value for name, value in labels.items() if "{{" not in value}
    if kept:
        rule["labels"] = kept
    notes += [f"the label {name} is a template, which rules have none of" for name in labels if name not in kept]
    if annotations:
        notes.append(f"not taken, as alerts say it themselves: {', '.join(sorted(annotations))}")


def _snake(name: str) -> str:
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", parts.lower()).strip("_") or "rule"


def _free(name: str, taken: set[str]) -> str:
    free = next(each for each in (name, *(f"{name}_{number}" for number in range(2, 10_000))) if each not in taken)
    taken.add(free)
    return free


def _named(found: Found, name: str, words: Vocabulary) -> Found:
    """Give a rule and its metric their names; one that is counted anew never has the name of one that may be mapped."""
    metric = dict(found.metric)
    metric_name = metric.pop("keep", f"{name}_imported" if name in words.known else name)
    rule = {"name": name, "metric": metric_name} | {key: value for key, value in found.rule.items() if key != "name"}
    return replace(found, rule=rule, metric={"name": metric_name} | {k: v for k, v in metric.items() if k != "name"})


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
