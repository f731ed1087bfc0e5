"""Sweep table: scores of labels and the outcome of a sweep as text for people, 80 columns wide, from what JSON has of them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.moment import day_words
from flows.recommend import bound_words
from flows.sweep_result import SHOWN
from flows.sweep_tally import BY_PAGE
from sinks.notification import duration

Dict = Mapping[str, Any]


def print_labels(labels: Dict, out: Console) -> None:
    """Show each incident with who was told and when, or why nobody was; then the shares."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("incident", overflow="fold")
    table.add_column("told", justify="right")
    table.add_column("paged", justify="right")
    table.add_column("by, or why not", ratio=1, overflow="fold")
    for row in labels["episodes"]:
        times = [_delay(row["told_after_ms"]), _delay(row["paged_after_ms"])]
        what = f"{escape(row['name'])}\n{row['start'][:16].replace('T', ' ')}"
        table.add_row(what, *times, escape("\n".join(_why(row))))
    out.print(table)
    out.print()
    for line in labels_lines(labels):
        out.print(escape(line), highlight=False)


def labels_lines(labels: Dict) -> Iterator[str]:
    """Say what the scores of labels come to."""
    for name, words in (("told", "told of"), ("paged", "paged for")):
        found = labels[name]
        yield f"{words:9} {share_text(found['recall'])} incidents{_within(found['time_to_detect_ms'])}"
    precision = labels["told"]["precision"]
    if precision["n"]:
        yield f"precision {share_text(precision)} episodes are about a labelled incident"
        yield f"          {share_text(labels['paged']['precision'])} pages are"
    if labels["false_alarms"]:
        listed = ", ".join(f"{rule} {count}" for rule, count in labels["false_alarms"].items())
        yield f"about none: {listed} (false alarms, or incidents that have no label)"
    if labels["outside"]:
        yield f"not judged, because they begin outside the range: {', '.join(labels['outside'])}"


def print_sweep(found: Dict, out: Console) -> None:
    """Show the front and the recommendation with its TOML."""
    skipped = f" ({found['contradictory']} contradict themselves: {found['contradiction']})" if found["contradictory"] else ""
    out.print(escape(f"{found['settings']} settings{skipped}; {_parts(found)}."), highlight=False)
    for rule, why in found["left_out"].items():
        out.print(escape(f"Not judged in the sweep: {rule} {why}."), highlight=False)
    for words in found["not_judged"]:
        out.print(escape(f"Not judged in the sweep: {words}."), highlight=False)
    out.print()
    out.print(_front(found))
    if len(found["front"]) > SHOWN:
        out.print(f"... and {len(found['front']) - SHOWN} more that nothing beats, in the JSON", highlight=False)
    advice = found["recommendation"]
    out.print("\n[bold]Recommended[/]" if advice["values"] else "\n[bold]Nothing is recommended[/]")
    for line in advice["words"]:
        out.print(escape(line), highlight=False)
    if advice["toml"]:
        out.print(f"\n{escape(advice['toml'])}", highlight=False, soft_wrap=True, end="")


def share_text(share: Dict) -> str:
    """Write a share and its 95 % interval: `3 of 4 (30-95 %)`."""
    if share["interval"] is None:
        return "0 of 0"
    low, high = share["interval"]
    return f"{share['k']} of {share['n']} ({low * 100:.0f}-{high * 100:.0f} %)"


def rate_text(rate: Dict) -> str:
    """Write a rate a week and its 95 % interval: `1.5 (0.2-5)`."""
    if rate["value"] is None:
        return "-"
    low, high = rate["interval"]
    return f"{rate['value']:.3g} ({bound_words(low)}-{bound_words(high)})"


def _front(found: Dict) -> Table:
    """Lay out what nothing beats, with what the configuration does now first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("found", "pages\na week", "after", "held out:\nfound", "pages\na week"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("setting", ratio=1, overflow="fold")
    rows = [(row, False) for row in found["front"][:SHOWN]]
    if found["current"] is not None:
        rows.insert(0, (found["current"], True))
    for row, is_now in rows:
        fit, held = row["fit"], row["held_out"]
        values = "\n".join(f"{name} = {value}" for name, value in row["values"].items())
        newest = ["-", "-"] if held is None else [_short(held["recall"]), _rate(held["pages_a_week"])]
        delay = fit["time_to_detect_ms"]["median"]
        parts = (_short(fit["recall"]), _rate(fit["pages_a_week"]), _minutes(delay), *newest)
        chosen = row["values"] == found["recommendation"]["values"]
        mark = " (now)" if is_now else " (recommended)" if chosen else ""
        table.add_row(*parts, escape(values + mark), style="bold" if chosen else "")
    return table


def _parts(found: Dict) -> str:
    start, cut, end = (day_words(int(datetime.fromisoformat(found[name]).timestamp() * 1000)) for name in ("from", "cut", "to"))
    what = "paged for" if found["found_by"] == BY_PAGE else "told of"
    fit = found["incidents"]["fit"]
    held = f", held out to {end} ({found['incidents']['held_out']})" if found["cut"] != found["to"] else ""
    return f"fitted on {start} to {cut} ({fit} incident{'' if fit == 1 else 's'}){held}; found means {what}"


def _short(share: Dict) -> str:
    return f"{share['k']}/{share['n']}"


def _rate(rate: Dict) -> str:
    return "-" if rate["value"] is None else f"{rate['value']:.3g}"


def _delay(ms: int | None) -> str:
    return "-" if ms is None else duration(ms)


def _minutes(ms: int | None) -> str:
    """Write a delay to the minute, above it."""
    return "-" if ms is None else duration(-(-ms // 60_000) * 60_000)


def _within(delay: Dict) -> str:
    if delay["median"] is None:
        return ""
    low, high = delay["interval"]
    spread = f" ({duration(low)} to {duration(high)})" if low != high else ""
    return f", half of them within {duration(delay['median'])}{spread}"


def _why(row: Dict) -> list[str]:
    if row["found_by"]:
        first = row["found_by"][0]
        more = f" and {len(row['found_by']) - 1} more" if len(row["found_by"]) > 1 else ""
        return [f"{first['rule']} ({first['severity']}){more}", *(each["words"] for each in row["why_not_paged"][:1])]
    return [f"{each['rule']}: {each['words']}" for each in row["why_not"]] or ["-"]
