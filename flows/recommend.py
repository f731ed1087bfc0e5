"""Recommend: which setting to take, what it is worth on days that it was not chosen for, and what the data cannot say."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flows.moment import day_words
from flows.options import ConfigError
from flows.score import Rate, Share
from flows.sweep_outcome import Outcome, Outcomes, Part, Point, best, points_of
from flows.sweep_run import Range
from flows.sweep_tally import BY_PAGE, FIT, HELD_OUT
from sinks.notification import duration

_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:pages?)?\s*(?:/|a|an|per)\s*(day|week|month)s?\s*")
_WEEKS = {"day": 1 / 7, "week": 1.0, "month": 30 / 7}
_WEEK_MS = 7 * 86_400_000
_WHOLE = 10  # pages a week: from here on digits behind the point say nothing
_FEW = 5  # incidents below which shares are said to be uncertain


@dataclass(frozen=True, slots=True)
class Budget:
    """How often people may be rung."""

    text: str
    pages_a_week: float

    def pages(self, length_ms: int) -> float:
        """Give how many pages it allows in a length of time."""
        return self.pages_a_week * length_ms / _WEEK_MS

    def holds(self, rate: Rate) -> bool:
        """Tell whether a rate keeps it."""
        return rate.value is None or rate.value <= self.pages_a_week


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The setting, how it does in both parts, and what is to be said of that; `number` is None where none can be given."""

    number: int | None
    alike: int
    keeps_budget: bool | None
    fit: Part | None
    held_out: Part | None
    words: tuple[str, ...]


def parse_budget(text: str) -> Budget:
    """Read "2 pages/week", "1 page a day" and the like; raises ConfigError."""
    found = _BUDGET.fullmatch(text)
    if found is None:
        raise ConfigError(f"--budget {text}", 'write how many pages in which time, as in "2 pages/week" or "1 page a day"')
    return Budget(text, float(found[1]) / _WEEKS[found[2]])


def recommend(outcome: Outcome, columns: Outcomes, span: Range, budget: Budget | None) -> Recommendation:
    """Choose by the earlier part of the range, and score on the newest."""
    incidents = int((outcome.part_of == FIT).sum())
    if not len(outcome.part_of):
        return _none(
            "There is no labelled incident to compare settings by (--labels): by pages alone silence is best. What is shown is"
            " how often settings would page, not what they would find."
        )
    if not incidents:
        nothing = "No setting can be recommended: no labelled incident began in the part that settings are fitted on"
        later = " A smaller --holdout leaves more to fit on." if len(outcome.part_of) else ""
        return _none(f"{nothing} ({_days(span.start, span.cut)}).{later}")
    points = points_of(outcome.plan, columns)
    most = budget.pages(span.cut - span.start) if budget else math.inf
    chosen = best(points, most) if budget else _fewest(points)
    if chosen is None:
        least = min(point.pages for point in points)
        rate = Rate(least, span.cut - span.start)
        return _none(f"No setting keeps the budget ({_text(budget)}): the fewest pages are {rate_words(rate)}.")
    if not chosen.found:
        return _none(_finds_nothing(points, span, budget))
    fit = outcome.part(chosen.number, FIT)
    held_out = outcome.part(chosen.number, HELD_OUT) if span.cut < span.end else None
    words = [
        *_on_the_earlier(outcome, fit, chosen, span, budget),
        *_on_the_newest(outcome, held_out, span, budget),
        *_how_sure(outcome, fit, chosen),
    ]
    keeps = None if budget is None else budget.holds(fit.pages) and (held_out is None or budget.holds(held_out.pages))
    return Recommendation(
        number=chosen.number, alike=chosen.alike, keeps_budget=keeps, fit=fit, held_out=held_out, words=tuple(words)
    )


def share_words(share: Share) -> str:
    """Write a share with its interval: 3 of 4 (95 % interval 30-95 %)."""
    if share.interval is None:
        return "0 of 0"
    low, high = share.interval
    return f"{share.k} of {share.n} (95 % interval {low * 100:.0f}-{high * 100:.0f} %)"


