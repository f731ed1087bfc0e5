"""Health words: what people read when the line is blind: what is wrong with which figures, what is held, what to do."""

from collections.abc import Sequence

from flows.health import BROKER, DEAD, DOWN, LAG, LATE, SKEW, STALL, Finding
from sinks.notification import duration, number

_TODO = {
    DOWN: "See the run's log and mend what it names, then start it again: it goes on where it stopped.",
    BROKER: "See whether the broker runs and whether this machine reaches it; reading goes on by itself.",
    STALL: "See this run's log, processor and disk; after a restart it goes on where it stopped.",
    DEAD: "See the reasons in the table dead_letters, and who changed what they write to the topic.",
    LATE: "`edgewatch check --online` measures how late records come and recommends an allowed_lateness.",
    SKEW: "Compare this machine's clock with those of the producers.",
}
_READ_ON = "The run reads on; where this does not shrink, give it more --processes."
_AWAY = "Start it there: all go on where they stopped, and records wait on their topics."
_UPSTREAM = "All that is on the topic has been read: see why the records are shipped so late."


def title_of(findings: Sequence[Finding], brokers: str) -> str:
    """Say in one line that it is blind and why; `findings` are those that hold, the gravest first."""
    told = _told(findings)
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return f"edgewatch is blind: {_what(told[0], brokers)}{more}"


def text_of(findings: Sequence[Finding], brokers: str) -> str:
    """Say the rest: each cause with its figures, what is held, and what to do."""
    told = _told(findings)
    causes = [f"{_capital(_what(each, brokers))}{_where(each)}." for each in told]
    todo = dict.fromkeys(_todo(each) for each in told)
    return " ".join([*causes, held_text(findings), *todo])


def held_text(findings: Sequence[Finding]) -> str:
    """Say whose alerts are held."""
    names = _names(sorted({each.dataset for each in findings}))
    return f"Alerts on {names} are held; what still fires when this is over is said then."


def over_title(lasted_ms: int) -> str:
    """Say in one line that it is over."""
    return f"edgewatch sees again, after {duration(lasted_ms // 1000 * 1000)}"


def over_text(datasets: Sequence[str], causes: Sequence[str]) -> str:
    """Say what becomes of what was held."""
    why = _names([cause.replace("_", " ") for cause in causes])
    return f"It was: {why}. Held alerts on {_names(sorted(datasets))} that still fire are said when their next window closes."


def _told(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out repeats: a broker that is away is away for every dataset, and so is a run that is down."""
    whole = [[each for each in findings if each.cause == cause and each.whole] for cause in (DOWN, BROKER)]
    return [each for each in findings if not any(each in some[1:] for some in whole)]


def _what(each: Finding, brokers: str) -> str:
    size = duration(int(abs(each.value)) // 1000 * 1000)
    if each.cause == DOWN:
        return _down(each)
    if each.cause == BROKER:
        return f"the broker at {brokers} has not answered for {size if each.whole else f'{each.partition} for {size}'}"
    if each.cause == STALL:
        more = f", and {_messages(each.waiting)}" if each.waiting else ", although records come"
        return f"no window of {each.dataset} has closed for {size}{more}"
    if each.cause == LAG:
        more = f"{each.dataset} is read {size} behind the clock, and {_messages(each.waiting)}"
        return more if each.waiting else f"records of {each.dataset} come {size} behind the clock"
    if each.cause in (DEAD, LATE):
        what = "cannot be decoded" if each.cause == DEAD else "come too late for their window"
        return f"{each.value:.1%} of the records of {each.dataset} on {each.partition} {what}"
    side = "ahead of" if each.value > 0 else "behind"
    return f"records of {each.dataset} are {size} {side} this machine's clock"


def _down(each: Finding) -> str:
    if each.partition:
        return f"the run stands still until {each.partition} is back"
    given_up = f"its processes ended {number(each.value)} times in a row, and it was given up"
    return given_up if each.value else "it has run before, and cannot be started again"


def _where(each: Finding) -> str:
    if each.cause in (DOWN, BROKER):
        return ""
    if each.cause in (DEAD, LATE):
        return f" (limit {each.limit:.1%})"
    return f" (worst: {each.partition}, limit {duration(int(each.limit) // 1000 * 1000)})"


def _todo(each: Finding) -> str:
    if each.cause == LAG:
        return _READ_ON if each.waiting else _UPSTREAM
    return _AWAY if each.cause == DOWN and each.partition else _TODO[each.cause]


def _messages(count: int) -> str:
    return f"{number(count)} message{'s wait' if count != 1 else ' waits'}"


def _names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
