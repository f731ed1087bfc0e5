"""Route: who hears of an alert, by its labels and severity.

The first route that fits takes the alert; one with `continue` takes it and lets those behind it have it too. Routes may hold
routes: then those that fit inside of it take the alert in its place, and have of it what they leave out themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flows.labels import DECIDED, SEVERITY_NAMES, Fixed, Labels, fixed_labels
from flows.matcher import Match, Matchers, match_problems, parse_match
from flows.rule import CRITICAL, WARNING, Rule

_MOST_KNOWN = 100_000
_LIMIT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """One `[[route]]` table; the first that matches takes the notification."""

    match: Match = field(default_factory=dict, metadata={"help": "labels of the alerts it takes; empty: all"})
    severity: tuple[str, ...] = field(default=("warning", "critical"), metadata={"help": "severities it takes"})
    channels: tuple[str, ...] | None = field(default=None, metadata={"help": "names of channels"})
    continue_: bool = field(default=False, metadata={"help": "routes behind it may take the alert too"})
    group_by: tuple[str, ...] | None = field(
        default=None, metadata={"help": "labels; alerts of one window that agree in them make one message"}
    )
    limit: int | None = field(
        default=None, metadata={"unit": "messages", "help": "messages of one window, at chat channels; the rest is one digest"}
    )
    escalate_after_ms: int = field(
        default=0,
        metadata={"duration": True, "help": "without a pager: open and not silenced so long, others hear too; 0s: never"},
    )
    escalate_to: tuple[str, ...] = field(default=(), metadata={"help": "names of the channels that do"})
    route: tuple["RouteOptions", ...] = field(
        default=(), metadata={"tables": True, "help": "routes inside ([[route.route]]): those that fit take it instead"}
    )

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        yield from (("match", problem) for problem in match_problems(self.match))
        if not self.severity:
            yield "severity", "is empty, so the route takes nothing; leave it out for any severity"
        for name in self.severity:
            if name not in ("warning", "critical"):
                yield "severity", f"{name!r} is not a severity; allowed: warning, critical"
        if self.limit is not None and self.limit < 1:
            yield "limit", f"must be at least 1, not {self.limit}"
        if bool(self.escalate_after_ms) != bool(self.escalate_to):
            missing = "escalate_to" if self.escalate_after_ms else "escalate_after"
            yield missing, "is missing; a second route needs both escalate_after and escalate_to"
        for number, inner in enumerate(self.route, 1):
            if inner.severity and not set(inner.severity) & set(self.severity):
                yield f"route #{number}.severity", f"never comes: the route around it takes {', '.join(self.severity)} only"


@dataclass(frozen=True, slots=True)
class Route:
    """A route made ready, with what it has of the one around it; `number` counts all routes in the order of the file."""

    number: int
    path: str  # as problems name it: route #1.route #2
    matchers: Matchers
    severity: tuple[str, ...]
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    limit: int
    second: tuple[int, frozenset[str]] | None  # after how long (ms) others hear too, and who
    goes_on: bool
    inner: tuple["Route", ...]

    def tells(self, channel: str) -> bool:
        """Tell whether a channel may hear by this route."""
        return channel in self.channels or (self.second is not None and channel in self.second[1])

    def every(self) -> Iterator["Route"]:
        """Give the route and all inside of it, in the order of their numbers."""
        yield self
        for each in self.inner:
            yield from each.every()


def routes_of(options: Sequence[RouteOptions], outer: Route | None = None) -> tuple[Route, ...]:
    """Make routes ready; `outer` is the one that they are in."""
    out: list[Route] = []
    number = outer.number + 1 if outer else 0
    for place, given in enumerate(options, 1):
        bare = Route(
            number,
            f"{outer.path}.route #{place}" if outer else f"route #{place}",
            parse_match(given.match),
            given.severity,
            (outer.channels if outer else ()) if given.channels is None else given.channels,
            (outer.group_by if outer else ()) if given.group_by is None else given.group_by,
            (outer.limit if outer else _LIMIT) if given.limit is None else given.limit,
            (given.escalate_after_ms, frozenset(given.escalate_to)) if given.escalate_to else outer.second if outer else None,
            given.continue_,
            (),
        )
        route = replace(bare, inner=routes_of(given.route, bare))
        out.append(route)
        number += len(list(route.every()))
    return tuple(out)


def every_route(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Give all routes of a tree by their numbers."""
    return tuple(each for route in routes for each in route.every())


