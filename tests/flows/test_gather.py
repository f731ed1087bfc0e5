"""Gather: whatever is folded together and sent to another process, windows are the same bytes."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import DONE
from flows.gather import Gather
from flows.metric import Beyond
from tests.flows.logs import METRICS, START, Rig, line, options

RECORD = st.tuples(
    st.integers(0, 1_500_000),
    st.sampled_from(["a", "b", "c", None]),
    st.sampled_from([200, 404, 500, None]),
    st.one_of(st.none(), st.floats(0, 5000), st.integers(0, 300)),
    st.sampled_from(["i1", "i2", "i3", None]),
)
STEPS = st.lists(st.tuples(st.integers(0, 2), st.lists(RECORD, max_size=12), st.booleans(), st.booleans()), max_size=12)
BEYOND = {"response_time": Beyond(1, 500.0)}


class Gathered(Rig):
    """The line with a gather behind the fold, whose partials cross between processes one way or the other."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gather = Gather({"http_requests": self.layout})

    def push(self, batch):
        for _, partial in self.fold(batch):
            self.gather.add(partial)

    def send(self, crosses):
        given = self.gather.give()
        for partial in pickle.loads(pickle.dumps(given)) if crosses else given:  # noqa: S301 (its own)
            assert not partial.groups
            for result in self.windows[partial.shard].add(partial):
                self.blocks += self.barrier.add(result)
        return given


def lines_of(records, ray):
    return [
        line(START + ms, host, status, ttfb, ip, ray=f"{ray}-{n}") for n, (ms, host, status, ttfb, ip) in enumerate(records)
    ]


@pytest.mark.slow
@settings(max_examples=60)
@given(STEPS, st.sampled_from([{}, {"hop_ms": 100_000}, {"exact_samples": 4}, {"max_open_keys": 2, "max_keys": 2}]))
def test_batches_folded_together_give_the_bytes_of_batches_alone(steps, chosen):
    alone = Rig(range(3), options(**chosen), beyond=BEYOND)
    together = Gathered(range(3), options(**chosen), beyond=BEYOND)
    for number, (partition, records, sends, crosses) in enumerate(steps):
        for rig in (alone, together):
            rig.feed(partition, lines_of(records, number))
        if sends:
            together.send(crosses)
            if crosses:
                together.restart()
    alone.finish()
    together.finish()
    together.send(True)
    for kind in ("windows", "exemplars", "window_histograms", "summary"):
        assert together.output(kind) == alone.output(kind), kind
    assert [result.bad.keys() for result, _ in together.judge.results] == [r.bad.keys() for r, _ in alone.judge.results]
    assert [spans for _, spans in together.judge.results] == [spans for _, spans in alone.judge.results]


def test_each_shard_gets_one_partial_and_the_end_comes_by_itself():
    rig = Gathered(range(2), options(), METRICS)
    for number in range(3):
        rig.feed(0, lines_of([(number * 1000, "a", 200, 1.0, "i")], number))
    assert sorted(partial.shard for partial in rig.send(False)) == [0, 1, 2]
    rig.feed(0, lines_of([(400_000, "a", 200, 1.0, "i")], 9))
    rig.finish()
    marks = [[mark.watermark for mark in partial.marks] for partial in rig.send(False) if partial.shard == 0]
    assert marks == [[START + 340_000], [DONE], [DONE]]
    assert rig.summary()["records"] == 4
