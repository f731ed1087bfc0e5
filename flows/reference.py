"""Reference: docs/configuration.md, every key of a configuration with type, unit, default, meaning and an example.

Written from the option classes, as the example file is: `python -m flows.reference > docs/configuration.md` writes it
again, and tests fail where it is stale, or where an option says nothing of itself.
"""

import dataclasses
import datetime
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from connectors.kafka_options import TopicOptions
from flows.example import GENERAL, SHOWN, TABLES, value_of
from flows.hold import Hold
from flows.kind_options import Baseline, NoData
from flows.metric import KINDS
from flows.options import toml_key
from flows.rule import Flap, Override, Thresholds
from flows.rule_test_options import ExpectOptions, RuleTestOptions, SaidOptions, SeriesOptions, SilencedOptions

TEST_TABLES: list[tuple[str, type[Any]]] = [
    ("[test]", RuleTestOptions),
    ("[test.series]", SeriesOptions),
    ("[test.silence]", SilencedOptions),
    ("[test.expect]", ExpectOptions),
    ("[test.notification]", SaidOptions),
]
# Tables inside of others, by the table that has them; where several have one, the first.
INNER: list[tuple[str, type[Any], str]] = [
    ("topics.NAME", TopicOptions, "input.kafka"),
    ("above and below", Thresholds, "[rule]"),
    ("for", Hold, "[rule]"),
    ("flap", Flap, "[rule]"),
    ("overrides", Override, "[rule]"),
    ("no_data", NoData, "[rule]"),
    ("baseline", Baseline, "[rule]"),
]
_HEAD = """\
# Configuration reference

Every key of a configuration (TOML), written from the option classes by `python -m flows.reference`: edit those, not this page.
`flows/example.toml` has the same keys as one valid file. `edgewatch check -c FILE` says all problems of a file at once, and
which key was probably meant by one that it does not know.

- **Durations** are strings: `"90s"`, `"5m"`, `"1h"`, `"1d"`, `"250ms"`; fractions too (`"1.5h"`).
- **Secrets** are read at each start: `"env:NAME"` from the environment, `"file:PATH"` from a file (relative to the
  configuration's folder), or the value itself. They show in no log, error or table.
- **Labels** match as a table (`{ team = "shop" }`, all must hold; a value `"=~a.*"` is an expression) or as an array of
  `name=value`, `name!=value`, `name=~"expression"` and `name!~"expression"`.
- **Expressions** (`where`, `bad`, `good`) compare columns with literals: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`,
  `contains`, `starts_with`, `ends_with`, joined by `and`, `or`, `not` and parentheses; a dataset may name some
  (`is_user_request`, [datasets](datasets.md)). A comparison with a value that is not there is false.
- **Statistics**, by kind of metric: {statistics}. A `rate` is per second, a `ratio` a share.
- A share is a number from 0 to 1. "Of the statistic": in the unit of the value that the rule judges.
- A key whose default is *required* must be given where its table is.
- Tables may be left out. `[window]`, `[engine]`, `[health]`, `[observe]`, `[status_page]` and `[dashboard]` then have their
  defaults. Without `[[metric]]` and `[[rule]]` the built-in pack applies, and without `[channel.NAME]` the console. Without
  `[[route]]` critical alerts go to all channels, and others to all but pagers.

"""
_GENERAL = "## General\n\nKeys before the first table.\n\n"
_TESTS = """\
## Files of rule tests

What [`edgewatch test`](testing-rules.md) reads. Times are since the start of a test.

"""
_ROW = "| key | type | default | meaning | example |\n|---|---|---|---|---|\n"
_PLAIN = {
    str: "string",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime.datetime: "time",
}

Column = dataclasses.Field[Any]