def taken_by(routes: Iterable[Route], labels: Mapping[str, str], severity: str) -> list[Route]:
    """Give the routes that take an alert: the innermost that fit, up to the first without `continue` at each level."""
    out: list[Route] = []
    for route in routes:
        if severity in route.severity and route.matchers.matches(labels):
            out += taken_by(route.inner, labels, severity) or [route]
            if not route.goes_on:
                break
    return out


def remaining(routes: Iterable[Route], labels: Mapping[str, str], severity: str) -> tuple[Route, ...]:
    """Give what is left to choose among for a rule and severity: the routes that they leave, without the matchers on them."""
    out = []
    for route in routes:
        decided, rest = route.matchers.parted(DECIDED)
        if severity in route.severity and decided.matches(labels):
            out.append(replace(route, matchers=rest, inner=remaining(route.inner, labels, severity)))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class _Choices:
    """What is left to choose among, and what was chosen by key."""

    tree: tuple[Route, ...]
    known: dict[str, tuple[int, ...]]


class Routes:
    """Chooses among routes; a choice is made once for a key and all rules and severities that leave the same to choose."""

    def __init__(self, routes: Sequence[RouteOptions], labels: Labels) -> None:
        """Make the routes ready."""
        self._tree = routes_of(routes)
        self._every = every_route(self._tree)
        self._labels = labels
        self.has_second = any(route.second for route in self._every)
        names = frozenset(name for route in self._every for name in route.matchers.names())
        self._plain, self._looked_at = not names, names - DECIDED
        self._known: dict[tuple[str, int], _Choices] = {}  # by rule and severity
        self._shared: dict[tuple[tuple[Route, ...], Fixed], _Choices] = {}
        self._size = 0
        self._channels: dict[tuple[int, ...], frozenset[str]] = {}
        self._without = {code: self._choose(self._tree, {}, code) for code in (WARNING, CRITICAL)} if self._plain else {}

    def taken(self, rule: Rule, key: str, severity: int) -> tuple[int, ...]:
        """Give the numbers of the routes that take an alert, in their order."""
        if self._plain:
            return self._without[severity]
        name = rule.options.name
        choices = self._known.get((name, severity))
        if choices is None:
            choices = self._known[name, severity] = self._begin(rule, severity)
        found = choices.known.get(key)
        if found is None:
            if self._size >= _MOST_KNOWN:
                self._size = 0
                for each in self._shared.values():
                    each.known.clear()
            self._size += 1
            labels = self._labels.of(rule, key, severity)
            found = choices.known[key] = self._choose(choices.tree, labels, severity)
        return found

    def _begin(self, rule: Rule, severity: int) -> _Choices:
        fixed = self._labels.of(rule, "{}", severity)
        left = remaining(self._tree, fixed, SEVERITY_NAMES[severity]), fixed_labels(fixed, self._looked_at)
        return self._shared.setdefault(left, _Choices(left[0], {}))

    def channels(self, taken: tuple[int, ...]) -> frozenset[str]:
        """Give the channels of routes."""
        found = self._channels.get(taken)
        if found is None:
            found = self._channels[taken] = frozenset(name for number in taken for name in self._every[number].channels)
        return found

    def seconds(self, taken: tuple[int, ...], lasted: int) -> frozenset[str]:
        """Give who hears too of what has been open for so long (ms)."""
        chosen = [route.second for route in map(self._every.__getitem__, taken) if route.second]
        return frozenset(name for after, names in chosen if lasted >= after for name in names)

    @staticmethod
    def _choose(tree: Iterable[Route], labels: Mapping[str, str], severity: int) -> tuple[int, ...]:
        return tuple(route.number for route in taken_by(tree, labels, SEVERITY_NAMES[severity]))
