"""Blame: asks of the alerts of a barrier what their bad records have in common, and remembers what they usually have.

Usual is, for a key, the last window in which no rule on the metric had anything against it: how many bad records there were.
What they say is known from that window and, where it had few, from those before it. While an alert is open, its key's memory
stands still.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flows.alert_state import INACTIVE
from flows.bad_records import BadSample, joined
from flows.contribution import Contribution, beyond_of, blames, called, contributions
from flows.judged import Judged
from flows.pick import KEPT
from flows.rule import OK, Rule
from flows.window import WindowResult

_ROWS, _FEWEST = 1 << 16, 4  # records that are remembered a metric, and a key: state must stay small with very many keys


class Blame:
    """One memory for the rules of all datasets."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Take all rules, ready."""
        every = list(rules)
        self._beyond = beyond_of(rule.options for rule in every)
        self._rules: dict[str, list[str]] = {}  # by metric, those that alert of bad records
        for rule in every:
            if blames(rule, self._beyond):
                self._rules.setdefault(rule.options.metric, []).append(rule.options.name)
        self._usual: dict[str, BadSample] = {}
        self._found: dict[str, dict[str, list[Contribution]]] = {}  # of the window at hand, by metric and key

    def explain(self, result: WindowResult, rule: Rule, keys: Sequence[str]) -> Mapping[str, list[Contribution]]:
        """Give what contributes to a rule's alerts of these keys; nothing where the rule is not about bad records."""
        metric = rule.options.metric
        sample = result.bad.get(metric)
        if sample is None or rule.options.name not in self._rules.get(metric, ()):
            return {}
        found = self._found.setdefault(metric, {})
        missing = [key for key in keys if key not in found]
        if missing:
            usual = self._usual.get(metric)
            before = usual.of(missing) if usual is not None and usual.meaning == sample.meaning else None
            found |= contributions(sample.of(missing), before, called(rule, self._beyond))
        return found

    def settle(self, result: WindowResult, judged: Mapping[str, Judged]) -> None:
        """Remember the window where it was ok; `judged` is what it did, by rule."""
        self._found = {}
        for metric, sample in result.bad.items():
            found = [judged[rule] for rule in self._rules.get(metric, ()) if rule in judged]
            if found:
                self._usual[metric] = _remembered(self._usual.get(metric), sample, found)

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it."""
        return {metric: {name: getattr(each, name) for name in each.__slots__} for metric, each in self._usual.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what a snapshot has."""
        self._usual = {metric: BadSample(**values) for metric, values in state.items() if metric in self._rules}


def _remembered(usual: BadSample | None, sample: BadSample, judged: Sequence[Judged]) -> BadSample:
    """Give what is usual now: the window, and what was usual before, of keys that are ok; of all others what was usual."""
    known, loud = set[str](), set[str]()
    for each in judged:
        known.update(each.keys)
        unwell = (each.cells.level != OK) | (each.after.columns.state != INACTIVE)
        loud.update(each.keys[place] for place in np.flatnonzero(unwell).tolist())
    calm = [key for key in sample.keys if key in known and key not in loud]
    now, most = sample.of(calm), min(max(_ROWS // max(len(known), 1), _FEWEST), KEPT)
    if usual is None or usual.meaning != sample.meaning:
        return joined([now], most)
    enough = {key for key, size in zip(now.keys, now.sizes.tolist(), strict=True) if size >= most}
    return joined([now, usual.of([key for key in usual.keys if key in known and key not in enough])], most)
