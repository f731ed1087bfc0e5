"""Report command: `edgewatch report`: what the platform was like over a range, as a page, Markdown or JSON."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
import typer

from flows.config import Config, load
from flows.failure import explained
from flows.moment import moment

if TYPE_CHECKING:
    from flows.report_source import Range, Source

FORMATS = ("html", "markdown", "json")
_ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json"}
_NOTHING, _BAD_USE = 1, 2


def report(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    start: Annotated[str, typer.Option("--from", help="Windows start from here on: RFC 3339, or -7d.")] = "-7d",
    end: Annotated[str | None, typer.Option("--to", help="Windows start before this [default: now].")] = None,
    source: Annotated[
        str, typer.Option(help="clickhouse, clickhouse:RUN of a replay, or windows:DIR, the folder of a replay.")
    ] = "clickhouse",
    form: Annotated[str | None, typer.Option("--format", help="html, markdown or json [default: by the file's name].")] = None,
    out: Annotated[Path | None, typer.Option(help="The file [default: standard output].")] = None,
    zone: Annotated[str, typer.Option(help="Whose days and nights they are, such as Europe/Berlin.")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Report requests, performance, cache, database, users, objectives, alerts and data quality of a range.

    Exit code 1 means that there is no data in the range.

    Example: edgewatch report -c monitor.toml --from -7d --out week.html
    """
    chosen = "json" if as_json else _format(form, out)
    days = _zone(zone)
    over = _range(start, end, settings := load(config, secrets=False))
    with explained():
        _put(_written(settings, _source(settings, source), (over, days), chosen), out)
        return
    raise typer.Exit(_NOTHING)


def _written(config: Config, source: "Source", asked: "tuple[Range, ZoneInfo]", form: str) -> str:
    from flows.bar import Bar
    from flows.report import STEPS, Asked
    from flows.report import report as content_of
    from flows.report_page import page_of
    from sinks.page import html
    from sinks.page_text import markdown

    with Bar("adding up", STEPS, "steps") as bar:
        question = Asked(over=asked[0], zone=asked[1], length_ms=config.window.length_ms)
        content = content_of(config, source, question, bar.advance)
    if form == "json":
        return orjson.dumps(_timed(content), option=orjson.OPT_INDENT_2).decode() + "\n"
    page = page_of(content)
    return html(page) if form == "html" else markdown(page)


def _timed(value: Any, name: str = "") -> Any:
    """Write times as RFC 3339, so that machines need not know which numbers are ms."""
    from flows.output import rfc3339

    if isinstance(value, dict):
        return {key: _timed(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_timed(each, name) for each in value]
    return (
        rfc3339(value) if name in {"at", "from", "to", "start", "end", "edges", "starts"} and isinstance(value, int) else value
    )


def _source(config: Config, given: str) -> "Source":
    kind, _, rest = given.partition(":")
    if kind == "windows" and rest:
        from flows.bar import Bar
        from flows.report_folder import ReportFolder

        path = Path(rest) / "windows.ndjson"
        with Bar("reading windows", path.stat().st_size if path.is_file() else 0, "bytes") as bar:
            return ReportFolder(Path(rest), config.window.length_ms, lambda done, _: bar.advance(done))
    if kind != "clickhouse" or (given.endswith(":") and not rest):
        _bad_use(f"--source {given}: give clickhouse, clickhouse:RUN or windows:DIR")
    if config.clickhouse is None:
        _bad_use(f"{config.source} has no [clickhouse] to ask; give --source windows:OUT of a replay")
    from flows.explain_cli import opened
    from flows.report_tables import ReportTables

    return ReportTables(opened(config), rest, config.window.length_ms)


def _range(start: str, end: str | None, config: Config) -> "Range":
    """Give whole windows: those that start in the range."""
    from flows.report_source import Range

    now, length = time.time(), config.window.length_ms
    first, last = (_moment(text, name, now) for text, name in ((start, "--from"), (end or "-0s", "--to")))
    if first >= last:
        _bad_use("--from must be before --to")
    over = Range(-(-first // length) * length, -(-last // length) * length)
    if not over.length:
        _bad_use(f"no window of {length // 1000} s starts between --from and --to")
    return over


def _moment(text: str, name: str, now: float) -> int:
    try:
        return moment(text, now)
    except ValueError as error:
        _bad_use(f"{name} {text}: {error}")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        _bad_use(f"--zone {name}: give the name of a time zone such as UTC or Europe/Berlin")


def _format(form: str | None, out: Path | None) -> str:
    chosen = form or _ENDINGS.get(out.suffix.lower() if out else "", "html" if out else "markdown")
    if chosen not in FORMATS:
        _bad_use(f"--format {chosen}: give {', '.join(FORMATS)}")
    return chosen


def _put(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        _bad_use(f"--out {out}: {error.strerror or error}")
    print(f"{out}: {len(text.encode()) / 1000:,.0f} kB".replace(",", " "), file=sys.stderr)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
