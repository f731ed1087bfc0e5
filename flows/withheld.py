"""Withheld: which silence, mute time or alert in particular kept one quiet, from the records of the same window."""

from collections.abc import Iterator

import numpy as np

from flows.alert_state import FIRING, SEVERITIES, STATES
from flows.backtest import Decided, Withheld
from flows.config import Config
from flows.decision_log import Row
from flows.evaluation import SUPPRESSORS
from flows.labels import Labels
from flows.rule import compile_rule
from flows.silence import Silences
from flows.suppressor import Surroundings, suppressors

_ELSEWHERE = "an alert of another dataset"


class Suppressors:
    """Names what kept alerts quiet."""

    def __init__(self, config: Config, silences: Silences) -> None:
        """Take the configuration and the silences that were judged by."""
        metrics = {metric.name: metric for metric in config.metrics}
        rules = {rule.name: compile_rule(rule, metrics[rule.metric]) for rule in config.rules}
        self._known = config, rules, Labels(config.environment, config.labels)
        self._surroundings = Surroundings(silences=silences)

    def __call__(self, withheld: Withheld, decided: Decided) -> str:
        """Give it in words."""
        record = {
            "at": withheld.at,
            "rule": withheld.rule,
            "key": withheld.key,
            "suppressed_by": withheld.suppressed_by,
        }
        others = list(_rows(decided)) if withheld.suppressed_by == "inhibit" else []
        words = suppressors(record, withheld.severity, others, self._known, self._surroundings)
        if withheld.suppressed_by == "inhibit" and words and words[0].startswith("inhibit;"):
            return _ELSEWHERE
        return "; ".join(words)


def _rows(decided: Decided) -> Iterator[Row]:
    """Give the records of alerts that fire, and of each rule that of a key with rows, which tells that its source speaks."""
    for each in decided.evaluations:
        places = set(np.flatnonzero(each.after >= FIRING).tolist()) | set(np.flatnonzero(each.counts > 0)[:1].tolist())
        for place in sorted(places):
            why = 0 if each.suppressed is None else int(each.suppressed[place])
            yield {
                "rule": each.rule,
                "key": each.keys[place],
                "count": int(each.counts[place]),
                "state_after": STATES[int(each.after[place])],
                "severity": SEVERITIES[int(each.severity[place])],
                "suppressed_by": SUPPRESSORS[why],
            }
