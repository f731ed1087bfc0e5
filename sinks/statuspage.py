"""Statuspage: the public page. Components follow critical alerts; incidents are proposed, or posted where told to.

Guarantee: at-least-once, and never twice in public: a status is read before it is written, and an incident is looked
for by its episode (`metadata.edgewatch.episode`) before it is created. What a person set stays (`component_status`).

Why the page is told so little: a false or an indiscreet word in public costs trust. So a warning alone changes nothing
(but where the platform itself calls a part degraded), nobody is mailed unless asked for, changes are capped, and incidents
name components, not hosts and figures.
"""

import logging
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.clock import Clock, SystemClock
from sinks.component_status import BUILT_IN, DEGRADED, MAJOR, SHOWN_WARNINGS, STATUSES, ComponentBoard, Want
from sinks.http import HttpClient
from sinks.incident_words import closing, incident, update
from sinks.notebook import LooseNotebook, Notebook
from sinks.notification import DeliveryError, Notification, Pace
from sinks.own_words import OwnWords, template_problems
from sinks.proposal import proposed, settled, to_nobody
from sinks.spool import SpoolFull
from sinks.statuspage_api import StatuspageApi

PACE = Pace(per_second=1.0, burst=5)
_PROPOSAL = "proposal/"
_log = logging.getLogger("edgewatch.statuspage")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatuspageOptions:
    """Options of a Statuspage channel: one page."""

    api_key: str = field(repr=False, metadata={"secret": True, "help": "API key"})
    page: str = field(metadata={"help": "id of the page"})
    components: dict[str, str] = field(metadata={"help": "component id by a name of your own, which people read"})
    map: dict[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata={"help": "rules by component; api, database, cache and websocket have the built-in ones by default"},
    )
    keys: dict[str, int] = field(
        default_factory=dict,
        metadata={
            "unit": "keys",
            "help": "how many hosts or locations a component has; default: as many as the alert's rule hears",
        },
    )
    warnings: tuple[str, ...] = field(
        default=SHOWN_WARNINGS, metadata={"help": "rules whose warnings show as degraded_performance"}
    )
    statuses: dict[str, str] = field(
        default_factory=dict, metadata={"help": "status by rule while it is critical; default major_outage"}
    )
    incidents: str = field(default="propose", metadata={"help": "propose (a person posts them) or auto"})
    title: str = field(default="", metadata={"help": "template (Jinja) of an incident's name; empty: edgewatch's own"})
    text: str = field(default="", metadata={"help": "template (Jinja) of what an incident and its updates say"})
    details: bool = field(default=False, metadata={"help": "incidents hold the alert's title and text, with hosts and values"})
    deliver_notifications: bool = field(default=False, metadata={"help": "incidents are mailed to all subscribers"})
    changes_per_hour: int = field(
        default=10, metadata={"unit": "changes/h", "help": "incidents and changes for the worse at most"}
    )
    url: str = field(default="https://api.statuspage.io/v1", metadata={"help": "the API"})
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        for key in ("api_key", "page", "components"):
            if not getattr(self, key):
                yield key, "is empty"
        yield from self._wrong_names()
        if self.incidents not in {"propose", "auto"}:
            yield "incidents", f"{self.incidents!r} is not one of propose, auto"
        if self.changes_per_hour < 1:
            yield "changes_per_hour", "must be at least 1"
        if not re.match(r"https?://[^/\s]", self.url):
            yield "url", "is not an http:// or https:// URL"
        yield from template_problems(self, components=["component"])

    def _wrong_names(self) -> Iterator[tuple[str, str]]:
        for name, rules in self.map.items():
            if name not in self.components:
                yield "map", f"{name!r} is not one of the components: {', '.join(self.components)}"
            elif not rules:
                yield "map", f"{name} has no rule; leave it out instead"
        for name, number in self.keys.items():
            if name not in self.components:
                yield "keys", f"{name!r} is not one of the components: {', '.join(self.components)}"
            elif number < 1:
                yield "keys", f"{name}: must be at least 1"
        for rule, status in self.statuses.items():
            if status not in STATUSES[1:]:
                yield "statuses", f"{rule}: {status!r} is not one of {', '.join(STATUSES[1:])}"


