"""Route commands: `edgewatch route test`: which routes would take an alert with given labels, and to which channels."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.as_json import print_json
from flows.config import Config, load

route_app = typer.Typer(help="Who hears of what.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _NOBODY = 2, 1
_SEVERITIES = ("critical", "warning")


@route_app.callback()
def _commands() -> None:
    """Keep `test` a command of its own while it is the only one."""


@route_app.command("test")
def show_taken(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    labels: Annotated[list[str], typer.Argument(help="The alert's labels, such as rule=slow_responses severity=critical.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Show which routes take an alert with these labels; without severity= for each severity.

    Those of the configuration and of the rule that rule= names go with them. Exit code 1 means that nobody would hear.

    Example: edgewatch route test -c monitor.toml rule=slow_responses severity=critical ClientRequestHost=a.example.com
    """
    from flows.route import routes_of, taken_by

    settings = load(config, secrets=False)
    given = _labels(labels)
    severity = given.get("severity")
    if severity is not None and severity not in _SEVERITIES:
        _bad_use(f"severity={severity}: give warning or critical")
    known = _general(settings, given.get("rule", "")) | given
    routes = routes_of(settings.routes)
    found = {each: taken_by(routes, known | {"severity": each}, each) for each in _SEVERITIES if severity in (None, each)}
    rows = [
        {
            "severity": each,
            "routes": [
                {"route": route.path, "match": str(route.matchers), "channels": list(route.channels)} for route in taken
            ],
            "channels": sorted({name for route in taken for name in route.channels}),
        }
        for each, taken in found.items()
    ]
    if as_json:
        print_json(rows)
    else:
        for each, taken in found.items():
            for route in taken:
                print(f"{each:8}  {route.path} ({route.matchers}) -> {', '.join(route.channels) or 'nobody'}")
            if not taken:
                print(f"{each:8}  no route takes it: nobody would hear of it")
    if not all(row["channels"] for row in rows):
        raise typer.Exit(_NOBODY)


def _labels(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            _bad_use(f"{text!r} is not a label; write name=value")
        found[name] = value
    return found


def _general(settings: Config, rule: str) -> dict[str, str]:
    """Give the labels that an alert of a rule has in any case."""
    from flows.options import no_such

    rules = {each.name: each for each in settings.rules}
    if rule and rule not in rules:
        _bad_use(no_such("rule", rule, rules))
    own = rules[rule].labels if rule else {}
    return {**settings.labels, **own, "environment": settings.environment}


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
