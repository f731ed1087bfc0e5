"""Grouping: one message for the many alerts that a barrier said something of at once.

The notification of each alert is written down as it is; what is grouped is what goes out. A channel hears of an alert's
episode either alone or as a part of one bundle, from its first word to its last: a bundle is an episode of its own, which
is resolved when the last of its alerts is. So nothing is resolved that was not said, and what was said is resolved.

Why at the barrier and not by timers: the same windows then make the same groups, live and in a replay.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.notify import Told
from flows.output import canonical
from flows.route import RouteOptions, every_route, routes_of
from sinks.notification import Notification, duration, one_line

LISTED = 10
PAGES = 5  # so many alerts page one by one; more at one barrier are one storm
EACH, DIGEST, STORM = MODES = ("each", "digest", "storm")  # how a channel is told of many alerts
_SEVERAL = "several rules"
_DECIDED = frozenset({"rule", "severity", "environment"})  # as the notification has them, whatever labels say


@dataclass(slots=True)
class _Bundle:
    """Alerts that one channel hears of together; `open` is the severity of each that is not over, by fingerprint."""

    name: str
    channel: str
    start: int
    rule: str
    key: dict[str, str]
    labels: dict[str, str]
    total: int
    said: int = 0
    open: dict[str, str] = field(default_factory=dict)
    silenced: list[str] = field(default_factory=list)  # fingerprints of the open ones of which nothing was said since

    @property
    def severity(self) -> str:
        return "critical" if "critical" in self.open.values() else "warning"


class Grouping:
    """Makes messages of notifications; remembers which alerts a channel hears of together."""

    def __init__(self, environment: str, routes: Sequence[RouteOptions], modes: Mapping[str, str]) -> None:
        """Take the routes and each channel's mode; a channel without one is told of each alert."""
        self._environment = environment
        self._routes = every_route(routes_of(routes))
        self._modes = dict(modes)
        self._by_taken: dict[tuple[int, ...], int | None] = {}
        self._by_channel: dict[tuple[str, tuple[int, ...]], int] = {}
        self._bundles: dict[str, _Bundle] = {}
        self._of: dict[tuple[str, str], str] = {}  # (channel, fingerprint) -> bundle

    def grouped(self, told: list[Told]) -> list[Told]:
        """Stamp the notifications of one barrier that a route groups with others with the group's id."""
        if not any(route.group_by for route in self._routes):
            return told
        places = [self._place(each) for each in told]
        sizes: dict[tuple[int, tuple[str, ...]], int] = {}
        for place in places:
            if place is not None:
                sizes[place] = sizes.get(place, 0) + 1
        groups = {place: self._group(place, told[0].notification.at) for place, size in sizes.items() if size > 1}
        for each, place in zip(told, places, strict=True):
            if place in groups:
                # They were made at this barrier, and nobody else has them yet: a copy of each takes 7 % of a storm's time.
                each.notification.group = groups[place]
        return told

    def messages(self, told: Sequence[Told], ahead: Collection[str] = ()) -> list[Notification]:
        """Give what goes out: each notification to the channels that hear of its alert alone, and the bundles'.

        Episodes in `ahead` were said before, alone, and stay alone.
        """
        alone: list[list[str]] = []
        opened: dict[str, list[int]] = {}
        news: dict[str, list[Notification]] = {}
        for number, each in enumerate(told):
            alone.append([])
            for channel in each.notification.channels:
                bundle = self._of.get((channel, each.notification.fingerprint))
                if bundle is not None:
                    news.setdefault(bundle, []).append(each.notification)
                elif each.notification.episode not in ahead and self._opens(channel, each):
                    opened.setdefault(channel, []).append(number)
                else:
                    alone[number].append(channel)
        made = [self._update(self._bundles[name], each) for name, each in sorted(news.items())]
        worst = _worst_first(told, opened.values())
        for channel, numbers in sorted(opened.items()):
            ranked = [(told[number], number) for number in sorted(numbers, key=worst.__getitem__)]
            for unit in self._units(channel, ranked):
                if len(unit) == 1:
                    alone[unit[0][1]].append(channel)
                else:
                    made.append(self._open(channel, [each.notification for each, _ in unit]))
        return [*_to(told, alone), *(message for message in made if message is not None)]

    def acknowledged(self, given: Iterable[Notification]) -> list[Notification]:
        """Give what goes out of the acknowledgements of alerts; a bundle is acknowledged once all that is open of it is."""
        out: list[Notification] = []
        for each in given:
            alone = []
            for channel in each.channels:
                bundle = self._bundles.get(self._of.get((channel, each.fingerprint), ""))
                if bundle is None:
                    alone.append(channel)
                    continue
                bundle.silenced.append(each.fingerprint)
                if bundle.open.keys() <= set(bundle.silenced):
                    out.append(_of_bundle(each, bundle))
            if alone:
                out.append(dataclasses.replace(each, channels=tuple(alone)))
        return out

    @property
    def has_bundles(self) -> bool:
        """Tell whether a channel hears of several alerts together."""
        return bool(self._bundles)

    def bundles(self, fingerprint: str, channels: Iterable[str]) -> dict[str, str]:
        """Give the episodes by which channels hear of an alert, where they do not hear of it alone."""
        found = {channel: self._bundles.get(self._of.get((channel, fingerprint), "")) for channel in channels}
        return {channel: _episode(bundle) for channel, bundle in found.items() if bundle is not None}

    def _opens(self, channel: str, told: Told) -> bool:
        """Tell whether a channel hears of an alert that it has not heard of before."""
        speaks = told.notification.status == "firing" and told.notification.reason != "de-escalated"
        return speaks and self._modes.get(channel, EACH) != EACH and channel not in told.before

    def _units(self, channel: str, ranked: list[tuple[Told, int]]) -> list[list[tuple[Told, int]]]:
        """Put alerts that open at one channel, the worst first, into the messages that they make."""
        if self._modes[channel] == STORM:
            return [ranked] if len(ranked) > PAGES else [[each] for each in ranked]
        by_route: dict[int, dict[Any, list[tuple[Told, int]]]] = {}
        for each in ranked:
            route = self._told_by(channel, each[0].taken)
            place = self._values(route, each[0].notification) or each[1]
            by_route.setdefault(route, {}).setdefault(place, []).append(each)
        out = []
        for route, groups in sorted(by_route.items()):
            units, limit = list(groups.values()), self._routes[route].limit
            rest = [each for unit in units[limit:] for each in unit]
            out += [*units[:limit], rest] if rest else units
        return out

    def _open(self, channel: str, notifications: list[Notification]) -> Notification:
        """Begin a bundle; `notifications` come worst first."""
        worst, at = notifications[0], notifications[0].at
        named = {"at": at, "channel": channel, "environment": self._environment}
        name = _hashed({**named, "first": min(each.fingerprint for each in notifications)})[:16]
        rules = {each.rule for each in notifications}
        bundle = _Bundle(
            name=name,
            channel=channel,
            start=at,
            rule=worst.rule if len(rules) == 1 else _SEVERAL,
            key=_shared([each.key for each in notifications]),
            labels=_shared([each.labels for each in notifications]),
            total=len(notifications),
            open={each.fingerprint: each.severity for each in notifications},
        )
        self._bundles[name] = bundle
        self._of.update({(channel, fingerprint): name for fingerprint in bundle.open})
        return self._message(bundle, notifications, "first", bundle.severity)

    def _update(self, bundle: _Bundle, news: list[Notification]) -> Notification | None:
        """Say what became of a bundle's alerts; to a pager only what pages or ends."""
        before = bundle.severity
        for each in news:
            if each.status == "resolved":
                del bundle.open[each.fingerprint], self._of[bundle.channel, each.fingerprint]
            else:
                bundle.open[each.fingerprint] = each.severity
        spoken = {each.fingerprint for each in news}
        bundle.silenced = [each for each in bundle.silenced if each not in spoken]
        reasons = {each.reason for each in news if each.status == "firing"} - {"de-escalated"}
        ranked = sorted(news, key=rank)
        if not bundle.open:
            del self._bundles[bundle.name]
            return self._message(bundle, ranked, "resolved", before)
        if not reasons and self._modes.get(bundle.channel) == STORM:
            return None
        reason = "escalated" if "escalated" in reasons else "repeat" if reasons else "update"
        return self._message(bundle, ranked, reason, bundle.severity)

    def _message(self, bundle: _Bundle, news: Sequence[Notification], reason: str, severity: str) -> Notification:
        number, bundle.said = bundle.said, bundle.said + 1
        episode, lines = _episode(bundle), _lines(bundle, news, reason)
        return Notification(
            at=news[0].at,
            id=hashlib.sha256(f"{episode}|{number}".encode()).hexdigest()[:32],
            rule=bundle.rule,
            key=bundle.key,
            fingerprint=bundle.name,
            episode=episode,
            dedup_key=f"edgewatch/{self._environment}/group/{episode}",
            status="resolved" if reason == "resolved" else "firing",
            severity=severity,
            reason=reason,
            channels=(bundle.channel,),
            group=bundle.name,
            title=_title(bundle, news[0], reason),
            text="; ".join(lines),
            value=None,
            threshold=None,
            labels=bundle.labels,
            evidence={"lines": lines, **_evidence(news)},
            environment=self._environment,
        )

    def _place(self, told: Told) -> tuple[int, tuple[str, ...]] | None:
        route = self._grouped_by(told.taken)
        return None if route is None else (route, self._values(route, told.notification))

    def _grouped_by(self, taken: tuple[int, ...]) -> int | None:
        """Give the first of the routes that groups."""
        if taken not in self._by_taken:
            self._by_taken[taken] = next((n for n in taken if self._routes[n].group_by), None)
        return self._by_taken[taken]

    def _told_by(self, channel: str, taken: tuple[int, ...]) -> int:
        """Give the first of the routes by which a channel hears."""
        found = self._by_channel.get((channel, taken))
        if found is None:
            found = self._by_channel[channel, taken] = next(n for n in taken if self._routes[n].tells(channel))
        return found

    def _values(self, route: int, notification: Notification) -> tuple[str, ...]:
        labels, out = notification.labels, []
        for name in self._routes[route].group_by:
            if name in _DECIDED:
                out.append(getattr(notification, name))
            else:
                out.append(labels.get(name, ""))
        return tuple(out)

    def _group(self, place: tuple[int, tuple[str, ...]], at: int) -> str:
        by = dict(zip(self._routes[place[0]].group_by, place[1], strict=True))
        return _hashed({"at": at, "by": by, "environment": self._environment, "route": place[0]})[:16]

    def to_state(self) -> list[list[Any]]:
        """Give plain values; `load` undoes it."""
        names = [column.name for column in dataclasses.fields(_Bundle)]
        return [[getattr(bundle, name) for name in names] for bundle in self._bundles.values()]

    def load(self, state: list[list[Any]], known: frozenset[str]) -> None:
        """Take the bundles of a snapshot, of the alerts whose fingerprints are still known."""
        found = [_Bundle(*values) for values in state]
        for bundle in found:
            bundle.open = {each: severity for each, severity in bundle.open.items() if each in known}
        self._bundles = {bundle.name: bundle for bundle in found if bundle.open}
        self._of = {(b.channel, each): b.name for b in self._bundles.values() for each in b.open}


