"""Diff command: `edgewatch diff OLD.toml NEW.toml`: what would page differently, for people, machines and pull requests."""

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.as_json import print_json
from flows.config import Config, load
from flows.failure import explained
from flows.moment import duration, moment
from flows.observe import RunProgress
from flows.options import ConfigError

if TYPE_CHECKING:
    from flows.ahead import Ahead
    from flows.backtest import Backtest
    from flows.diff import Diff
    from flows.history import History
    from flows.incidents import Incident
    from flows.recommend import Budget

WARM_UP_MS = 86_400_000  # judged before the range, for the state alone
_FAILS, _BAD_USE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class _Asked:
    old: Config
    new: Config
    source: str
    times: tuple[int | None, int | None]
    labels: Path | None
    grace_ms: int
    out: Path
    processes: int
    alerts: str | None

    @property
    def warm_up_ms(self) -> int:
        """Give how long is judged before the range, for the state alone: alerts that were written down need nothing."""
        return WARM_UP_MS if self.alerts is None else 0


def diff(
    old: Annotated[Path, typer.Argument(help="The configuration as it is.")],
    new: Annotated[Path, typer.Argument(help="The configuration as it is to be.")],
    source: Annotated[
        str, typer.Option(help="Where windows come from: kafka, archive:DIR, clickhouse, clickhouse:RUN or windows:DIR.")
    ] = "kafka",
    start: Annotated[str | None, typer.Option("--from", help="First window start, RFC 3339 or -30d.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Windows start before this.")] = None,
    alerts: Annotated[
        str | None,
        typer.Option(help="Both begin with the alerts of the decisions before --from: clickhouse, or the folder of a replay."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Known incidents: CSV, or an export of PagerDuty or Statuspage.")] = None,
    budget: Annotated[str | None, typer.Option(help='How often NEW may page, such as "2 pages/week"; more exits 1.')] = None,
    grace: Annotated[str, typer.Option(help="An alert this long after an incident's end is still about it.")] = "10m",
    out: Annotated[Path | None, typer.Option(help="Keep replayed windows here, for the next time.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes of a replay.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a pull request.")] = False,
) -> None:
    """Show what a changed configuration would page differently, on the same windows; nothing is sent.

    Exit code 1 means that a labelled incident is lost or the budget exceeded.

    Example: edgewatch diff main.toml monitor.toml --source windows:history --labels incidents.csv --budget "2 pages/week"
    """
    from flows.diff_words import fails, markdown_lines, text_lines
    from flows.history_source import check_source
    from flows.recommend import parse_budget

    if as_json and as_markdown:
        _bad_use("--json and --markdown: give one of them")
    times = _time(start, "--from"), _time(end, "--to")
    if times[0] is not None and times[1] is not None and times[0] >= times[1]:
        _bad_use("--from must be before --to")
    if alerts is not None and times[0] is None:
        _bad_use("--alerts needs --from: without it the first window is judged first, and no alert is open before")
    try:
        check_source(source)
        limit = None if budget is None else parse_budget(budget)
    except ConfigError as error:
        _bad_use(str(error))
    try:
        grace_ms = duration(grace)
    except ValueError as error:
        _bad_use(f"--grace {grace}: {error}")
    secrets = source == "kafka"  # of ClickHouse the password alone is read, where it is needed
    configs = load(old, secrets=secrets), load(new, secrets=False)
    with _folder(out) as folder:
        found = _run(_Asked(*configs, source, times, labels, grace_ms, folder, processes, alerts))
    if as_json:
        print_json(_as_dict(found, limit))
    else:
        print("\n".join((markdown_lines if as_markdown else text_lines)(found, limit)))
    if fails(found, limit):
        raise typer.Exit(_FAILS)


def _run(asked: _Asked) -> "Diff":
    """Read, judge twice and compare; what goes wrong is one line."""
    from flows.history import HistoryError
    from flows.history_source import Stopped
    from flows.incidents import IncidentError

    progress = RunProgress("diff")
    code = _FAILS
    with explained():
        try:
            return _compared(asked, progress)
        except (HistoryError, IncidentError, ConfigError, Stopped) as error:
            print(f"edgewatch: {error}", file=sys.stderr)
            code = _INTERRUPTED if isinstance(error, Stopped) else _BAD_USE
        finally:
            progress.stop()
    raise typer.Exit(code)


def _compared(asked: _Asked, progress: RunProgress) -> "Diff":
    from flows.ahead import Ahead
    from flows.backtest import Backtest
    from flows.config_diff import changes_between
    from flows.diff import Side, Span, compare
    from flows.history_source import covered, measured_otherwise
    from flows.paging import Pages

    with _histories(asked, progress) as histories:
        ranges = [covered(history, *asked.times) for history in histories]
        low, high = max(each[0] for each in ranges), min(each[1] for each in ranges)
        incidents = _incidents(asked, low, high)
        sides = []
        words = [measured_otherwise(history, asked.old, low, high) for history in histories]  # it has all metrics alike
        for each in dict.fromkeys(itertools.chain(*words) if asked.source.startswith(("windows:", "clickhouse")) else ()):
            print(f"edgewatch: {each}", file=sys.stderr)
        for config, history in zip((asked.old, asked.new), histories, strict=True):
            side, tried = Side(Pages(config.policy.pagers)), Backtest(config)
            progress.begin(f"windows judged by {config.source.name}")
            read = Ahead(history, progress)
            _begin(asked, tried, _connected(config, asked.old), (read, low))
            for decided in tried.run(read, low, high):
                for said in decided.notifications:
                    side.add(said)
            sides.append(side)
    span = Span(start=low, end=high, incidents=incidents, grace_ms=asked.grace_ms)
    metric_of = {rule.name: rule.metric for rule in (*asked.old.rules, *asked.new.rules)}
    return compare(sides[0], sides[1], changes_between(asked.old, asked.new), span, metric_of)


def _begin(asked: _Asked, tried: "Backtest", config: Config, where: "tuple[Ahead, int]") -> None:
    """Have the alerts be as they are before the first window."""
    from dataclasses import replace

    from flows.alerts_before import CLICKHOUSE, alerts_at
    from flows.history_source import with_password

    read, low = where
    if asked.alerts is None or asked.times[0] is None:
        tried.warm(read, low - WARM_UP_MS, low)
        return
    if asked.alerts == CLICKHOUSE and config.clickhouse is not None:
        config = replace(config, clickhouse=with_password(asked.old, config.clickhouse))
    recalled = alerts_at(config, asked.alerts, asked.times[0])
    for doubt in recalled.doubts:
        print(f"edgewatch: {config.source.name}: alerts before --from: {doubt}", file=sys.stderr)
    tried.restore(recalled.state)


@contextlib.contextmanager
def _histories(asked: _Asked, progress: RunProgress) -> "Iterator[Sequence[History]]":
    """Open the windows of each: one history where the metrics allow it, else a replay for each."""
    from flows.backtest_cli import replay_into
    from flows.bonds import bonds_of
    from flows.config_diff import measured_otherwise
    from flows.history import History, HistoryError
    from flows.history_source import Wish, check, opened

    otherwise = measured_otherwise(asked.old, asked.new)
    measuring = [asked.old] if not otherwise else [asked.new]  # one that measures all that both need
    if otherwise and measured_otherwise(asked.new, asked.old):
        measuring = [asked.old, asked.new]
    if otherwise and asked.source.partition(":")[0] in ("windows", "clickhouse"):
        raise HistoryError(
            f"{asked.source} has windows as {asked.old.source} measures them, and {asked.new.source} measures otherwise"
            f" ({'; '.join(otherwise)}): give --source kafka or archive:DIR, so that records are measured anew"
        )
    with contextlib.ExitStack() as stack:
        stores = []
        for number, config in enumerate(measuring):
            place = asked.out if len(measuring) == 1 else asked.out / ("old", "new")[number]
            place.mkdir(parents=True, exist_ok=True)
            start, end = asked.times
            wish = Wish(
                source=asked.source, start=start, end=end, warm_up_ms=asked.warm_up_ms, out=place, processes=asked.processes
            )
            stores.append(stack.enter_context(opened(_connected(config, asked.old), wish, (), replay_into, progress)).store)
        histories = []
        for config, store in zip((asked.old, asked.new), stores * (3 - len(stores)), strict=False):
            metrics = {metric.name: metric for metric in config.metrics}
            general = {**config.labels, "environment": config.environment}
            history = History(store, config.metrics, bonds_of(config.rules, metrics, config.policy.inhibits, general))
            check(history, config)
            histories.append(history)
        yield histories


def _connected(config: Config, old: Config) -> Config:
    """Give a configuration that reads from where the old one does, whose secrets were read."""
    from dataclasses import replace

    return replace(config, kafka=old.kafka, clickhouse=old.clickhouse)


def _incidents(asked: _Asked, low: int, high: int) -> "list[Incident] | None":
    from flows.incidents import check_rules, labelled

    if asked.labels is None:
        return None
    inside, outside = labelled(asked.labels, low, high)
    check_rules(asked.labels, inside, dict.fromkeys(rule.name for rule in (*asked.old.rules, *asked.new.rules)))
    if outside:
        names = ", ".join(each.name for each in outside)
        print(f"edgewatch: {asked.labels}: begin outside the range and do not count: {names}", file=sys.stderr)
    return inside


def _as_dict(found: "Diff", limit: "Budget | None") -> dict[str, Any]:
    from flows.diff_words import fails, verdict

    kept = None if limit is None else limit.holds(found.rates[1])
    budget = None if limit is None else {"text": limit.text, "pages_a_week": limit.pages_a_week, "kept": kept}
    return found.as_dict() | {"budget": budget, "fails": fails(found, limit), "verdict": list(verdict(found, limit))}


@contextlib.contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="edgewatch-diff-") as folder:
        yield Path(folder)


def _time(text: str | None, option: str) -> int | None:
    import time

    if text is None:
        return None
    try:
        return moment(text, time.time())
    except ValueError as error:
        _bad_use(f"{option} {text}: {error}")


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
