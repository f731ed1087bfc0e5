"""Small logs for tests of the line: records of several partitions, and what the definition makes of them."""

import json

import numpy as np

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import Chunk, Progress, Timing, read_batch
from flows.barrier import Barrier, Scope
from flows.metric import Fold, MetricOptions, compile_metrics
from flows.output import Block
from flows.snapshot import pack, unpack
from flows.window import WindowOptions, Windows, layout_of

START = 1_764_547_200_000
LIMIT = START + 10**9
DATASETS = {"http_requests": build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))}
METRICS = [
    MetricOptions(name="requests", kind="count", dataset="http_requests", group_by=("ClientRequestHost",)),
    MetricOptions(
        name="error_rate",
        kind="ratio",
        dataset="http_requests",
        bad="EdgeResponseStatus >= 400",
        group_by=("ClientRequestHost",),
    ),
    MetricOptions(
        name="response_time",
        kind="distribution",
        dataset="http_requests",
        value="EdgeTimeToFirstByteMs",
        group_by=("ClientRequestHost",),
    ),
    MetricOptions(name="clients", kind="distinct", dataset="http_requests", value="ClientIP"),
    MetricOptions(
        name="bytes", kind="sum", dataset="http_requests", value="EdgeResponseBytes", group_by=("ClientRequestHost",)
    ),
    MetricOptions(name="size", kind="gauge", dataset="http_requests", value="EdgeResponseBytes"),
]


class NoRules:
    """Judges nothing, and keeps the results for the test to look at."""

    def __init__(self):
        self.results = []

    bonds = ()

    def __call__(self, result, partitions, beside=()):
        self.results.append((result, partitions))
        return []

    def early(self, event):
        return []

    def hears_silence(self, dataset):
        return False

    def snapshot(self):
        return b""

    def restore(self, state):
        """Nothing is kept."""


class Rig:
    """The pure line over in-memory partitions: `feed` reads lines of one partition, `finish` ends them all."""

    def __init__(self, partitions, options, metrics=METRICS, shards=3, scope=None, beyond=None):
        self.options = options
        self.shards = shards
        judged = frozenset(metric.name for metric in metrics)
        self.metrics = tuple(compile_metrics(metrics, DATASETS, with_exemplars=judged, beyond=beyond or {})["http_requests"])
        self.fold = Fold(DATASETS["http_requests"], self.metrics, shards=shards, pane_ms=options.pane_ms)
        self.layout = layout_of("http_requests", self.metrics, tuple(f"t/{p}" for p in partitions), options)
        self.decoder = Decoder(DATASETS["http_requests"], self.fold.fields)
        self.timing = Timing(pane_ms=options.pane_ms, allowed_lateness_ms=options.allowed_lateness_ms)
        self.progress = {p: Progress(topic="t", partition=p) for p in partitions}
        self.scope = scope or Scope(extras=True)
        self.windows = [Windows(self.layout, shard) for shard in range(shards)]
        self.judge = NoRules()
        self.barrier = Barrier({"http_requests": self.layout}, shards, self.judge, self.scope)
        self.blocks = []

    def feed(self, partition, lines):
        progress = self.progress[partition]
        offsets = np.arange(progress.next_offset, progress.next_offset + len(lines))
        progress.next_offset += len(lines)
        chunk = Chunk(progress, self.timing, lines, offsets, np.full(len(lines), LIMIT))
        self.push(read_batch(self.decoder, [chunk]))

    def finish(self):
        for progress in self.progress.values():
            progress.done = True
            none = np.zeros(0, np.int64)
            self.push(read_batch(self.decoder, [Chunk(progress, self.timing, [], none, none)]))

    def push(self, batch):
        for shard, partial in self.fold(batch):
            for result in self.windows[shard].add(partial):
                self.blocks += self.barrier.add(result)

    def restart(self):
        """Go through a snapshot, as a kill and a resume do."""
        self.fold = Fold(DATASETS["http_requests"], self.metrics, shards=self.shards, pane_ms=self.options.pane_ms)
        windows = [unpack(pack(step.snapshot())) for step in self.windows]
        barrier = unpack(pack(self.barrier.snapshot()))
        self.windows = [Windows(self.layout, shard) for shard in range(self.shards)]
        for step, state in zip(self.windows, windows, strict=True):
            step.restore(state)
        self.barrier = Barrier({"http_requests": self.layout}, self.shards, self.judge, self.scope)
        self.barrier.restore(barrier)

    def output(self, kind="windows"):
        chosen = [block for block in self.blocks if isinstance(block, Block) and block.kind == kind]
        return b"".join(block.data for block in sorted(chosen, key=lambda b: (b.at, b.name.encode())))

    def summary(self):
        return json.loads(self.output("summary"))


def line(ms, host="a", status=200, ttfb=10.0, ip="ip1", ray="r", size=100):
    return json.dumps(
        {
            "EdgeEndTimestamp": ms,
            "ClientRequestHost": host,
            "EdgeResponseStatus": status,
            "EdgeTimeToFirstByteMs": ttfb,
            "ClientIP": ip,
            "RayID": ray,
            "EdgeResponseBytes": size,
        }
    ).encode()


def options(**changes):
    return WindowOptions(**({"allowed_lateness_ms": 60_000} | changes))
