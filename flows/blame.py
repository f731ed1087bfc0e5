"""Blame: asks of the alerts of a barrier what their bad records have in common, and remembers what they usually have.

Usual is, for a key, the last window in which no rule on the metric had anything against it: how many bad records there were.
What they say is known from that window and, where it had few, from those before it, up to a day back. While an alert is open,
its key's memory stands still.

Why a day: so a replay that starts in the middle knows after a day what the live run knew. Until then it says nothing of a key
whose memory may lack what was before, rather than something else than was said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
REACH_MS = 86_400_000  # how far back records are remembered


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
        self._unsure: dict[str, tuple[int, set[str]]] = {}  # by metric: since when (ms), keys of which more was known before
        self._found: dict[str, dict[str, list[Contribution]]] = {}  # of the window at hand, by metric and key

    def explain(self, result: WindowResult, rule: Rule, keys: Sequence[str]) -> Mapping[str, list[Contribution]]:
        """Give what contributes to a rule's alerts of these keys; nothing where the rule is not about bad records.

        A key is left out of which it is not known what was usual.
        """
        metric = rule.options.metric
        sample = result.bad.get(metric)
        if sample is None or rule.options.name not in self._rules.get(metric, ()):
            return {}
        found = self._found.setdefault(metric, {})
        _, unsure = self._unsure.get(metric, (0, ()))
        missing = [key for key in keys if key not in found and key not in unsure]
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
                known = {key for each in found for key in each.keys}
                most = min(max(_ROWS // max(len(known), 1), _FEWEST), KEPT)
                usual = _remembered(self._usual.get(metric), sample, found, (result.end, known, most))
                self._usual[metric] = usual
                if metric in self._unsure:
                    self._learn(metric, result.end, known, usual, most)

    def _learn(self, metric: str, end: int, known: set[str], usual: BadSample, most: int) -> None:
        """Take out the keys whose memory holds nothing of before any more."""
        since, unsure = self._unsure[metric]
        whole = {key for key, size in zip(usual.keys, usual.sizes.tolist(), strict=True) if size >= most}
        left = (unsure & known) - whole if end < since + REACH_MS else set[str]()
        self._unsure[metric] = since, left
        if not left:
            del self._unsure[metric]

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it."""
        return {metric: {name: getattr(each, name) for name in each.__slots__} for metric, each in self._usual.items()}

    def unsure_state(self) -> dict[str, Any]:
        """Give of which keys it is not known what was usual, as plain values: by metric since when (ms), and the keys."""
        return {metric: [since, sorted(keys)] for metric, (since, keys) in self._unsure.items()}

    def load(self, state: Mapping[str, Any], unsure: Mapping[str, Any]) -> None:
        """Take what a snapshot has; a memory without times, as it once was, is forgotten."""
        mine = {metric: values for metric, values in state.items() if metric in self._rules and "at" in values}
        self._usual = {metric: BadSample(**values) for metric, values in mine.items()}
        self._unsure = {metric: (since, set(keys)) for metric, (since, keys) in unsure.items() if metric in self._rules}


def _remembered(
    usual: BadSample | None, sample: BadSample, judged: Sequence[Judged], now_known: tuple[int, set[str], int]
) -> BadSample:
    """Give what is usual now: the window, and what was usual before, of keys that are ok; of all others what was usual.

    `now_known` is the end of the window (ms), the keys that rules know, and how many records of a key are remembered.
    """
    end, known, most = now_known
    loud = set[str]()
    for each in judged:
        unwell = (each.cells.level != OK) | (each.after.columns.state != INACTIVE)
        loud.update(each.keys[place] for place in np.flatnonzero(unwell).tolist())
    calm = [key for key in sample.keys if key in known and key not in loud]
    now = sample.of(calm)
    now = replace(now, at=np.full(len(now.key), end))
    if usual is None or usual.meaning != sample.meaning:
        return joined([now], most)
    enough = {key for key, size in zip(now.keys, now.sizes.tolist(), strict=True) if size >= most}
    before = usual.of([key for key in usual.keys if key in known and key not in enough])
    return joined([now, _since(before, end - REACH_MS)], most)


def _since(sample: BadSample, after: int) -> BadSample:
    """Give a sample without the records of windows that end up to `after` (ms)."""
    kept = sample.at > after
    if kept.all():
        return sample
    return replace(sample, key=sample.key[kept], rank=sample.rank[kept], said=sample.said[kept], at=sample.at[kept])
