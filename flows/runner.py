"""Runner: the line in one process without an engine: the same steps, the same bytes, no recovery."""

from collections.abc import Callable

from connectors.batch import Batch
from connectors.source import Source
from flows.barrier import Output, Scope
from flows.dead_letter import dead_letter_block
from flows.line import Line


def run_line(
    line: Line,
    source: Source,
    scope: Scope,
    emit: Callable[[Output], None],
    on_batch: Callable[[str, Batch], None] = lambda _lane, _batch: None,
) -> None:
    """Drive the lanes of a bounded source through the line until all are done; `emit` gets every output in order."""
    layouts = line.layouts(source.partitions())
    folds = line.folds(early=scope.early)
    windows = {(name, shard): line.windows(layouts, name, shard) for name in layouts for shard in range(line.shards)}
    barrier = line.barrier(layouts, scope)
    lanes = {name: source.open(name, None) for name in source.lanes()}
    while lanes:
        for name, lane in list(lanes.items()):
            for batch in lane.read():
                on_batch(name, batch)
                if batch.dead:
                    emit(dead_letter_block(batch.dead))
                for shard, partial in folds[batch.dataset](batch):
                    for result in windows[batch.dataset, shard].add(partial):
                        for output in barrier.add(result):
                            emit(output)
            if lane.done:
                lane.close()
                del lanes[name]
