"""Config diff: which fields two configurations differ in, as far as that can change what is said, in words of their files."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.config import Config
from flows.metric import MetricOptions
from flows.options import toml_key
from flows.rule import RuleOptions
from flows.slo import SloOptions
from flows.sweep_axis import duration_text, number_text

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed of each rule, of each metric, and of what decides about all alerts, as in `above.critical 3000 -> 2500`."""

    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    general: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Tell whether the two say the same."""
        return not (self.rules or self.metrics or self.general)

    def why(self, rule: str, metric: str | None) -> list[str]:
        """Give what may have changed the alerts of a rule: its own fields, its metric's, else what decides about all."""
        own = list(self.rules.get(rule, ()))
        own += [f"metric {metric}: {each}" for each in self.metrics.get(metric or "", ())]
        return own or list(self.general)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        rules, metrics = ({name: list(each) for name, each in found.items()} for found in (self.rules, self.metrics))
        return {"rules": rules, "metrics": metrics, "general": list(self.general)}


def changes_between(old: Config, new: Config) -> Changes:
    """Compare two configurations."""
    return Changes(
        rules=dict(_of_tables(_rules(old), _rules(new))),
        metrics=dict(_of_tables(_metrics(old), _metrics(new))),
        general=tuple(_general(old, new)),
    )


def measured_otherwise(old: Config, new: Config) -> list[str]:
    """Give why the windows of one cannot be judged by the other; nothing where they can."""
    known = _metrics(old)
    out = []
    for name, metric in _metrics(new).items():
        if name not in known:
            out.append(f"metric {name} is new")
        elif known[name] != metric:
            out.append(f"metric {name}: {'; '.join(_fields(known[name], metric))}")
    return out + [f"[{name}] changed" for name in ("window", "datasets") if getattr(old, name) != getattr(new, name)]


def _rules(config: Config) -> dict[str, RuleOptions | SloOptions]:
    """Give rules by name, objectives in place of the rules that follow from them."""
    objectives: dict[str, RuleOptions | SloOptions] = {f"slo:{slo.name}": slo for slo in config.slos}
    return {rule.name: rule for rule in config.rules} | objectives


def _metrics(config: Config) -> dict[str, MetricOptions]:
    return {metric.name: metric for metric in config.metrics}


def _of_tables(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield name, ("was removed",)
        elif name not in old:
            yield name, ("is new",)
        elif old[name] != new[name]:
            yield name, tuple(_fields(old[name], new[name]))


def _general(old: Config, new: Config) -> Iterator[str]:
    pairs = {
        "environment": (old.environment, new.environment),
        "labels": (old.labels, new.labels),
        "[[route]]": (old.routes, new.routes),
        "[[mute]]": (old.policy.mutes, new.policy.mutes),
        "[[inhibit]]": (old.policy.inhibits, new.policy.inhibits),
        "[[dataset]]": (old.datasets, new.datasets),
        "[channel] (pagers)": (old.policy.pagers, new.policy.pagers),
    }
    yield from (f"{name} changed" for name, (before, after) in pairs.items() if before != after)
    yield from (f"window.{each}" for each in _fields(old.window, new.window))


def _fields(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the fields of two dataclasses of one kind that differ."""
    if type(old) is not type(new):
        yield f"{path or 'kind'} {type(old).__name__} -> {type(new).__name__}"
        return
    for column in dataclasses.fields(old):
        before, after = getattr(old, column.name), getattr(new, column.name)
        name = f"{path}{toml_key(column)}"
        if column.name == "for_":
            before, after = old.hold, new.hold
        if before == after:
            continue
        if dataclasses.is_dataclass(before) and type(before) is type(after):
            yield from _fields(before, after, f"{name}.")
        elif isinstance(before, tuple) and any(map(dataclasses.is_dataclass, (*before, *after))):
            yield f"{name} {_listed(before)} -> {_listed(after)}"
        else:
            ms = bool(column.metadata.get("duration"))
            yield f"{name} {_shown(before, ms=ms)} -> {_shown(after, ms=ms)}"


def _listed(values: tuple[Any, ...]) -> str:
    return "[" + ", ".join(_shown(each) for each in values) + "]"


def _shown(value: Any, *, ms: bool = False) -> str:
    """Write a value as a file has it."""
    if value is None:
        return "(none)"
    if dataclasses.is_dataclass(value):
        pairs = [(toml_key(column), getattr(value, column.name)) for column in dataclasses.fields(value)]
        return "{ " + ", ".join(f"{key} = {_shown(each)}" for key, each in pairs if each not in (None, ())) + " }"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_shown(each)}" for key, each in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return duration_text(int(value)) if ms else number_text(value)
    return repr(value) if isinstance(value, str) else str(value)
