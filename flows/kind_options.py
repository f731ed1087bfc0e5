"""Kind options: the tables inside a `[[rule]]` that only some kinds of rule have."""

from collections.abc import Iterable
from dataclasses import dataclass, field

AGAINST = ("previous", "day", "week")
MEASURES = ("ratio", "deviation")
NO_DATA_SEVERITIES = ("warning", "critical")
_WINDOWS = {"previous": 12, "day": 1, "week": 1}  # used where none are given
_MOST = {"previous": 288, "day": 14, "week": 4}  # further back costs memory for every key


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a rule of kind `change` compares a value with: the median of earlier values of the same key."""

    against: str = field(default="previous", metadata={"help": "previous windows, or the same time of earlier days or weeks"})
    windows: int = field(
        default=0,
        metadata={"unit": "windows, days or weeks", "help": "how many of them; default 12 previous ones, 1 day, 1 week"},
    )
    at_least: int = field(
        default=0, metadata={"unit": "windows, days or weeks", "help": "how many must have a value; default half of them"}
    )
    measure: str = field(default="ratio", metadata={"help": "ratio: value / median; deviation: in robust standard deviations"})

    @property
    def looks_at(self) -> int:
        """Give how many earlier values are looked at."""
        return self.windows or _WINDOWS[self.against]

    @property
    def needs(self) -> int:
        """Give how many of them must be there."""
        return self.at_least or (self.looks_at + 1) // 2

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.against not in AGAINST:
            yield "against", f"{self.against!r} is not one of {', '.join(AGAINST)}"
            return
        if self.measure not in MEASURES:
            yield "measure", f"{self.measure!r} is not one of {', '.join(MEASURES)}"
        most = _MOST[self.against]
        if not 0 <= self.windows <= most:
            yield "windows", f"must be 1 to {most} against {self.against}, not {self.windows}"
        elif not 0 <= self.at_least <= self.looks_at:
            yield "at_least", f"must be 1 to {self.looks_at} (windows), not {self.at_least}"
        if self.measure == "deviation" and self.looks_at < 3:  # noqa: PLR2004 (fewer have no spread)
            yield "windows", f"a deviation needs at least 3 values to compare with, not {self.looks_at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoData:
    """What becomes of a rule's keys that leave no row: always held; with `alert`, one alert of its own says so."""

    after: int = field(default=6, metadata={"unit": "evaluations", "help": "evaluations in a row without a row"})
    alert: bool = field(default=False, metadata={"help": "whether an alert no_data:RULE says so"})
    keys: bool = field(default=False, metadata={"help": "for every key, not for the total alone"})
    severity: str = field(default="warning", metadata={"help": "of that alert"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.after < 1:
            yield "after", f"must be at least 1, not {self.after}"
        if self.severity not in NO_DATA_SEVERITIES:
            yield "severity", f"{self.severity!r} is not one of {', '.join(NO_DATA_SEVERITIES)}"
