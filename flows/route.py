"""Route: who hears of an alert, by its labels and severity.

The first route that fits takes the alert; one with `continue` takes it and lets those behind it have it too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flows.labels import SEVERITY_NAMES, Labels, Subject
from flows.matcher import Match, match_problems, parse_match
from flows.rule import CRITICAL, WARNING, Rule

_MOST_KNOWN = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """One `[[route]]` table; the first that matches takes the notification."""

    match: Match = field(default_factory=dict, metadata={"help": "labels of the alerts it takes; empty: all"})
    severity: tuple[str, ...] = field(default=("warning", "critical"), metadata={"help": "severities it takes"})
    channels: tuple[str, ...] = field(metadata={"help": "names of channels"})
    continue_: bool = field(default=False, metadata={"help": "routes behind it may take the alert too"})
    group_by: tuple[str, ...] = field(
        default=(), metadata={"help": "labels; alerts of one window that agree in them make one message"}
    )
    limit: int = field(default=50, metadata={"help": "messages of one window, at chat channels; the rest is one digest"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        yield from (("match", problem) for problem in match_problems(self.match))
        if not self.severity:
            yield "severity", "is empty, so the route takes nothing; leave it out for any severity"
        for name in self.severity:
            if name not in ("warning", "critical"):
                yield "severity", f"{name!r} is not a severity; allowed: warning, critical"
        if self.limit < 1:
            yield "limit", f"must be at least 1, not {self.limit}"


class Routes:
    """Chooses among routes; where labels decide, a choice is made once for each alert and severity."""

    def __init__(self, routes: Sequence[RouteOptions], labels: Labels) -> None:
        """Make the routes ready."""
        self._routes = tuple(routes)
        self._labels = labels
        self._matchers = [parse_match(route.match) for route in routes]
        self._plain = not any(matchers.all for matchers in self._matchers)
        self._known: dict[Subject | int, tuple[int, ...]] = {}
        if self._plain:
            self._known = {code: self._choose({}, code) for code in (WARNING, CRITICAL)}

    def taken(self, rule: Rule, key: str, severity: int) -> tuple[int, ...]:
        """Give the numbers of the routes that take an alert, in their order."""
        if self._plain:
            return self._known[severity]
        subject = Subject(rule.options.name, key, severity)
        found = self._known.get(subject)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[subject] = self._choose(self._labels.of(rule, key, severity), severity)
        return found

    def channels(self, taken: Iterable[int]) -> frozenset[str]:
        """Give the channels of routes."""
        return frozenset(name for number in taken for name in self._routes[number].channels)

    def _choose(self, labels: dict[str, str], severity: int) -> tuple[int, ...]:
        found = []
        for number, (route, matchers) in enumerate(zip(self._routes, self._matchers, strict=True)):
            if SEVERITY_NAMES[severity] in route.severity and matchers.matches(labels):
                found.append(number)
                if not route.continue_:
                    break
        return tuple(found)
