"""Sorted lines: the receiver passes on exactly what the flow reads, and every other line is a dead letter with its number."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.personal import Cleaner
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.sorted_lines import LineSorter
from connectors.upload import LONGEST_LINE, Upload, UploadRefused

DATASET = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))
SORTER = LineSorter(DATASET, keep_bad=False)
TIMING = Timing(pane_ms=300_000, allowed_lateness_ms=60_000)


def line(n, **more):
    return json.dumps({"RayID": f"{n:x}", "EdgeEndTimestamp": 1_764_547_200_000 + n} | more).encode()


KEYS = st.sampled_from(["EdgeEndTimestamp", "EdgeStartTimestamp", "RayID", "x"])
LEAF = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
ANY = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3))
ODD = [b"", b" ", b"{}", b"{" * 500, b"[" * 2000, b'{"RayID":"\\ud800"}', b"NaN", b'{"EdgeEndTimestamp":1e400}', b"\x1f\x8b"]
ROW = st.one_of(
    st.builds(line, st.integers(0, 2**40)),
    st.builds(lambda n, value: line(n, EdgeEndTimestamp=value), st.integers(0, 9), ANY),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    st.dictionaries(KEYS, ANY).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(ODD),
)


def read_by_the_flow(value):
    progress = Progress(topic="t", partition=0)
    payloads = [value] if value else []
    limits = np.full(len(payloads), NO_LIMIT)
    read_batch(Decoder(DATASET, frozenset()), [Chunk(progress, TIMING, payloads, np.arange(len(payloads)), limits)])
    return progress.records, progress.dead


@pytest.mark.slow
@settings(max_examples=600)
@given(st.lists(ROW, max_size=10), st.integers(0, 50))
def test_what_passes_is_what_the_flow_reads_and_the_rest_is_numbered(rows, before):
    block = b"\n".join(rows)
    found = SORTER.sort(block, before)
    filled = [row for row in rows if row.strip()]
    bad = {each.line - before for each in found.bad}
    assert found.lines == len(filled) == found.records + len(bad)
    kept = [row for n, row in enumerate(filled) if n not in bad]
    assert [row for row in found.value.split(b"\n") if row.strip()] == kept
    assert read_by_the_flow(found.value) == (len(kept), 0)
    assert [filled[each.line - before][: len(each.excerpt)] for each in found.bad] == [each.excerpt for each in found.bad]


@settings(max_examples=600)
@given(st.binary(max_size=300), st.booleans(), st.booleans(), st.integers(1, 50))
def test_any_bytes_are_an_upload_whose_lines_all_count_or_are_refused(raw, packed, says_so, size):
    refusal = None
    upload = Upload("gzip" if says_so else "", max_inflated=10_000, max_ratio=10)
    upload.write(gzip.compress(raw) if packed else raw)
    try:
        if upload.verify():
            return
        blocks = [SORTER.sort(block, 0) for block in upload.blocks(size)]
    except UploadRefused as error:
        refusal = error
    finally:
        upload.close()
    if refusal is not None:
        assert (refusal.status, packed) == (400, False)
    elif not raw.lstrip().startswith(b"["):
        assert sum(each.lines for each in blocks) == sum(bool(row.strip()) for row in raw.split(b"\n"))


def test_a_clean_block_is_passed_on_as_it_came_with_its_first_ray_id():
    block = b"\n".join([line(10), b"", line(11)]) + b"\n"
    found = SORTER.sort(block, 0)
    assert (found.value is block, found.key, found.records, found.bad) == (True, b"a", 2, ())


def test_a_block_without_ray_ids_has_a_key_that_depends_on_its_bytes():
    block = b'{"EdgeEndTimestamp":1764547200}'
    keys = {SORTER.sort(each, 0).key for each in (block, block, block + b" ")}
    assert len(keys) == 2


@pytest.mark.parametrize("keep_bad", [False, True])
def test_a_line_that_fits_into_no_message_counts_once(keep_bad):
    found = LineSorter(DATASET, keep_bad=keep_bad).sort(b"x" * (LONGEST_LINE + 1), 7)
    reasons = [(each.line, each.reason) for each in found.bad]
    if keep_bad:  # the flow refuses what is left of it
        assert (found.value, found.lines, reasons) == (b"x" * 512, 1, [])
    else:
        assert (found.value, found.lines, reasons) == (b"", 1, [(7, f"a line longer than {LONGEST_LINE} bytes")])


def merged(**more):
    inside = [
        {"RayID": "b", "EdgeResponseStatus": 404},
        {"RayID": "c", "EdgeEndTimestamp": 1_764_547_200_500, "ParentRayID": "b"},
    ]
    return line(10, Subrequests=[*inside, *more.pop("others", [])], **more)


def test_merged_subrequests_are_records_of_their_own_with_the_time_and_the_parent_of_their_request():
    found = SORTER.sort(b"\n".join([line(1), merged(others=[7]), b"torn"]), 0)
    assert (found.records, found.lines, [bad.line for bad in found.bad]) == (4, 3, [2])
    records = [json.loads(row) for row in found.value.split(b"\n")]
    assert records[1] == {"RayID": "a", "EdgeEndTimestamp": 1_764_547_200_010, "Subrequests": [7]}
    assert records[2] == {
        "RayID": "b",
        "EdgeResponseStatus": 404,
        "EdgeEndTimestamp": 1_764_547_200_010,
        "ParentRayID": "a",
        "WorkerSubrequest": True,
    }
    assert (records[3]["ParentRayID"], records[3]["EdgeEndTimestamp"]) == ("b", 1_764_547_200_500)


@pytest.mark.parametrize("odd", [b'"\\ud800"', b'"\xff"', b"%d" % 10**30])
def test_merged_subrequests_are_found_in_what_strict_readers_refuse(odd):
    row = merged().replace(b"404", odd)
    found = SORTER.sort(row, 0)
    assert (found.records, read_by_the_flow(found.value)) == (3, (3, 0))


@pytest.mark.parametrize("inside", ["x", [], [1, None], {"RayID": "b"}])
def test_what_holds_no_subrequests_stays_as_it_is(inside):
    row = line(1, Subrequests=inside)
    assert SORTER.sort(row, 0).value == row


def test_personal_data_of_merged_subrequests_is_taken_out_too():
    cleaner = Cleaner(drop=["ClientIP"], hashed=[], key="")
    found = LineSorter(DATASET, keep_bad=False, cleaner=cleaner).sort(
        merged(others=[{"ClientIP": "192.0.2.7"}], ClientIP="192.0.2.8"), 0
    )
    assert (found.records, b"192.0.2" in found.value) == (4, False)