def bound_words(value: float) -> str:
    """Write an end of an interval of pages: two digits, or all before the point."""
    return f"{value:.0f}" if value >= _WHOLE else f"{value:.2g}"


def rate_words(rate: Rate) -> str:
    """Write pages a week with the interval."""
    if rate.value is None or rate.interval is None:
        return "no time"
    low, high = rate.interval
    return f"{rate.value:.4g} pages a week ({rate.count} in all, 95 % interval {bound_words(low)}-{bound_words(high)})"


def _finds_nothing(points: list[Point], span: Range, budget: Budget | None) -> str:
    """Say that silence is not a setting to recommend, and what finding anything would cost."""
    finds = [point for point in points if point.found]
    if not finds:
        return "No setting that was tried finds a labelled incident: try other values, another field, or another rule."
    least = min(finds, key=lambda point: point.pages)
    rate = rate_words(Rate(least.pages, span.cut - span.start))
    return (
        f"No setting that keeps the budget ({_text(budget)}) finds a labelled incident; the least that finds one makes {rate}."
    )


def _fewest(points: list[Point]) -> Point | None:
    """Give the point that finds most, with the fewest pages: what is taken without a budget."""
    longest = math.inf
    return min(points, key=lambda p: (-p.found, p.pages, longest if p.delay is None else p.delay), default=None)


def _on_the_earlier(outcome: Outcome, fit: Part, chosen: Point, span: Range, budget: Budget | None) -> Iterator[str]:
    what = "paged for" if outcome.found_by == BY_PAGE else "told of"
    delay = f", half of them within {duration(fit.delay)}" if fit.delay is not None else ""
    yield (
        f"Fitted on {_days(span.start, span.cut)}: {what} {share_words(fit.recall)} labelled incidents{delay};"
        f" {rate_words(fit.pages)}."
    )
    if fit.missed:
        within = f" within {_text(budget)}" if budget else ""
        yield f"No setting that was tried finds more{within}; not found: {', '.join(fit.missed)}."
    others = outcome.pages_of_others(FIT, span.cut - span.start)
    if others.count:
        yield f"Of these pages {others.count} are of rules that were not swept."
    if chosen.alike > 1:
        yield f"{chosen.alike} settings come to the same; this is the one in their middle."


def _on_the_newest(outcome: Outcome, held_out: Part | None, span: Range, budget: Budget | None) -> Iterator[str]:
    if held_out is None:
        yield "Nothing was held out, so what this is worth on other days is not known."
        return
    days = _days(span.cut, span.end)
    if not held_out.recall.n:
        yield (
            f"Held out, {days}: no labelled incident began then, so it is not tested whether it finds incidents that it was"
            f" not fitted on; {rate_words(held_out.pages)}."
        )
    else:
        what = "paged for" if outcome.found_by == BY_PAGE else "told of"
        missed = f", not for {', '.join(held_out.missed)}" if held_out.missed else ""
        found = f"{what} {share_words(held_out.recall)} labelled incidents{missed}"
        yield f"Held out, {days}: {found}; {rate_words(held_out.pages)}."
    if budget is not None and not budget.holds(held_out.pages):
        yield f"In the held-out part it does not keep the budget of {_text(budget)}."


def _how_sure(outcome: Outcome, fit: Part, chosen: Point) -> Iterator[str]:
    if fit.recall.n < _FEW:
        few = "1 incident proves" if fit.recall.n == 1 else f"{fit.recall.n} incidents prove"
        yield f"{few} little: label more, or take a longer range."
    for axis, value in zip(outcome.plan.axes, outcome.plan.values(chosen.number), strict=True):
        if len(axis.values) > 1 and value in (axis.values[0], axis.values[-1]):
            yield f"{axis.name} = {axis.shown(value)} is at the edge of what was tried: values beyond it may do better."


def _none(words: str) -> Recommendation:
    return Recommendation(number=None, alike=0, keeps_budget=None, fit=None, held_out=None, words=(words,))


def _days(start: int, end: int) -> str:
    return f"{day_words(start)} to {day_words(end)}"


def _text(budget: Budget | None) -> str:
    return budget.text.strip() if budget else ""
