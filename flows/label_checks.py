"""Label checks: matchers of routes, inhibitions and mutes that no alert can meet, because they name what is not there.

A rule or a severity that does not exist is refused: such a mute never mutes, such a route never takes. A label that no alert
has is only pointed out (`edgewatch check`): rules that bring it may be on their way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flows.health import BLIND
from flows.inhibit import InhibitOptions
from flows.labels import SEVERITY_NAMES
from flows.matcher import Match, Matchers, parse_match
from flows.metric import MetricOptions
from flows.mute import MuteOptions
from flows.options import no_such
from flows.route import RouteOptions
from flows.rule import RuleOptions

Named = tuple[str, Match]


def matches_of(
    routes: Sequence[RouteOptions], inhibits: Sequence[InhibitOptions], mutes: Sequence[MuteOptions]
) -> Iterator[Named]:
    """Give each match with its key in the file; all must be valid."""
    yield from _of_routes(routes, "")
    for number, inhibit in enumerate(inhibits, 1):
        yield f"inhibit #{number}.source", inhibit.source
        yield f"inhibit #{number}.target", inhibit.target
    yield from ((f'mute "{mute.name}".match', mute.match) for mute in mutes)


def _of_routes(routes: Sequence[RouteOptions], outer: str) -> Iterator[Named]:
    for number, route in enumerate(routes, 1):
        yield f"{outer}route #{number}.match", route.match
        yield from _of_routes(route.route, f"{outer}route #{number}.")


def unmet(matches: Iterable[Named], rules: Iterable[RuleOptions]) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) for each match on a rule or a severity that does not exist."""
    known = dict.fromkeys([*(rule.name for rule in rules), BLIND])
    severities = dict.fromkeys(SEVERITY_NAMES[1:])
    for key, match in matches:
        matchers = parse_match(match)
        for what, there in (("rule", known), ("severity", severities)):
            name = matchers.equal(what)
            if name is not None and name not in there:
                yield key, no_such(what, name, there)


def strangers(
    matches: Iterable[Named],
    inhibits: Sequence[InhibitOptions],
    rules: Iterable[RuleOptions],
    metrics: Mapping[str, MetricOptions],
    general: Iterable[str],
) -> Iterator[str]:
    """Say which labels are asked for that no alert has; `general` are those of the configuration."""
    known = {"rule", "severity", "environment", *general}
    for rule in rules:
        known |= {*rule.labels, *metrics[rule.metric].group_by}
    for key, match in matches:
        yield from (f"{key} asks for {name!r}" for name in sorted(_needed(parse_match(match)) - known))
    for number, inhibit in enumerate(inhibits, 1):
        yield from (f"inhibit #{number}.equal asks for {name!r}" for name in inhibit.equal if name not in known)


def _needed(matchers: Matchers) -> set[str]:
    """Give the labels that must be there: an empty value does not match."""
    return {each.name for each in matchers.all if not each.matches({})}
