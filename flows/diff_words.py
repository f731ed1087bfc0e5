"""Diff words: a diff as text for a terminal, and as Markdown for a pull request."""

from collections.abc import Iterable, Iterator, Sequence

import orjson

from flows.diff import GONE, NEW, PAGES_NO_MORE, PAGES_NOW, SEVERITY, Alert, Diff, Difference, Lost
from flows.output import rfc3339
from flows.recommend import Budget
from flows.score import Rate
from sinks.notification import duration, key_text, one_line

_MOST = 30
_MOST_IN_MARKDOWN = 100


def text_lines(diff: Diff, budget: Budget | None) -> Iterator[str]:
    """Give the lines of the text."""
    yield f"{rfc3339(diff.start)} to {rfc3339(diff.end)}"
    yield ""
    for name, before, after in _rows(diff):
        yield f"{name:28} {before:>18} -> {after}"
    yield ""
    yield from verdict(diff, budget)
    if diff.changes.nothing:
        yield "The two configurations say the same."
    elif not diff.differences:
        yield "What changed would have made no difference in this range:"
        yield from (f"  {line}" for line in _changes(diff))
    for each in diff.differences[:_MOST]:
        yield ""
        yield f"{_what(each)}: {each.alert.rule} on {_key(each.alert)}"
        yield from (f"  {line}" for line in _sides(each))
        yield from (f"  because {why}" for why in each.why)
    if len(diff.differences) > _MOST:
        yield ""
        yield f"... and {len(diff.differences) - _MOST} more, in --json"


def markdown_lines(diff: Diff, budget: Budget | None) -> Iterator[str]:
    """Give the lines of the Markdown."""
    yield "### What this change would page"
    yield ""
    yield f"{rfc3339(diff.start)} to {rfc3339(diff.end)}"
    yield ""
    yield "| | before | after |"
    yield "|---|---|---|"
    yield from (f"| {name} | {before} | {after} |" for name, before, after in _rows(diff))
    yield ""
    yield from (f"**{line}**  " for line in verdict(diff, budget))
    yield ""
    yield from _listed("Changed", [_code(line) for line in _changes(diff)])
    if not diff.differences:
        yield "No alert in this range would have been another."
        return
    rings = [each for each in diff.differences if each.rings]
    quiet = [each for each in diff.differences if not each.rings]
    if rings:
        yield from _table(rings)
    if quiet:
        yield ""
        yield f"<details><summary>{len(quiet)} that ring nobody</summary>"
        yield ""
        yield from _table(quiet)
        yield ""
        yield "</details>"


def verdict(diff: Diff, budget: Budget | None) -> Iterator[str]:
    """Say what fails the check, or that nothing does."""
    for each in diff.lost:
        yield _lost(each)
    if budget is not None:
        after = diff.rates[1]
        kept = "keeps" if budget.holds(after) else "exceeds"
        yield f"The new configuration {kept} the budget of {budget.text.strip()}: {_rate(after)}."
    if diff.incidents is not None and not diff.lost:
        yield f"No labelled incident is lost ({diff.incidents} in this range)."


def fails(diff: Diff, budget: Budget | None) -> bool:
    """Tell whether a labelled incident is lost or the budget exceeded."""
    return bool(diff.lost) or (budget is not None and not budget.holds(diff.rates[1]))


def _rows(diff: Diff) -> Iterator[tuple[str, str, str]]:
    yield "pages", _rate(diff.rates[0]), _rate(diff.rates[1])
    yield "alerts that anybody hears of", str(diff.told[0]), str(diff.told[1])
    if diff.incidents is not None:
        for name, words in (("paged", "labelled incidents paged for"), ("told", "labelled incidents told of")):
            before, after = (f"{found[name]} of {diff.incidents}" for found in diff.found)
            yield words, before, after


def _table(differences: Sequence[Difference]) -> Iterator[str]:
    yield "| what | rule | key | before | after | why |"
    yield "|---|---|---|---|---|---|"
    for each in differences[:_MOST_IN_MARKDOWN]:
        cells = (
            _what(each),
            _code(each.alert.rule),
            _cell(_key(each.alert)),
            _cell(_side(each.old)),
            _cell(_side(each.new)),
            ", ".join(map(_code, each.why)),
        )
        yield f"| {' | '.join(cells)} |"
    if len(differences) > _MOST_IN_MARKDOWN:
        yield ""
        yield f"and {len(differences) - _MOST_IN_MARKDOWN} more"


def _what(found: Difference) -> str:
    """Say in few words what is other."""
    match found.kind:
        case "new":
            return "new page" if found.rings else "new alert, without a page"
        case "gone":
            return "page gone" if found.rings else "alert gone, paged nobody"
        case "severity":
            return "other severity"
        case "earlier" | "later":
            assert found.old is not None  # noqa: S101 (both are there)
            assert found.new is not None  # noqa: S101
            before, after = (each.start if each.rung is None else each.rung for each in (found.old, found.new))
            return f"{duration(abs(after - before))} {found.kind}"
    return found.kind


def _sides(found: Difference) -> Iterator[str]:
    if found.kind in (NEW, GONE):
        yield _side(found.alert)
    elif found.kind in (PAGES_NOW, PAGES_NO_MORE, SEVERITY):
        yield f"before: {_side(found.old)}"
        yield f"after:  {_side(found.new)}"
    else:
        yield f"{_side(found.old)} -> {_side(found.new)}"


def _side(alert: Alert | None) -> str:
    if alert is None:
        return "-"
    at = alert.start if alert.rung is None else alert.rung
    lasts = f", for {duration(alert.end - alert.start)}" if alert.end is not None else ", not over yet"
    return f"{rfc3339(at)} {alert.severity}{'' if alert.rung is None else ', pages'}{lasts}"


def _lost(lost: Lost) -> str:
    what = "paged for" if lost.by == "paged" else "told of"
    return f"Lost: nobody is {what} {one_line(lost.incident.name)!r} ({rfc3339(lost.incident.start)}) any more."


def _changes(diff: Diff) -> list[str]:
    rules = [f"{name}: {each}" for name, found in diff.changes.rules.items() for each in found]
    metrics = [f"metric {name}: {each}" for name, found in diff.changes.metrics.items() for each in found]
    return [*rules, *metrics, *diff.changes.general]


def _listed(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield f"{title}:"
        yield ""
        yield from (f"- {line}" for line in found)
        yield ""


def _rate(rate: Rate) -> str:
    if rate.value is None:
        return str(rate.count)
    return f"{rate.count} ({rate.value:.3g} a week)"


def _key(alert: Alert) -> str:
    return one_line(key_text(orjson.loads(alert.key)))


def _cell(text: str) -> str:
    """Write log data into a cell: it must not end it, nor be taken for Markdown or HTML."""
    out = one_line(text)
    for sign in "\\|<>*_`[]":
        out = out.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return out


def _code(text: str) -> str:
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"
