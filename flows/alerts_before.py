"""Alerts before: where a replay that starts in the middle takes the alerts as they were, and keeping them for its resumes."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson

from connectors.source import SourceError
from flows.barrier import judged_before
from flows.config import Config
from flows.decision_log import EVALUATIONS, ClickHouseLog, DecisionLog, FolderLog, LogMissing
from flows.history import History, HistoryError
from flows.recall import Recall, Recalled
from flows.run_folder import RunFolder, RunSpec
from flows.stored_windows import StoredWindows
from flows.window_folder import WindowFolder
from sinks.clickhouse import ClickHouse
from sinks.notification import DeliveryError

CLICKHOUSE, NONE = "clickhouse", "none"
_NO_TABLES = ("60", "81")
_log = logging.getLogger(__name__)


def take_alerts(config: Config, spec: RunSpec, folder: RunFolder) -> None:
    """Work out the alerts before the replay's range, once; nothing where that was done before. Raises SourceError."""
    if spec.alerts is None or folder.recall.exists():
        return
    if spec.start is None:
        raise SourceError("--alerts needs --from: without it a replay starts at the beginning, where no alert is open")
    recalled = alerts_at(config, spec.alerts, spec.start, live=spec.mode == "live")
    for doubt in recalled.doubts:
        _log.warning("alerts before --from: %s", doubt)
    folder.doubts.write_bytes(orjson.dumps(recalled.doubts))
    draft = folder.recall.with_suffix(".draft")
    draft.write_bytes(recalled.state)
    draft.replace(folder.recall)


def alerts_at(config: Config, where: str, start: int, *, live: bool = False) -> Recalled:
    """Give the alerts before the first window from `start` (ms) on, of `clickhouse` or a folder. Raises SourceError."""
    window = config.window
    end = judged_before(start, window.pane_ms, window.length_ms)
    until = {metric.dataset: end for metric in config.metrics}
    try:
        with _opened(config, where) as (log, history):
            recall = Recall(config, config.policy, window, log, history)
            recalled = recall.before(until, at_once=where != CLICKHOUSE, guesses=live)
            if config.rules and not any((log.span(rule.name) or (end + 1,))[0] <= end for rule in config.rules):
                nothing = f"{where} has no decision record of before, so none is open"
                return replace(recalled, doubts=[nothing, *recalled.doubts])
            return recalled
    except (LogMissing, HistoryError) as error:
        raise SourceError(f"--alerts {where}: {error}") from error


def judged_by(config: Config, start: int) -> list[str]:
    """Give the versions of the configurations that judged the last windows before `start` (ms) live; none where none did.

    Raises SourceError where the server does not say.
    """
    if config.clickhouse is None:
        return []
    end = judged_before(start, config.window.pane_ms, config.window.length_ms) // 1000
    query = (
        f"WITH (SELECT max(window_end) FROM {EVALUATIONS} WHERE run = '' AND window_end <= toDateTime({end}, 'UTC')) AS last"  # noqa: S608
        f" SELECT DISTINCT config_version AS made_by FROM {EVALUATIONS} FINAL WHERE run = '' AND window_end = last"
        " ORDER BY made_by"
    )
    with contextlib.closing(ClickHouse(config.clickhouse)) as client:
        try:
            found = client.query(query)
        except DeliveryError as error:
            if error.code in _NO_TABLES:
                return []
            raise SourceError(f"{error} (alerts before --from; --alerts {NONE} goes without them)") from error
    return [str(row["made_by"]) for row in found]


def doubts_of(folder: RunFolder) -> list[str]:
    """Give what of the alerts before the range was not certain, in sentences."""
    if not folder.doubts.exists():
        return []
    found: list[str] = orjson.loads(folder.doubts.read_bytes())
    return found


@contextlib.contextmanager
def _opened(config: Config, where: str) -> Iterator[tuple[DecisionLog, History]]:
    if where != CLICKHOUSE:
        log = FolderLog(Path(where))
        with contextlib.closing(WindowFolder(Path(where))) as store:
            yield log, History(store, config.metrics)
        return
    if config.clickhouse is None:
        raise SourceError(f"{config.source} has no [clickhouse] to read the alerts before --from from; give --alerts DIR")
    with contextlib.closing(ClickHouse(config.clickhouse)) as client:
        tables = StoredWindows(client, config.metrics, url=config.clickhouse.url)
        yield ClickHouseLog(client), History(tables, config.metrics)
