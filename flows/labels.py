"""Labels: what an alert is chosen by: the configuration's labels, the rule's, its group key, and what decides about it.

Of one name, the later of these counts.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from flows.rule import Rule

SEVERITY_NAMES = ("", "warning", "critical")
DECIDED = frozenset({"rule", "severity"})  # labels that no key can change, where an alert has a severity

Fixed = tuple[tuple[str, str], ...]  # labels by name


class Subject(NamedTuple):
    """One alert as choices see it: `key` is canonical JSON, `severity` a code."""

    rule: str
    key: str
    severity: int


def fixed_labels(labels: Mapping[str, str], names: Iterable[str]) -> Fixed:
    """Give those labels of these names that there are, in order, to know them by."""
    return tuple([(name, labels[name]) for name in sorted(names) if name in labels])


class Labels:
    """Gives the labels of alerts."""

    def __init__(self, environment: str, general: Mapping[str, str]) -> None:
        """Take the labels that go on every alert."""
        self._environment = environment
        self._general = dict(general)
        self._last = Subject("", "", 0), dict[str, str]()  # several choices in a row look at one alert

    def shown(self, rule: Rule, key: Mapping[str, str]) -> dict[str, str]:
        """Give the labels that a notification carries."""
        return {**self._general, **rule.options.labels, **key}

    def of(self, rule: Rule, key: str, severity: int = 0) -> dict[str, str]:
        """Give the labels that matchers see, not to be changed; without a severity there is no such label."""
        return self.of_subject(rule, Subject(rule.options.name, key, severity))

    def of_subject(self, rule: Rule, subject: Subject) -> dict[str, str]:
        """Give the labels of an alert of `rule`, as `of` does."""
        last, labels = self._last
        if last is not subject and last != subject:
            labels = self.shown(rule, orjson.loads(subject.key)) | {"rule": subject.rule, "environment": self._environment}
            if subject.severity:
                labels["severity"] = SEVERITY_NAMES[subject.severity]
            self._last = subject, labels
        return labels
