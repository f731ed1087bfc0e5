"""Line: the steps of one configuration, ready to be driven by the engine or by the single-process runner.

Both drive the same objects (fold, windows, barrier), so both give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.dataset import Dataset, build_dataset
from flows.alert import Alerting
from flows.barrier import Barrier, Output, Scope
from flows.config import Config
from flows.contribution import beyond_of
from flows.early import early_severity
from flows.early_word import NO_WORDS, EarlyWords
from flows.event import Event
from flows.metric import Fold, Metric, compile_metrics
from flows.output import About, Block, canonical
from flows.policy import NO_SILENCES
from flows.silence import Silences
from flows.turns import ENDLESS, Patience
from flows.window import Layout, WindowResult, Windows, layout_of


@dataclass(frozen=True, slots=True)
class Line:
    """What a run is made of; `datasets` holds the ones that topics use."""

    config: Config
    datasets: Mapping[str, Dataset]
    metrics: Mapping[str, tuple[Metric, ...]]
    shards: int
    silences: Silences = NO_SILENCES
    patience: Patience = ENDLESS
    words: EarlyWords = NO_WORDS

    def fields(self) -> dict[str, frozenset[str]]:
        """Give the columns in use by dataset: only they are decoded."""
        return {name: fold.fields for name, fold in self.folds().items()}

    def folds(self, *, early: bool = False) -> dict[str, Fold]:
        """Give the stateless step of each dataset; `early` says that events go ahead of their windows."""
        pane_ms = self.config.window.pane_ms
        events = frozenset(rule.metric for rule in self.config.rules if early and early_severity(rule))
        return {
            name: Fold(dataset, self.metrics[name], shards=self.shards, pane_ms=pane_ms, events=events)
            for name, dataset in self.datasets.items()
        }

    def layouts(self, partitions: Mapping[str, Sequence[str]]) -> dict[str, Layout]:
        """Lay out the windows; `partitions` names the partitions of each dataset."""
        laid = {
            name: layout_of(name, self.metrics[name], tuple(partitions.get(name, ())), self.config.window)
            for name in self.datasets
        }
        rates = self.config.kafka.sample_rates() if self.config.kafka else {}
        return {name: replace(layout, scale=1 / rates.get(name, 1.0)) for name, layout in laid.items()}

    def windows(self, layouts: Mapping[str, Layout], dataset: str, shard: int) -> Windows:
        """Make the window step of one shard of one dataset."""
        return Windows(layouts[dataset], shard)

    def barrier(self, layouts: Mapping[str, Layout], scope: Scope) -> Barrier:
        """Make the barrier step with the rules behind it."""
        judge = RuleJudge(self.config, self.silences, self.words, firing=scope.firing)
        return Barrier(layouts, self.shards, judge, scope, self.patience)


def build_line(
    config: Config,
    names: Sequence[str] | None = None,
    silences: Silences = NO_SILENCES,
    patience: Patience = ENDLESS,
    words: EarlyWords = NO_WORDS,
) -> Line:
    """Build the line of a configuration over the named datasets (default: those that its topics use)."""
    options = {dataset.name: dataset for dataset in config.datasets}
    used = list(names) if names is not None else list(dict.fromkeys(config.topic_datasets().values()))
    kafka = config.kafka
    datasets = {name: build_dataset(options[name], kafka.labels_of(name) if kafka else {}) for name in used}
    judged = frozenset(rule.metric for rule in config.rules)
    chosen = [metric for metric in config.metrics if metric.dataset in datasets]
    compiled = compile_metrics(chosen, datasets, with_exemplars=judged, beyond=beyond_of(config.rules))
    metrics = {name: tuple(found) for name, found in compiled.items()}
    return Line(config, datasets, metrics, config.engine.shards, silences, patience, words)


class RuleJudge:
    """Has the rules judge a window and turns decisions into output."""

    def __init__(
        self, config: Config, silences: Silences = NO_SILENCES, words: EarlyWords = NO_WORDS, *, firing: bool = False
    ) -> None:
        """Take the rules, routes and labels of a configuration; with `firing`, each window tells what it left open."""
        self._alerting = Alerting(config, config.policy, silences, words)
        self._dataset_of = {metric.name: metric.dataset for metric in config.metrics}
        self._firing = firing

    @property
    def bonds(self) -> Sequence[Sequence[str]]:
        """Give the groups of datasets that are judged in step."""
        return self._alerting.bonds

    def __call__(self, result: WindowResult, partitions: list[dict[str, Any]], beside: Sequence[str] = ()) -> list[Output]:
        """Judge one window; gives blocks for files and tables, and notifications to deliver."""
        decisions = self._alerting.evaluate(result, partitions, beside)
        out: list[Any] = [Block("evaluations", e.window_end, e.rule, e.lines()) for e in decisions.evaluations]
        out += _by_rule("transitions", result.end, [(t.rule, t.line()) for t in decisions.transitions])
        out += _by_rule("notifications", result.end, [(t.notification.rule, t.notification.line()) for t in decisions.told])
        if decisions.provenance:
            out.append(Block("provenance", result.end, result.dataset, b"".join(decisions.provenance)))
        if self._firing:
            lines = [canonical(alert) + b"\n" for alert in self._alerting.firing(result.dataset)]
            out += [Block("firing", result.end, result.dataset, b"".join(lines)), About(result.dataset)]
        return [*out, *decisions.messages]

    def early(self, event: Event) -> list[Output]:
        """Say of an event what can be said before its window closes."""
        said = self._alerting.early(event)
        return [About(self._dataset_of[event.metric]), *said] if said else []

    def hears_silence(self, dataset: str) -> bool:
        """Tell whether windows of a dataset without any record are to be judged too."""
        return self._alerting.hears_silence(dataset)

    def snapshot(self) -> bytes:
        """Give the state of all rules."""
        return self._alerting.snapshot()

    def restore(self, state: bytes) -> None:
        """Take the state of a snapshot."""
        self._alerting.restore(state)


def _by_rule(kind: str, at: int, lines: list[tuple[str, bytes]]) -> list[Block]:
    rules = dict.fromkeys(rule for rule, _ in lines)
    return [Block(kind, at, rule, b"".join(line for of, line in lines if of == rule)) for rule in rules]
