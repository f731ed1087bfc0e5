"""Firing: the alerts that are open after the last barrier of each dataset, in one small file of the state folder.

People ask it what a silence would match. It also says up to which window each dataset was judged: it is on the disk before
anything of a barrier leaves, so an event that comes later is never applied to what has left.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from flows.output import Block

KIND = "firing"


class FiringFile:
    """Keeps the file; written anew in one piece."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run left."""
        self._path = path
        self._datasets = read_firing(path)

    def take(self, items: Iterable[object]) -> None:
        """Write what barriers left open, if any are among the items; durable when it returns."""
        blocks = [item for item in items if isinstance(item, Block) and item.kind == KIND]
        if not blocks:
            return
        for block in blocks:
            # A resume judges again what was judged: how far it had come stays known.
            at = max(block.at, self._datasets.get(block.name, {}).get("at", block.at))
            alerts = [orjson.loads(line) for line in block.data.splitlines()]
            self._keep_beginnings(block.name, alerts)
            self._datasets[block.name] = {"at": at, "alerts": alerts}
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(orjson.dumps(self._datasets))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def _keep_beginnings(self, name: str, alerts: list[dict[str, Any]]) -> None:
        """Add the severity at which an alert was said for the first time (`began`) to those that were said."""
        before = {
            _episode(alert): alert["began"] for alert in self._datasets.get(name, {}).get("alerts", ()) if "began" in alert
        }
        for alert in alerts:
            if alert.get("heard"):
                alert["began"] = before.get(_episode(alert), alert["labels"].get("severity", ""))


def _episode(alert: dict[str, Any]) -> tuple[str, str, int]:
    return alert["rule"], alert["key"], alert["start"]


def read_firing(path: Path) -> dict[str, dict[str, Any]]:
    """Give, by dataset, the end of the last window judged (`at`, ms) and the `alerts` that are open."""
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def closed_of(path: Path) -> dict[str, int]:
    """Give the end of the last window judged, by dataset."""
    return {name: each["at"] for name, each in read_firing(path).items()}