# Examples of what has no default to show and does not fit into the one file of all options; see SHOWN.
_MORE: dict[str, dict[str, str]] = {
    "input.kafka.topics.NAME": {
        "dataset": '"performance"',
        "allowed_lateness": '"2m"',
        "labels": '{ zone = "eu" }',
    },
    "engine": {"token": '"env:EDGEWATCH_TOKEN"'},
    "receive": {
        "drop": '["ClientRequestUserAgent"]',
        "tls_certificate": '"tls/fullchain.pem"',
        "tls_key": '"tls/key.pem"',
        "proxies": '["127.0.0.1"]',
    },
    "[probe]": {
        "location": '"fra"',
        "ca_file": '"ca.pem"',
        "contains": '["\\"status\\":\\"ok\\""]',
        "lacks": '["maintenance"]',
        "equals": '{ "checks.database" = "ok" }',
        "max": '"2s"',
        "step": '[{ name = "home", url = "/" }]',
    },
    "[probe.step]": {
        "headers": '{ Authorization = "Bearer ${token}" }',
        "form": '{ user = "probe", password = "${password}" }',
        "contains": '["Welcome"]',
        "lacks": '["try again"]',
    },
    "[dataset]": {
        "numbers": '{ took_ms = "request.durationMs" }',
        "strings": '{ route = "request.route", id = "request.id" }',
        "flags": '{ cached = "cache.hit" }',
        "identity": '"id"',
        "paths": '["route"]',
        "weight": '"sample_interval"',
        "csv": '["at", "route", "took_ms"]',
        "dedup": '["ray_id"]',
        "rename": '{ "ray-id" = "RayID" }',
    },
    "[metric]": {"value": '"EdgeTimeToFirstByteMs"', "good": '"served_from_cache"', "unit": '"ms"'},
    "[rule]": {
        "below": "{ warning = 0.7, critical = 0.5 }",
        "baseline": '{ against = "week", windows = 2 }',
        "budgets": '{ "/api/login" = 300, "*" = 2000 }',
        "by": '"ClientRequestPath"',
        "capacity": "500.0",
        "min_bad": "10",
        "guard": '"wilson"',
        "repeat_backoff": "2.0",
        "max_repeats": "3",
        "all": '["failing", "slow_responses"]',
        "any": '["failing", "slow_responses"]',
    },
    "rule.above and below": {"warning": "0.01", "critical": "0.05"},
    "rule.overrides": {
        "match": '{ ClientRequestHost = "admin.example.com" }',
        "above": "{ critical = 0.1 }",
        "below": "{ critical = 0.3 }",
        "recover": "0.05",
    },
    "[slo]": {"threshold_ms": "800.0", "keys": '"total"', "runbook": '"docs/runbooks/failing.md"'},
    "[route]": {"escalate_to": '["oncall"]'},
    "[mute]": {"days": "[1, -1]", "months": "[12]"},
    "channel.alertmanager": {
        "user": '"edgewatch"',
        "password": '"env:ALERTMANAGER_PASSWORD"',
        "token": '"env:ALERTMANAGER_TOKEN"',
    },
    "channel.email": {"port": "587", "ca_file": '"ca.pem"'},
    "channel.slack": {"token": '"env:SLACK_TOKEN"'},
    "channel.statuspage": {"keys": "{ api = 2 }"},
    "clickhouse": {"ca_file": '"ca.pem"'},
    "heartbeat": {"sentry_dsn": '"env:SENTRY_DSN"'},
    "dashboard": {"user_header": '"X-Forwarded-User"', "proxies": '["127.0.0.1"]'},
    "observe": {
        "log_topic": '"app.logs"',
        "traces_sample_rate": "0.1",
        "otlp": '{ endpoint = "http://127.0.0.1:4318" }',
        "trace_url": '"https://traces.example.com/{trace_id}"',
    },
    "observe.otlp": {"sample_rate": "0.1"},
    "[test]": {
        "name": '"a failing checkout pages at once"',
        "rules": '["slow"]',
        "series": '[{ metric = "checkout_errors", values = "0.01x5 0.2x3" }]',
        "silence": '[{ match = { team = "shop" }, end = "1h" }]',
        "expect": '[{ at = "25m", rule = "slow", state = "firing" }]',
        "notification": '[{ at = "15m", rule = "slow", reason = "first" }]',
        "message": '[{ at = "15m", rule = "slow", grouped = true }]',
    },
    "[test.series]": {
        "metric": '"checkout_errors"',
        "key": '{ ClientRequestHost = "a.example.com" }',
        "statistic": '"ratio"',
        "values": '"0.001x2 0.2x2 _ 0.0x2"',
        "counts": '"5000x2 1000"',
    },
    "[test.silence]": {"match": '{ team = "shop" }', "end": '"1h"', "reason": '"deployment"'},
    "[test.expect]": {
        "at": '"25m"',
        "rule": '"slow"',
        "key": '{ ClientRequestHost = "a.example.com" }',
        "state": '"firing"',
        "severity": '"critical"',
        "level": '"ok"',
        "suppressed_by": '"inhibit"',
        "value": "0.2",
        "count": "5000",
    },
    "[test.notification]": {
        "at": '"25m"',
        "rule": '"slow"',
        "key": '{ ClientRequestHost = "a.example.com" }',
        "reason": '"first"',
        "status": '"firing"',
        "severity": '"critical"',
        "channels": '["chat", "pager"]',
        "grouped": "true",
        "title": '"slow: critical"',
    },
}
_TEMPLATES = {"title": '"{{ severity|upper }} {{ rule }}"', "text": '"{{ text }}"'}


