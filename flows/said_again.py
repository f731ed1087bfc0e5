"""Said again: what a live run repeats when it goes on from its state with a spool that is new, because the old one was lost.

Nobody knows then what waited in it. So every critical alert that is open and was said is said once more, as a repeat of the
same incident (fail open): a page too many is better than a page missed. Decisions and their records are as without.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson

from flows.config import Config
from flows.controls import Controls
from flows.dashboard import alert_link
from flows.firing import read_firing
from flows.mute import Mute
from flows.output import rfc3339
from flows.rule import RuleOptions
from flows.run_folder import RunFolder
from flows.transition import episode_of, fingerprint_of
from sinks.failure import notification_items
from sinks.notification import Notification, duration
from sinks.spool import Spool

_LISTED = 10
_log = logging.getLogger(__name__)


class _Open(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of the file of open alerts; `at` and `start` in ms, `key` is canonical JSON."""

    at: int
    rule: RuleOptions
    start: int
    key: str
    heard: tuple[str, ...]
    bundles: dict[str, str]
    began: str  # the severity that was said first


def say_again(spool: Spool, folder: RunFolder, config: Config) -> None:
    """Put the open critical alerts that were said into a spool in which nothing ever was; else do nothing. Raises SpoolFull.

    All of them are taken or none, so a start that is killed in between says each once.
    """
    if not spool.is_new():
        return
    _remember_warnings(spool, folder, config)
    said = [*_alone(found := _open_alerts(folder, config), config), *_bundled(found, config)]
    if said:
        spool.put(item for each in said for item in notification_items(each))
        _log.warning("%s is new, and what waited in the one before is lost: critical alerts are said again", spool.path)


def _remember_warnings(spool: Spool, folder: RunFolder, config: Config) -> None:
    """Have pagers remember again which of their incidents are open as warnings: such a one rings nobody when it gets worse."""
    for known in read_firing(folder.firing).values():
        for alert in known["alerts"]:
            if alert.get("began") == "warning":
                fingerprint = fingerprint_of(config.environment, alert["key"], alert["rule"])
                for channel in config.policy.pagers.intersection(alert["heard"]) - alert.get("bundles", {}).keys():
                    spool.remember(channel, episode_of(fingerprint, alert["start"]), {"severity": "warning"})


def _open_alerts(folder: RunFolder, config: Config) -> list[_Open]:
    """Give the critical alerts that somebody heard of, without those that people keep quiet."""
    controls, mutes = Controls(folder.controls), [Mute(options) for options in config.policy.mutes]
    rules = {rule.name: rule for rule in config.rules}
    out = []
    for dataset, known in sorted(read_firing(folder.firing).items()):
        at = known["at"]
        quiet = [each.matchers for each in controls.known(dataset, at)]
        quiet += [mute.matchers for mute in mutes if mute.holds(at) and not mute.except_critical]
        for alert in known["alerts"]:
            labels, heard = alert["labels"], tuple(name for name in alert.get("heard", ()) if name in config.channels)
            if labels.get("severity") != "critical" or alert["rule"] not in rules or not heard:
                continue
            if not any(matchers.matches(labels) for matchers in quiet):
                rest = {name: alert[name] for name in ("start", "key", "began")} | {"bundles": alert.get("bundles", {})}
                out.append(_Open(at=at, rule=rules[alert["rule"]], heard=heard, **rest))
    return out


def _alone(found: Sequence[_Open], config: Config) -> Iterable[Notification]:
    """Give what is said of each alert to the channels that hear of it alone."""
    for alert in found:
        channels = tuple(sorted(name for name in alert.heard if name not in alert.bundles))
        if channels:
            name, key = alert.rule.name, orjson.loads(alert.key)
            fingerprint = fingerprint_of(config.environment, alert.key, name)
            episode = episode_of(fingerprint, alert.start)
            yield _notification(
                alert,
                config,
                rule=name,
                key=key,
                fingerprint=fingerprint,
                episode=episode,
                dedup_key=f"edgewatch/{config.environment}/{name}/{episode}",
                channels=channels,
                title=_title(alert),
                labels={**config.labels, **alert.rule.labels, **key},
                evidence=_evidence(alert, config),
            )


def _bundled(found: Sequence[_Open], config: Config) -> Iterable[Notification]:
    """Give what is said to the channels that hear of several alerts together: one message a bundle."""
    bundles: dict[tuple[str, str], list[_Open]] = {}
    for alert in found:
        for channel in alert.heard:
            if channel in alert.bundles:
                bundles.setdefault((channel, alert.bundles[channel]), []).append(alert)
    for (channel, episode), alerts in sorted(bundles.items()):
        rules = sorted({alert.rule.name for alert in alerts})
        more = [f"+{len(alerts) - _LISTED} more"] if len(alerts) > _LISTED else []
        lines = [*map(_title, alerts[:_LISTED]), *more]
        yield _notification(
            alerts[0],
            config,
            rule=rules[0] if len(rules) == 1 else "several rules",
            key={},
            fingerprint=episode.partition(":")[0],
            episode=episode,
            dedup_key=f"edgewatch/{config.environment}/group/{episode}",
            channels=(channel,),
            group=episode.partition(":")[0],
            title=f"{len(alerts)} critical alerts open: {', '.join(rules[:3])}{', and more' if len(rules) > 3 else ''}",  # noqa: PLR2004
            labels=dict(config.labels),
            evidence={"lines": lines, "began": min(alert.began for alert in alerts)},  # critical sorts first
            listed=lines,
        )


def _notification(
    alert: _Open, config: Config, *, listed: Sequence[str] = (), group: str | None = None, **said: Any
) -> Notification:
    lasted = duration(alert.at - alert.start)
    why = f"Not over after {lasted}. Said again because the spool was lost: what waited in it may have been heard by nobody."
    return Notification(
        at=alert.at,
        id=hashlib.sha256(f"{said['episode']}|said again|{alert.at}".encode()).hexdigest()[:32],
        status="firing",
        severity="critical",
        reason="repeat",
        group=group,
        text="; ".join([why, *listed]),
        value=None,
        threshold=None,
        environment=config.environment,
        **said,
    )


def _title(alert: _Open) -> str:
    name, key = alert.rule.name.replace("_", " "), orjson.loads(alert.key)
    where = f" on {', '.join(key.values())}" if key else ""
    return f"{name[:1].upper()}{name[1:]}{where}: critical, open since {rfc3339(alert.start)[:16].replace('T', ' ')} UTC"


def _evidence(alert: _Open, config: Config) -> dict[str, Any]:
    """Give the runbook and the dashboard, as every alert of the rule has them."""
    name, policy = alert.rule.name, config.policy
    evidence: dict[str, Any] = {"exemplars": [], "contribution": None, "began": alert.began}
    if alert.rule.runbook:
        evidence["runbook"] = {"link": alert.rule.runbook, "steps": list(policy.runbooks.get(name, ()))}
    if policy.dashboard:
        evidence["dashboard"] = alert_link(policy.dashboard, name, alert.key, alert.at)
    return evidence
