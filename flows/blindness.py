"""Blindness: the one open episode of a run that does not see: who is told of it, and which datasets it holds.

Guarantee: what is said is in the state folder before it is in the spool, and in the spool before it is forgotten there; the
spool takes an id once. So a crash at any point neither repeats nor loses a message, and a start goes on with what was open.
Datasets are held by control events, which are on the disk before a window is judged by them.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from flows.config import Config
from flows.controls import BlindEvent, Controls, append
from flows.health import BLIND, Finding
from flows.health_words import over_text, over_title, text_of, title_of
from flows.output import Block
from flows.route import every_route, routes_of, taken_by
from flows.transition import episode_of, fingerprint_of
from sinks.notification import Notification

RULE = BLIND
Put = Callable[[list[Notification | Block]], None]


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """An open episode: since when (ms), how often it was said and when last, to whom, and what holds and has held."""

    start: int
    number: int
    said_at: int
    heard: tuple[str, ...]
    findings: tuple[Finding, ...]
    causes: tuple[tuple[str, str], ...]  # (cause, dataset) of all that was said


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the disk: the open episode, and a message on its way to the spool."""

    episode: Episode | None = None
    message: Notification | None = None


class Blindness:
    """Tells people and holds alerts; one call a look."""

    def __init__(self, config: Config, path: Path, controls: Path, put: Put, brokers: str = "") -> None:
        """Take up what an earlier run left; `put` makes things durable in the spool."""
        self._config = config
        self._path = path
        self._controls = Controls(controls)
        self._events = controls
        self._put = put
        self._brokers = brokers
        self._kept = msgspec.json.decode(path.read_bytes(), type=Kept) if path.exists() else Kept()

    @property
    def held(self) -> tuple[Finding, ...]:
        """Give what held when it was last said."""
        return self._kept.episode.findings if self._kept.episode is not None else ()

    def take(self, findings: Sequence[Finding], now: int) -> None:
        """Take what holds at `now` (ms). Raises SpoolFull, and then says it at the next call."""
        self._send()
        kept = self._next(tuple(findings), now)
        if kept != self._kept:
            self._keep(kept)
        self._hold(findings, now)
        self._send()

    def _next(self, findings: tuple[Finding, ...], now: int) -> Kept:
        episode = self._kept.episode
        if episode is None:
            return self._said(findings, Episode(start=now, number=0, said_at=0, heard=(), findings=(), causes=()), now, "first")
        if not findings:
            return Kept(message=self._over(episode, now))
        causes = {(each.cause, each.dataset) for each in findings}
        if causes - set(episode.causes) or now - episode.said_at >= self._config.health.repeat_ms:
            return self._said(findings, episode, now, "repeat")
        same = causes == {(each.cause, each.dataset) for each in episode.findings}
        return self._kept if same else Kept(episode=msgspec.structs.replace(episode, findings=findings))

    def _said(self, findings: tuple[Finding, ...], episode: Episode, now: int, reason: str) -> Kept:
        if not findings:
            return self._kept
        heard = tuple(sorted({*episode.heard, *channels_of(self._config)}))
        words = title_of(findings, self._brokers), text_of(findings, self._brokers)
        causes = dict.fromkeys([*episode.causes, *((each.cause, each.dataset) for each in findings)])
        message = self._message(episode, now, reason, words, heard)
        return Kept(
            episode=msgspec.structs.replace(
                episode, number=episode.number + 1, said_at=now, heard=heard, findings=findings, causes=tuple(causes)
            ),
            message=message,
        )

    def _over(self, episode: Episode, now: int) -> Notification:
        causes = list(dict.fromkeys(cause for cause, _ in episode.causes))
        datasets = sorted({dataset for _, dataset in episode.causes})
        words = over_title(now - episode.start), over_text(datasets, causes)
        return self._message(episode, now, "resolved", words, episode.heard)

    def _message(self, episode: Episode, now: int, reason: str, words: tuple[str, str], heard: tuple[str, ...]) -> Notification:
        environment = self._config.environment
        fingerprint = fingerprint_of(environment, "{}", RULE)
        name = episode_of(fingerprint, episode.start)
        return Notification(
            at=now // 1000 * 1000,
            id=hashlib.sha256(f"{name}|{episode.number}".encode()).hexdigest()[:32],
            rule=RULE,
            key={},
            fingerprint=fingerprint,
            episode=name,
            dedup_key=f"edgewatch/{environment}/{RULE}/{name}",
            status="resolved" if reason == "resolved" else "firing",
            severity="critical",
            reason=reason,
            channels=heard,
            group=None,
            title=words[0],
            text=words[1],
            value=None,
            threshold=None,
            labels=dict(self._config.labels),
            evidence={"exemplars": [], "contribution": None},
            environment=environment,
        )

    def _hold(self, findings: Sequence[Finding], now: int) -> None:
        """Write down which datasets are blind from the next window on, and which are not any more."""
        wanted, known = {each.dataset for each in findings}, self._controls.blinded()
        events = []
        for on, datasets in ((True, wanted - known), (False, known - wanted)):
            if datasets:
                here = [each for each in findings if each.dataset in datasets]
                causes = tuple(dict.fromkeys(each.cause for each in here))
                text = title_of(here, self._brokers) if here else ""
                names = tuple(sorted(datasets))
                events.append(BlindEvent(id=secrets.token_hex(4), on=on, datasets=names, causes=causes, text=text, at=now))
        if events:
            append(self._events, events)

    def _keep(self, kept: Kept) -> None:
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._kept = kept

    def _send(self) -> None:
        """Put the message into the spool, and forget it here."""
        message = self._kept.message
        if message is not None:
            self._put([message, Block("notifications", message.at, RULE, message.line())])
            self._keep(Kept(episode=self._kept.episode))


def channels_of(config: Config) -> frozenset[str]:
    """Give who is told: by the routes as for a critical alert; where none takes it, all who hear of any critical alert."""
    labels = {**config.labels, "rule": RULE, "environment": config.environment, "severity": "critical"}
    tree = routes_of(config.routes)
    critical = [route for route in every_route(tree) if "critical" in route.severity]
    chosen = taken_by(tree, labels, "critical") or critical
    return frozenset(name for route in chosen for name in route.channels) or frozenset(config.channels)
