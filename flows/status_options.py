"""Status options: the `[status_page]` table: what the static status page is called and which rules its components follow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.rule import RuleOptions
from sinks.component_status import BUILT_IN, SHOWN_WARNINGS, STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPageOptions:
    """The `[status_page]` table: which rules make which component look how, in public."""

    title: str = field(default="Status", metadata={"help": "the heading that everybody reads"})
    components: dict[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata={"help": "rules by component; default: api, database, cache, websocket by built-in rules"},
    )
    statuses: dict[str, str] = field(
        default_factory=dict, metadata={"help": "status by rule while it is critical; default major_outage"}
    )
    warnings: tuple[str, ...] = field(
        default=SHOWN_WARNINGS, metadata={"help": "rules whose warnings show as degraded_performance"}
    )

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for name, rules in self.components.items():
            if not rules:
                yield "components", f"{name} has no rule; leave it out instead"
        for rule, status in self.statuses.items():
            if status not in STATUSES[1:]:
                yield "statuses", f"{rule}: {status!r} is not one of {', '.join(STATUSES[1:])}"

    def rules_of(self, there: Sequence[RuleOptions]) -> Mapping[str, tuple[str, ...]]:
        """Give the rules of each component that are there: those named, and those with the label `component`."""
        named = {name: set(rules) for name, rules in (self.components or BUILT_IN).items()}
        for rule in there:
            if label := rule.labels.get("component"):
                named.setdefault(label, set()).add(rule.name)
        found = {name: tuple(rule.name for rule in there if rule.name in rules) for name, rules in named.items()}
        return {name: rules for name, rules in found.items() if rules}
