"""Deployed: which configuration a live run had last, and what is said when it starts with another one.

One small file of the state folder has the version and what each rule came to. It is written once the change is in the
spool; a change is named by both versions and its number, so that a start which was killed in between puts in the same
one again, and the spool knows it.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from flows.config import Config
from flows.output import canonical
from sinks.failure import notification_items
from sinks.notification import Notification
from sinks.pagerduty import PagerDutyOptions
from sinks.spool import Spool

_NAMED = 5


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that ran; `number` counts them in this state folder, `rules` is a digest by name."""

    version: str
    number: int
    rules: dict[str, str]


def say_what_changed(spool: Spool, path: Path, config: Config, at: int) -> None:
    """Put a change event for each channel that takes them into the spool, if the version is not the last one; `at` is in ms."""
    before = _read(path)
    now = Deployed(version=config.version, number=before.number + 1 if before else 0, rules=_digests(config))
    if before is not None and before.version == now.version:
        return
    channels = [name for name, options in config.channels.items() if isinstance(options, PagerDutyOptions) and options.changes]
    if before is not None and channels:
        spool.put(notification_items(_change(before, now, config.environment, tuple(sorted(channels)), at)))
    _write(path, now)


def _read(path: Path) -> Deployed | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Deployed)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, deployed: Deployed) -> None:
    """Write the file in one piece; it is on the disk when this returns."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(deployed))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _digests(config: Config) -> dict[str, str]:
    """Give a digest of each rule with the metric that it judges."""
    metrics = {metric.name: dataclasses.asdict(metric) for metric in config.metrics}
    return {
        rule.name: hashlib.sha256(canonical([dataclasses.asdict(rule), metrics[rule.metric]])).hexdigest()[:16]
        for rule in config.rules
    }


def _change(before: Deployed, now: Deployed, environment: str, channels: tuple[str, ...], at: int) -> Notification:
    rules = _compared(before.rules, now.rules)
    named = {"environment": environment, "from": before.version, "to": now.version, "number": now.number}
    identity = hashlib.sha256(canonical(named)).hexdigest()
    words = ", ".join(f"{_counted(names)} {word}" for word, names in rules.items() if names) or "no rule changed"
    return Notification(
        at=at,
        id=identity[:32],
        rule="configuration",
        key={},
        fingerprint=identity[:16],
        episode=f"change:{identity[:16]}",
        dedup_key=f"edgewatch/{environment}/configuration/{identity[:16]}",
        status="firing",
        severity="info",
        reason="changed",
        channels=channels,
        group=None,
        title=f"edgewatch {environment}: configuration {before.version} to {now.version}: {words}",
        text="",
        value=None,
        threshold=None,
        labels={},
        evidence={"from": before.version, "to": now.version, **rules},
        environment=environment,
    )


def _compared(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    return {
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
    }


def _counted(names: Sequence[str]) -> str:
    """Count rules, the first of them by name."""
    shown = [*names[:_NAMED], *([f"+{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
    return f"{len(names)} rule{'' if len(names) == 1 else 's'} ({', '.join(shown)})"
