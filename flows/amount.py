"""Amount: a number with its unit, for people."""

from functools import lru_cache

from flows.rule import WHOLE, Rule

_BELOW = 999  # so much has no thousands, however it is rounded


def measure_of(rule: Rule) -> tuple[str, str]:
    """Give the statistic and unit that a rule's metric is written with."""
    return rule.options.statistic, rule.metric.unit


@lru_cache(4096)
def amount(value: float, statistic: str, unit: str, digits: int | None = None) -> str:
    """Write an amount: a ratio as per cent, counts whole; without `digits` as exactly as it was given."""
    return measured(value, statistic, unit, digits)


def measured(value: float, statistic: str, unit: str, digits: int | None) -> str:
    """Write an amount that hardly comes twice, so that nothing is remembered of it."""
    if statistic == "ratio":
        return f"{_number(round(value * 100, 12), digits)} %"
    if statistic == "rate":
        return f"{_number(value, digits)} a second"
    if statistic in ("times", "deviations"):
        return f"{_number(value, digits)} {statistic}"
    counted = statistic in WHOLE
    return _number(value, None if counted else digits) + (f" {unit}" if unit and not counted else "")


def _number(value: float, digits: int | None) -> str:
    text = f"{value:.{digits or 12}g}"
    exponent = "e" in text
    if abs(value) < _BELOW and not exponent and (digits or 12) >= len("999"):
        return text
    if exponent or abs(value) >= 10 ** (digits or 12):
        text = f"{value:.0f}" if 1 <= abs(value) < 1e15 else text  # noqa: PLR2004 (floats are whole beyond this)
    whole, point, rest = text.partition(".")
    grouped = f"{int(whole):,}".replace(",", " ") if whole.lstrip("-").isdigit() and whole != "-0" else whole
    return grouped + point + rest
