"""Repeats: what counts once is a function of a partition's records, however they are chunked, decoded or resumed."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import repeats
from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.repeats import Memory

FIELDS = ("RayID", "ClientRequestURI", "EdgeResponseStatus", "WorkerSubrequest")
DATASET = build_dataset(DatasetOptions(name="d", kind="http_requests", dedup=FIELDS))
TIMING = Timing(pane_ms=300_000, allowed_lateness_ms=60_000)
SECOND = 1_764_547_200

RECORD = st.fixed_dictionaries(
    {"EdgeEndTimestamp": st.sampled_from([SECOND, SECOND + 1])},
    optional={
        "RayID": st.sampled_from(["a", "b", "\u00e9", "\n"]),
        "ClientRequestURI": st.sampled_from(["/", "/x"]),
        "EdgeResponseStatus": st.sampled_from([200, "200", 500, None]),
        "WorkerSubrequest": st.booleans(),
        "ClientIP": st.text(max_size=2),
    },
)


def identity(record):
    status = record.get("EdgeResponseStatus")
    return (
        record["EdgeEndTimestamp"],
        record.get("RayID"),
        record.get("ClientRequestURI"),
        None if status is None else int(status),
        record.get("WorkerSubrequest"),
    )


def read(records, chunk, *, native=None, resume=False):
    """Read records in messages of `chunk` records; gives how many stay of each message, and the progress."""
    decoder = Decoder(DATASET, frozenset({"ClientIP"}), native=native)
    progress, kept = Progress(topic="t", partition=0), []
    for first in range(0, len(records), chunk):
        rows = [json.dumps(each).encode() for each in records[first : first + chunk]]
        limits = np.full(len(rows), NO_LIMIT)
        batch = read_batch(decoder, [Chunk(progress, TIMING, rows, np.arange(first, first + len(rows)), limits)])
        kept += batch.place.offset.tolist()
        assert len(batch.identity) == len(batch) == len(batch.late)
        if resume:
            progress = Progress(**json.loads(json.dumps(progress.to_state())))
    return kept, progress


@given(st.lists(RECORD, max_size=30), st.integers(1, 9), st.booleans())
def test_each_record_counts_where_it_comes_first(records, chunk, resume):
    seen: set[tuple[object, ...]] = set()
    first = [n for n, each in enumerate(records) if identity(each) not in seen and not seen.add(identity(each))]  # type: ignore[func-returns-value]
    for native in (None, False):
        kept, progress = read(records, chunk, native=native, resume=resume)
        assert kept == first
        assert (progress.records, progress.repeats) == (len(records), len(records) - len(first))


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 7))
def test_what_is_remembered_is_bounded_and_does_not_depend_on_chunks(values, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "MEMORY", 5)
        whole = Memory().fresh(np.array(values, np.uint64)).tolist()
        memory, parts = Memory(), []
        for first in range(0, len(values), chunk):
            parts += memory.fresh(np.array(values[first : first + chunk], np.uint64)).tolist()
            memory = Memory(memory.to_state())
        known: list[int] = []
        for value, fresh in zip(values, whole, strict=True):
            assert fresh is (value not in known)
            known = [*known, value][-5:] if fresh else known
    assert parts == whole


def test_without_dedup_nothing_is_remembered():
    options = DatasetOptions(name="d", kind="http_requests")
    progress = Progress(topic="t", partition=0)
    rows = [b'{"EdgeEndTimestamp":1764547200,"RayID":"a"}'] * 3
    chunk = Chunk(progress, TIMING, rows, np.arange(3), np.full(3, NO_LIMIT))
    assert len(read_batch(Decoder(build_dataset(options), frozenset()), [chunk])) == 3
    assert (progress.repeats, progress.to_state()["memory"]) == (0, "")


def test_an_unknown_field_is_named():
    found = list(DatasetOptions(name="d", kind="app_logs", dedup=("RayID",)).problems())
    assert found == [("dedup", "no field 'RayID'")]