def _episode(bundle: _Bundle) -> str:
    return f"{bundle.name}:{bundle.start // 1000}"


def _of_bundle(acknowledged: Notification, bundle: _Bundle) -> Notification:
    """Give the acknowledgement of a bundle, by that of the last of its alerts."""
    episode = _episode(bundle)
    return dataclasses.replace(
        acknowledged,
        id=hashlib.sha256(f"{episode}|{acknowledged.reason}|{acknowledged.at}".encode()).hexdigest()[:32],
        rule=bundle.rule,
        key=bundle.key,
        fingerprint=bundle.name,
        episode=episode,
        dedup_key=f"edgewatch/{acknowledged.environment}/group/{episode}",
        channels=(bundle.channel,),
        group=bundle.name,
        severity=bundle.severity,
    )


def _to(told: Sequence[Told], channels: Sequence[Sequence[str]]) -> list[Notification]:
    """Give the notifications to these channels; one that has lost them all goes nowhere."""
    out = []
    for each, names in zip(told, channels, strict=True):
        if len(names) == len(each.notification.channels):
            out.append(each.notification)
        elif names:
            out.append(dataclasses.replace(each.notification, channels=tuple(sorted(names))))
    return out


def _worst_first(told: Sequence[Told], opened: Iterable[Iterable[int]]) -> dict[int, int]:
    """Give the place of each of some notifications, by its number, when the worst comes first: once for all channels."""
    numbers = sorted({number for each in opened for number in each})
    ranked = sorted(numbers, key=lambda number: rank(told[number].notification))
    return {number: place for place, number in enumerate(ranked)}


