"""Backtest words: the figures of a backtest as tables for a terminal of 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LISTED = 10
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print what `Statistics.as_dict` gave."""
    said, rung = figures["notifications"], figures["pages"]
    console.print(_head(figures), style="bold")
    if before := _before(figures):
        console.print(before, style="dim")
    rings = f"{rung['by_night']:,} by night, {rung['at_weekends']:,} at weekends ({figures['zone']})"
    console.print(f"{said['total']:,} notifications, {said['per_day']:,.1f} a day")
    console.print(f"{rung['total']:,} pages, {rung['per_week']:,.1f} a week; {rings}")
    if not rung["pagers"]:
        console.print("No channel is a pager, so the first word of each critical alert counts as a page.", style="dim")
    missing = {each["rule"]: each["why"] for each in figures.get("not_judged", ())}
    console.print()
    console.print(_rules([each for each in figures["rules"] if each["rule"] not in missing]))
    if missing:
        console.print(f"not judged: {', '.join(f'{rule} ({why})' for rule, why in missing.items())}", style="dim")
    if figures["noisiest_keys"]:
        console.print()
        console.print(_keys(figures["noisiest_keys"]))
    if figures["withheld"]:
        console.print()
        console.print(_withheld(figures["withheld"]))


def _head(figures: Mapping[str, Any]) -> str:
    covered = figures["covered"]
    since, until = (covered[name][:16].replace("T", " ") for name in ("from", "to"))
    return f"{since} to {until} UTC: {covered['days']:,.1f} days, {figures['evaluations']:,} evaluations"


def _before(figures: Mapping[str, Any]) -> str:
    """Say where the alerts before the range come from; nothing where there is no window before."""
    since, until = figures["warm_up"]["from"], figures["warm_up"]["to"]
    if figures["alerts_before"] is not None:
        return f"Alerts before it: those of the decision records of {figures['alerts_before']['of']}"
    return f"Alerts before it: those of these rules on the windows from {since} on" if since < until else ""


def _table(title: str, columns: Sequence[str], texts: int) -> Table:
    """Make a table whose first `texts` columns are texts, the others figures."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        box=SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        if number < texts:
            table.add_column(name, overflow="fold", ratio=1)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _rules(rules: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Rules", ("rule", "said", "pages", "night", "weekend", "flaps", "quiet", "fired for"), 1)
    for each in rules:
        fired = each["seconds"]["firing"] + each["seconds"]["recovering"]
        quiet = sum(each["withheld"].values())
        figures = (each["pages"], each["pages_by_night"], each["pages_at_weekends"], each["flaps"], quiet)
        table.add_row(
            Text(each["rule"]),
            _number(each["notifications"]),
            *map(_number, figures),
            duration(fired),
            style="" if each["notifications"] or quiet else "dim",
        )
    return table


def _keys(keys: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Noisiest keys", ("rule", "key", "said", "pages", "flaps", "fired for"), 2)
    for each in keys[:_LISTED]:
        fired = each["seconds"].get("firing", 0) + each["seconds"].get("recovering", 0)
        key = ", ".join(each["key"].values()) or "(total)"
        figures = (each["notifications"], each["pages"], each["flaps"])
        table.add_row(Text(each["rule"]), Text(key), *map(_number, figures), duration(fired))
    return table


def _withheld(withheld: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Kept quiet", ("rule", "by", "times"), 2)
    for each in withheld[:_LISTED]:
        table.add_row(Text(each["rule"]), Text(each["why"] or each["suppressed_by"]), _number(each["count"]))
    return table


def duration(seconds: int) -> str:
    """Write a duration in its two largest units."""
    if not seconds:
        return "-"
    if seconds >= _DAY_S:
        return f"{seconds // _DAY_S:,} d {seconds % _DAY_S // _HOUR_S} h"
    if seconds >= _HOUR_S:
        return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"
    return f"{seconds // _MINUTE_S} min" if seconds >= _MINUTE_S else f"{seconds} s"


def _number(number: int) -> str:
    return f"{number:,}" if number else "-"