def reference_text() -> str:
    """Give the page's text."""
    general = "".join(_row(key, kind, default, text, shown) for key, kind, default, shown, text in GENERAL)
    return (
        _HEAD.replace("{statistics}", "; ".join(f"{kind}: {_codes(names)}" for kind, names in KINDS.items()))
        + _contents()
        + f"{_GENERAL}{_ROW}{general}\n"
        + "".join(_section(name, kind) for name, kind in TABLES)
        + _TESTS
        + "".join(_section(name, kind) for name, kind in TEST_TABLES)
    ).rstrip("\n") + "\n"


def sections() -> Iterator[tuple[str, type[Any]]]:
    """Give (name, option class) of all tables, inner ones too; names of arrays are in brackets."""
    yield from TABLES
    yield from ((f"{table.strip('[]')}.{name}", kind) for name, kind, table in INNER)
    yield from TEST_TABLES


def example_of(name: str, column: Column) -> str:
    """Give an example of a key as TOML, or "" where there is none."""
    key = toml_key(column)
    found = (
        _MORE.get(name, {}).get(key)
        or (_TEMPLATES.get(key) if name.startswith("channel.") else "")
        or SHOWN.get(name, {}).get(key)
    )
    found = found or value_of(_default(column), duration=bool(column.metadata.get("duration")))
    inner = '{ dataset = "performance", allowed_lateness = "2m" }'
    return found.replace("{ TOPIC }", inner) if found and found not in ('""', "[]", "{}") else ""


def type_of(hint: Any, column: Column | None = None) -> str:
    """Say what a key takes, with links to the tables that are explained here."""
    about = column.metadata if column else {}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if about.get("duration"):
        return "duration"
    if about.get("secret") and origin not in (dict, tuple):
        return "secret"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_of(each) for each in arguments if each is not type(None)))
    held = arguments[1] if origin is dict else (*arguments, None)[0]
    item = "secret" if about.get("secret") and held is str else ""
    if origin is tuple:
        return f"array of {_many(item or type_of(arguments[0]))}"
    if origin is dict:
        return f"table of {_many(item or type_of(arguments[1]))}"
    return _link(hint) if dataclasses.is_dataclass(hint) else _PLAIN[hint]


def _many(name: str) -> str:
    """Give several of a kind: `strings`, `strings or tables`."""
    kinds = [re.sub(r"^(string|whole number|number|secret|\[table)\b", r"\1s", each) for each in name.split(" or ")]
    return "any values" if len(kinds) > len(_PLAIN) - 1 else " or ".join(kinds)


def _link(kind: Any) -> str:
    for name, other in sections():
        if other is kind:
            return f"[table](#{_slug(_heading(name))})"
    message = f"{kind.__name__} is a table that no section explains"
    raise LookupError(message)


def _heading(name: str) -> str:
    if name.endswith("]") or any(name == each for each, _ in TABLES):
        return f"[{name}]"
    return name


def _slug(heading: str) -> str:
    """Give the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _contents() -> str:
    names = ["General", *(_heading(name) for name, _ in TABLES), *(_heading(name) for name, _ in TEST_TABLES)]
    return " · ".join(f"[{name.strip('[]')}](#{_slug(name)})" for name in names) + "\n\n"


def _section(name: str, kind: type[Any], level: int = 2) -> str:
    hints = typing.get_type_hints(kind)
    rows = []
    for column in dataclasses.fields(kind):
        about = column.metadata
        takes = type_of(hints[column.name], column) + (f", {about['unit']}" if "unit" in about else "")
        rows.append(_row(toml_key(column), takes, _shown_default(column), about.get("help", ""), example_of(name, column)))
    inner = "".join(_section(f"{name.strip('[]')}.{each}", made, 3) for each, made, table in INNER if table == name)
    return f"{'#' * level} {_heading(name)}\n\n{_words(kind)}\n\n{_ROW}{''.join(rows)}\n{inner}"


def _words(kind: type[Any]) -> str:
    """Give what a class says of itself, on one line."""
    return " ".join((kind.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def _row(key: str, takes: str, default: str, text: str, shown: str) -> str:
    code = default if default in ("", "*required*") else f"`{default}`"
    example = f"`{key} = {shown}`" if shown else ""
    return "| " + " | ".join(each.replace("|", r"\|") for each in (f"`{key}`", takes, code, text, example)) + " |\n"


def _shown_default(column: Column) -> str:
    default = _default(column)
    if default is dataclasses.MISSING:
        return "*required*"
    if isinstance(default, Hold):
        return f"{{ warning = {default.warning}, critical = {default.critical} }}"
    return value_of(default, duration=bool(column.metadata.get("duration"))) or ""


def _default(column: Column) -> Any:
    made = column.default_factory
    return made() if made is not dataclasses.MISSING else column.default


if __name__ == "__main__":
    sys.stdout.write(reference_text())