def rank(notification: Notification) -> tuple[bool, float, str]:
    """Sort the worst first: by severity, then by how far the value is from its threshold, as a share of that."""
    value, threshold = notification.value, notification.threshold
    excess = 0.0
    if value is not None and threshold is not None:
        excess = abs(value - threshold) / (abs(threshold) or 1.0)
    return notification.severity != "critical", -excess, notification.fingerprint


def _title(bundle: _Bundle, worst: Notification, reason: str) -> str:
    what = bundle.rule.replace("_", " ")
    where = f" on {', '.join(bundle.key.values())}" if bundle.key else ""
    if reason == "first":
        own = [value for name, value in worst.key.items() if name not in bundle.key]
        there = f" on {', '.join(own)}" if own else ""
        named = f": {worst.rule.replace('_', ' ')}" if worst.rule != bundle.rule else ""
        return f"{bundle.total} alerts: {what}{where}{f', worst{named}{there}' if named or there else ''}"
    if reason == "resolved":
        return f"All {bundle.total} alerts over: {what}{where}"
    return f"{len(bundle.open)} of {bundle.total} alerts open: {what}{where}"


def _lines(bundle: _Bundle, news: Sequence[Notification], reason: str) -> list[str]:
    """Say since when it is, then list what is new by title, a line each."""
    if reason == "first":
        return listed([each.title for each in news])
    titles = [f"{each.title} [{each.reason}]" for each in news]
    lasted = duration(news[0].at - bundle.start)
    return [f"Over after {lasted}." if reason == "resolved" else f"Begun {lasted} ago.", *listed(titles)]


def listed(lines: Sequence[str]) -> list[str]:
    """List the first ten, and say how many there are beside them."""
    more = [f"+{len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [*map(one_line, lines[:LISTED]), *more]


def _evidence(news: Sequence[Notification]) -> dict[str, Any]:
    """Give the runbook that all have, and the view of the worst."""
    found = {}
    runbooks = [each.evidence.get("runbook") for each in news]
    if runbooks[0] is not None and all(each == runbooks[0] for each in runbooks):
        found["runbook"] = runbooks[0]
    if news[0].evidence.get("dashboard"):
        found["dashboard"] = news[0].evidence["dashboard"]
    return found


def _shared(tables: Sequence[dict[str, str]]) -> dict[str, str]:
    return {name: value for name, value in tables[0].items() if all(table.get(name) == value for table in tables)}


def _hashed(value: object) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()
