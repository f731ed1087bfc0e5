"""Import commands: `edgewatch import prometheus-rules`: rules of another monitor as edgewatch's, and why some have none."""

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.as_json import print_json
from flows.config import ConfigErrors, built_in_text, load, loads
from flows.toml_edit import inline

if TYPE_CHECKING:
    from flows.prometheus_rules import Found, Vocabulary

import_app = typer.Typer(help="Take over the rules of another monitor.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _REFUSED = 2, 1


@import_app.callback()
def _commands() -> None:
    """Keep `prometheus-rules` a command of its own while it is the only one."""


@import_app.command("prometheus-rules")
def prometheus_rules(
    file: Annotated[str, typer.Argument(help="A file of rules (YAML), or - for standard input.")],
    out: Annotated[Path | None, typer.Option(help="Write the TOML there [default: standard output].")] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="METRIC=edgewatch_metric.statistic, or ...statistic*1000 to scale its limits; again for each."
        ),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="LABEL=FIELD of the records, or LABEL= to leave it out.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Its windows, and its metrics for --map [default: the built-in].")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Exit code 0 although some rules were not translated.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Translate alerting rules of Prometheus into metrics and rules that `edgewatch check` takes.

    What is not translated is named with the reason, on standard error, and the exit code is 1. docs/migration.md has what is.

    Example: edgewatch import prometheus-rules rules.yml --label job= --map up=probe_failures.ratio --out imported.toml
    """
    try:
        from flows.prometheus_rules import read
    except ModuleNotFoundError as error:
        _bad_use(f"{error.name} is not installed, and it reads the rules: pip install 'edgewatch[import]'")
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = read(text, _vocabulary(maps or [], label or [], config))
    except (OSError, ValueError) as error:
        _bad_use(f"{file}: {error.strerror if isinstance(error, OSError) else error}")
    done, refused = [each for each in found if not each.refused], [each for each in found if each.refused]
    toml = _toml(done, file)
    if done:
        _check(toml)
    for each in refused:
        print(f"{file}: group {each.group}, rule {each.alert}: not translated: {each.refused}", file=sys.stderr)
    if out is not None and done:
        out.write_text(toml, encoding="utf-8")
    if as_json:
        print_json({"translated": [_row(each) for each in done], "refused": [_row(each) for each in refused], "toml": toml})
    elif out is None:
        sys.stdout.write(toml)
    print(f"{len(done)} of {len(found)} rules translated{f', in {out}' if out and done else ''}", file=sys.stderr)
    if not done or (refused and not partial):
        raise typer.Exit(_REFUSED)


def _vocabulary(maps: list[str], labels: list[str], config: Path | None) -> "Vocabulary":
    from flows.prometheus_rules import Mapped, Vocabulary

    known: dict[str, Any] = {each["name"]: each for each in tomllib.loads(built_in_text())["metric"]}
    window_s = 300
    if config is not None:
        known |= {each["name"]: each for each in tomllib.loads(config.read_text(encoding="utf-8")).get("metric", [])}
        window_s = load(config, secrets=False).window.pane_ms // 1000
    metrics = {}
    for text in maps:
        name, equals, target = text.partition("=")
        metric, dot, rest = target.partition(".")
        statistic, _, scale = rest.partition("*")
        try:
            metrics[name] = Mapped(metric, statistic, float(scale or 1))
        except ValueError:
            equals = ""
        if not (name and equals and dot and statistic):
            _bad_use(f"--map {text}: write METRIC=edgewatch_metric.statistic, such as up=probe_failures.ratio")
    fields = dict(text.partition("=")[::2] for text in labels)
    if bad := [text for text in labels if "=" not in text]:
        _bad_use(f"--label {bad[0]}: write LABEL=FIELD, or LABEL= to leave it out")
    return Vocabulary(metrics=metrics, labels=fields, known=known, window_s=window_s)


def _toml(found: "list[Found]", file: str) -> str:
    parts = [f"# Rules of {file}, translated. Alerts say themselves what is wrong; what was not taken is named below.\n"]
    written: set[str] = set()
    for each in found:
        if each.metric["name"] not in written:
            written.add(each.metric["name"])
            parts.append(_table("metric", each.metric))
        words = [f"# {each.group}: {each.alert}: {each.text}", *(f"#   {note}" for note in each.notes)]
        parts.append("\n".join(words) + "\n" + _table("rule", each.rule))
    return "\n".join(parts)


def _table(kind: str, values: dict[str, Any]) -> str:
    return f"[[{kind}]]\n" + "".join(f"{key} = {inline(value)}\n" for key, value in values.items())


def _check(toml: str) -> None:
    try:
        loads(toml, Path("imported.toml"), secrets=False)
    except ConfigErrors as error:
        print(f"edgewatch: what was translated is not valid; a --map or --label does not fit:\n{error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error


def _row(found: "Found") -> dict[str, Any]:
    if found.refused:
        return {"group": found.group, "alert": found.alert, "reason": found.refused}
    return {"group": found.group, "alert": found.alert, "rule": found.rule["name"], "notes": list(found.notes)}


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
