"""The definition of threshold rules with `for` as "n of m" added, in plain Python; rules without it are judged as it says.

Its counters of evaluations in a row are taken for those that count among the last m, where the last one counts itself.
"""

from collections import deque
from types import FunctionType

from tests.acceptance import alerts as definition


class Rule(definition.Rule):  # type: ignore[misc]  # the definition has no types
    """A rule with what its `for` says of each severity; its `hold` are numbers."""

    def __init__(self, rule, metric, environment, routes):
        given = rule["for"] if isinstance(rule["for"], dict) else dict.fromkeys(("warning", "critical"), rule["for"])
        parts = {name: [int(each) for each in str(value).split(" of ")] for name, value in given.items()}
        super().__init__(rule | {"for": {name: part[0] for name, part in parts.items()}}, metric, environment, routes)
        # One of m fires at once, and n of n is n in a row: neither remembers anything.
        self.among = {name: part[1] for name, part in parts.items() if len(part) > 1 and part[0] not in (1, part[1])}


class Runs(dict):
    """How often each severity counts now: in a row, or among the last m, where this evaluation is one of them."""

    def __init__(self, among):
        super().__init__(warning=0, critical=0)
        self.last: dict[str, deque[bool]] = {name: deque(maxlen=size) for name, size in among.items()}

    def __setitem__(self, name, run):
        if name in self.last:
            self.last[name].append(run > 0)
            run = sum(self.last[name]) if run else 0
        super().__setitem__(name, run)


class Alert(definition.Alert):  # type: ignore[misc]
    """An alert that stays pending as long as an evaluation before the next one counts for that one."""

    def __init__(self, rule, key):
        super().__init__(rule, key)
        self.run = Runs(rule.among)

    def move(self, at, state, severity, reason, out):
        last = [list(bad)[1 - self.rule.among[name] :] for name, bad in self.run.last.items() if name in self.rule.limits]
        if reason == "calmed" and any(map(any, last)):
            return
        super().move(at, state, severity, reason, out)
        if state == "inactive":
            for bad in self.run.last.values():
                bad.clear()


# The definition's own code, which makes these in place of its rules and alerts.
reference = FunctionType(definition.reference.__code__, {**vars(definition), "Rule": Rule, "Alert": Alert})
