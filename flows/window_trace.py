"""Window trace: how long a window took in each stage, as a Sentry transaction: decode, metric, window, rules, delivery.

The stages take turns while a window is open, so a span begins where its stage first worked and lasts as long as it worked in
all. Delivery is the handing over to the spool: channels are asked later, by threads of their own. The clock is read for this
alone; nothing that is decided sees it. Without Sentry nothing is kept, and the clock is not read.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from connectors.batch import DONE, Batch
from flows.output import Closed, rfc3339

STAGES = ("decode", "metric", "window", "rules", "delivery")


class Untraced:
    """What a run has without Sentry."""

    def now(self) -> float:
        """Give no time."""
        return 0.0

    def decoded(self, batches: Sequence[Batch], began: float) -> None:
        """Do nothing."""

    def add(self, stage: str, dataset: str, began: float) -> None:
        """Do nothing."""

    def closed(self, out: Iterable[Any], began: float) -> None:
        """Do nothing."""


class WindowTrace(Untraced):
    """Adds up seconds by dataset and stage, and sends them when windows close; not all, as `traces_sample_rate` says."""

    def __init__(self) -> None:
        """Start with nothing open."""
        self._open: dict[str, dict[str, tuple[float, float]]] = {}  # dataset -> stage -> when it first worked, seconds

    def now(self) -> float:
        """Give the time (s since 1970)."""
        return time.time()

    def decoded(self, batches: Sequence[Batch], began: float) -> None:
        """Share out the time of a read, since `began`, by records."""
        seconds, records = time.time() - began, sum(map(len, batches))
        for batch in batches:
            if len(batch):
                self._took("decode", batch.dataset, began, seconds * len(batch) / records)

    def add(self, stage: str, dataset: str, began: float) -> None:
        """Add the time since `began` to a stage."""
        self._took(stage, dataset, began, time.time() - began)

    def closed(self, out: Iterable[Any], began: float) -> None:
        """Send a transaction for each dataset whose windows closed; handing over what they said has taken since `began`."""
        now = time.time()
        for item in out:
            if isinstance(item, Closed) and item.dataset in self._open:
                stages = self._open.pop(item.dataset) | {"delivery": (began, now - began)}
                _send(item, stages, now)

    def _took(self, stage: str, dataset: str, began: float, seconds: float) -> None:
        first, before = self._open.setdefault(dataset, {}).get(stage, (began, 0.0))
        self._open[dataset][stage] = first, before + seconds


def window_trace() -> Untraced:
    """Give what this process's windows are traced by: nothing where Sentry is not set up or takes no traces."""
    sdk = sys.modules.get("sentry_sdk")  # where nobody set it up it need not be imported
    client = sdk.get_client() if sdk is not None else None
    taken = client is not None and client.is_active() and client.options.get("traces_sample_rate")
    return WindowTrace() if taken else Untraced()


def _send(closed: Closed, stages: dict[str, tuple[float, float]], now: float) -> None:
    import sentry_sdk  # noqa: PLC0415  (a run without it is spared the import)

    start = min(first for first, _ in stages.values())
    transaction = sentry_sdk.start_transaction(op="window", name=f"window of {closed.dataset}", start_timestamp=start)
    transaction.set_tag("dataset", closed.dataset)
    if closed.end != DONE:
        transaction.set_data("closed_up_to", rfc3339(closed.end))
    for stage in STAGES:
        if stage in stages:
            first, seconds = stages[stage]
            span = transaction.start_child(op=stage, name=stage, start_timestamp=first)
            span.finish(end_timestamp=first + seconds)
    transaction.finish(end_timestamp=now)