class Statuspage:
    """Keeps in its notebook what episodes call for, what it wrote, and what it proposes."""

    def __init__(self, name: str, options: StatuspageOptions, clock: Clock | None = None) -> None:
        """Open no connection yet."""
        self.name = name
        self.notebook: Notebook = LooseNotebook()
        self.tell: Callable[[Notification], None] = to_nobody
        self._options = options
        self._words = OwnWords(name, options)
        self._clock = clock or SystemClock()
        self._http = HttpClient(name, secrets=(options.api_key,), total=options.timeout_ms / 1000)
        url = f"{options.url.rstrip('/')}/pages/{urllib.parse.quote(options.page, safe='')}"
        self._api = StatuspageApi(self._http, url=url, api_key=options.api_key, clock=self._clock)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Bring the components and the episode's incident up to date."""
        board = ComponentBoard(self.notebook.read(), self._options.keys)
        if notification.status == "resolved":
            self._resolve(board, notification, memory)
            return {}
        shows = notification.severity == "critical" or notification.rule in self._options.warnings
        names = self._components(notification) if shows else board.held(notification.episode)
        if not names:
            return memory
        status = self._status(notification)
        key = orjson.dumps(notification.key, option=orjson.OPT_SORT_KEYS).decode() if notification.key else ""
        heard = notification.evidence.get("keys_heard", 0)
        for name in names:
            board.want(notification.episode, name, Want(status, key, notification.rule), notification.at, heard)
        self._show(board, names)
        if self._options.incidents == "propose":
            self._propose(board, notification, names)
        else:
            self._post(board, notification, names, memory)
        return {**memory, "said": notification.id}

    def proposals(self) -> dict[str, dict[str, Any]]:
        """Give the incidents that were proposed and are not over, by episode."""
        found = self.notebook.read().items()
        return {key.removeprefix(_PROPOSAL): orjson.loads(text) for key, text in found if key.startswith(_PROPOSAL)}

    def approve(self, episode: str) -> bool:
        """Post a proposed incident; false where the page has it already. Raises KeyError, `DeliveryError`.

        Writes nothing down, so it may be called beside the process that delivers: the resolve finds it on the page.
        """
        draft = self.proposals()[episode]
        if self._api.unresolved(episode) is not None:
            return False
        self._api.create(draft)
        return True

    def _resolve(self, board: ComponentBoard, notification: Notification, memory: dict[str, str]) -> None:
        names = board.held(notification.episode)
        board.release(notification.episode)
        self._show(board, names)
        names = names or self._components(notification)
        was_proposed = board.others.pop(_PROPOSAL + notification.episode, None) is not None
        posted = "incident" in memory or (self._options.incidents == "auto" and notification.severity == "critical")
        found = False
        if was_proposed or (posted and names):
            still = any(board[name].wants for name in names)
            found = self._add(notification, closing(notification, names, still=still, **self._said(notification, names)))
        if was_proposed:
            self._tell(settled(notification, self.name, posted=found))
        self._keep(board)

    def _components(self, notification: Notification) -> list[str]:
        """Give the components that an alert is about: by its rule, or named by its label `component`."""
        named = notification.labels.get("component")
        rules = {name: self._options.map.get(name, BUILT_IN.get(name, ())) for name in self._options.components}
        return [name for name, mapped in rules.items() if notification.rule in mapped or name == named]

    def _status(self, notification: Notification) -> str:
        status = self._options.statuses.get(notification.rule, MAJOR)
        return status if notification.severity == "critical" else DEGRADED

    def _show(self, board: ComponentBoard, names: list[str]) -> None:
        """Change the components called `names`, and what an earlier attempt left behind."""
        self._keep(board)
        for name in names:
            self._change(board, name)
        for name in board.unsettled():
            try:
                self._change(board, name)
            except DeliveryError as error:
                if error.retryable:
                    raise
                _log.warning("%s is not what it should be on the page: %s", name, error)

    def _change(self, board: ComponentBoard, name: str) -> None:
        identity = self._options.components.get(name)
        if identity is None:  # taken out of the configuration
            return
        component = board[name]
        current, before = self._api.component(identity), component.ours
        goal = component.change(current)
        if component.person:
            _log.info("%s shows %s on the page, by a person: left alone", name, current)
        if goal is not None:
            begun, component.ours = component.ours, before
            if STATUSES.index(goal) > STATUSES.index(current) and begun != before:
                self._spend(board, f"{name} stays {current}, {goal} is due")
            component.ours = begun
            self._keep(board)
            self._api.set_component(identity, goal)
            component.settle(goal)
        self._keep(board)

    def _propose(self, board: ComponentBoard, notification: Notification, names: list[str]) -> None:
        key = _PROPOSAL + notification.episode
        if key in board.others or notification.severity != "critical":
            return
        draft = self._incident(notification, names)
        self._tell(proposed(notification, self.name, draft))
        board.others[key] = orjson.dumps(draft).decode()
        self._keep(board)
        command = f"edgewatch status approve -c CONFIG {notification.episode}"
        _log.warning("%s: proposed for the page: %s; post it: %s", self.name, draft["name"], command)

    def _tell(self, said: Notification) -> None:
        """Say it by other channels; it has an id of its own, so that a repeated attempt says it once."""
        try:
            self.tell(said)
        except (SpoolFull, sqlite3.OperationalError) as error:
            raise self._http.error(f"cannot tell people: {error}", retryable=True, code="spool") from error

    def _post(self, board: ComponentBoard, notification: Notification, names: list[str], memory: dict[str, str]) -> None:
        if "incident" in memory:
            self._add(notification, update(notification, names, **self._said(notification, names)))
        elif notification.severity == "critical":
            found = self._api.unresolved(notification.episode)
            if found is None and "counted" not in memory:
                self._spend(board, "no incident is posted")
                self._keep(board)
                memory["counted"] = "yes"
            memory["incident"] = found or self._api.create(self._incident(notification, names))

    def _add(self, notification: Notification, added: dict[str, Any] | None) -> bool:
        """Add to the episode's incident; false where it is not there: it was not posted, or a person closed it."""
        found = None if added is None else self._api.unresolved(notification.episode)
        if added is not None and found is not None:
            quiet = {"deliver_notifications": self._options.deliver_notifications}
            self._api.update(found, {**added, **quiet})
        return found is not None

    def _incident(self, notification: Notification, names: list[str]) -> dict[str, Any]:
        words = incident(notification, names, self._status(notification), **self._said(notification, names))
        affected = [self._options.components[name] for name in names if name in self._options.components]
        return {**words, "component_ids": affected, "deliver_notifications": self._options.deliver_notifications}

    def _said(self, notification: Notification, names: list[str]) -> dict[str, Any]:
        """Give how the page is told: a template that fails is logged, and never spoken of in public."""
        own, _ = self._words.parts(notification, components=names)
        return {"own": own, "details": self._options.details}

    def _spend(self, board: ComponentBoard, instead: str) -> None:
        """Count a change for the worse; raises where the hour has had its share."""
        limit = self._options.changes_per_hour
        if not board.spend(self._clock.now(), limit):
            problem = f"{limit} changes an hour are allowed (changes_per_hour): {instead}"
            raise self._http.error(problem, retryable=False, code="cap")

    def _keep(self, board: ComponentBoard) -> None:
        """Write the board down where it differs: a write waits for the disk."""
        content = board.content()
        if content != self.notebook.read():
            self.notebook.write(content)


def build(name: str, options: StatuspageOptions) -> Statuspage:
    """Make the channel."""
    return Statuspage(name, options)
