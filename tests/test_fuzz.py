"""Fuzzing of what takes bytes from outside: no bytes make it fail, and every line is a record or a dead letter with a reason.

EDGEWATCH_FUZZ is the number of cases of all properties together: 2 500 by `make test`, 100 000 by `make fuzz`.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import native
from connectors.dataset import DATASETS, DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.event_time import EARLIEST
from connectors.payload import rows
from connectors.personal import Cleaner
from connectors.sorted_lines import LineSorter
from connectors.upload import Upload, UploadRefused, cut
from tests import receiver
from tests.flows.test_ingest import committed

_PROPERTIES = 5
_CASES = max(int(os.environ.get("EDGEWATCH_FUZZ", "2500")) // _PROPERTIES, 1)
_INFLATED = 5_000  # bytes, and more is refused
_DATA = Path(__file__).parent / "data" / "logpush"

SEEDS = [
    *(row for path in sorted(_DATA.glob("*.ndjson")) for row in path.read_bytes().splitlines() if len(row) < 1500),
    b'{"EdgeEndTimestamp":1764547200000000000,"RayID":"8f1a","EdgeResponseStatus":200,"ClientRequestHost":"a"}',
    b'{"timestamp":1764547200000,"blobs":["/a","GET","200"],"doubles":[1.5,2],"indexes":["e","8f1a"]}',
    b'{"timestamp":1764547200000,"level":"error","levelValue":40,"error":{"message":"x"},"cf":{"ray":"8f1a"}}',
    b'{"timestamp":"2025-12-01T00:00:00Z","overall":"degraded","checks":{"database":{"status":"healthy","latencyMs":12}}}',
    b'{"timestamp":1764547200,"cache":{"hits":1,"misses":2},"database":{"waitingRequests":3}}',
    b'{"EventTimestampMs":1764547200000,"Outcome":"exception","Exceptions":[{"name":"E","message":["a",1]}],"Event":{"RayID":"1"}}',
    b'{"EdgeEndTimestamp":1764547200,"RayID":"a","ClientIP":"1","Subrequests":[{"RayID":"b","ClientIP":"2"},{"EdgeEndTimestamp":1}]}',
    b"1764547200000,5,x",
]
TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"null", b"true", b"NaN"),
    *(
        b"1e999",
        b"-0",
        b"9" * 40,
        b"[" * 600,
        b"\\ud800",
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b" ",
        b"{}",
    ),
]
EDITS = st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 40), st.sampled_from(TOKENS)), max_size=3)
LINE: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.sampled_from(SEEDS), EDITS), st.tuples(st.binary(max_size=40), st.just([]))
)
PACKINGS = st.sampled_from([bytes, bytes, bytes, lambda body: gzip.compress(body, 1, mtime=0)])


def edited(line):
    """Put tokens in place of pieces."""
    text, edits = line
    for place, length, token in edits:
        at = place % (len(text) + 1)
        text = text[:at] + token + text[at + length :]
    return text


BLOCK = st.lists(LINE, min_size=1, max_size=6).map(lambda found: b"\n".join(map(edited, found)))
KINDS = {kind: DatasetOptions(name=kind, kind=kind) for kind in DATASETS if kind not in ("json", "data_points")} | {
    "data_points": DatasetOptions(
        name="p", kind="data_points", blobs=("url", "method"), doubles=("total", "db"), indexes=("env", "ray_id")
    ),
    "json": DatasetOptions(
        name="j", kind="json", event_time=("timestamp", "meta.time"), strings={"a": "cf.ray"}, numbers={"n": "x[0]"}
    ),
    "csv": DatasetOptions(
        name="c", kind="json", csv=("t", "v", "w"), event_time=("t",), numbers={"v": "v"}, strings={"w": "w"}
    ),
}
BUILT = {name: build_dataset(options) for name, options in KINDS.items()}
DECODERS = {
    (name, way): Decoder(dataset, frozenset(dataset.fields), native=way)
    for name, dataset in BUILT.items()
    for way in (False, True)
    if way is False or (native.available() and not dataset.places and not dataset.csv)
}
WHOLE = {  # which leave subrequests inside of their requests: a line is one record at most
    (name, way): Decoder(BUILT[name], frozenset(BUILT[name].fields), native=way, unmerge=False) for name, way in DECODERS
}
SORTERS = {
    (name, clean): LineSorter(
        dataset,
        keep_bad=False,
        cleaner=Cleaner(drop=["ClientIP", "cf.ray"], hashed=["blobs[1]", "RayID"], key="k" * 16) if clean else None,
    )
    for name, dataset in BUILT.items()
    for clean in (False, True)
    if not (clean and dataset.csv)
}


def fuzzed(*strategies):
    """Run a property on its part of the cases."""
    return lambda test: settings(max_examples=_CASES, deadline=None)(given(*strategies)(test))


def plain(decoded):
    """Give all that was read as plain values: codes are a reader's own business."""
    strings = {
        name: [None if code < 0 else column.vocabulary[code] for code in column.codes.tolist()]
        for name, column in decoded.strings.items()
    }
    numbers = {name: [repr(value) for value in column.tolist()] for name, column in decoded.numbers.items()}
    flags = {name: column.tolist() for name, column in decoded.flags.items()}
    places = list(zip(decoded.payload.tolist(), decoded.index.tolist(), strict=True))
    refused = sorted((each.payload, each.index, each.reason) for each in decoded.refusals)
    return places, decoded.times.tolist(), strings, numbers, flags, list(decoded.identity), refused


def said_at(decoded):
    """Give the places of which something is said."""
    placed = zip(decoded.payload.tolist(), decoded.index.tolist(), strict=True)
    return {*placed, *((each.payload, each.index) for each in decoded.refusals)}


@pytest.mark.slow
@fuzzed(st.sampled_from(sorted(DECODERS, key=str)), BLOCK)
def test_every_line_of_a_file_is_a_record_or_refused(which, block):
    decoded = WHOLE[which].decode([block], lines=True)
    found = rows(block)
    places = sorted([*decoded.index.tolist(), *(each.index for each in decoded.refusals)])
    assert places == list(range(len(found) or 1))  # an empty part is one refusal
    assert said_at(DECODERS[which].decode([block], lines=True)) == {(0, index) for index in places}
    assert all(each.reason for each in decoded.refusals)
    assert [decoded.source(place) for place in range(len(decoded.times))] == [found[index] for index in decoded.index.tolist()]


@pytest.mark.slow
@fuzzed(st.sampled_from(sorted(BUILT)), st.lists(st.tuples(BLOCK, PACKINGS), min_size=1, max_size=4))
def test_every_message_is_read_or_refused_and_both_readers_agree(name, given_payloads):
    payloads = [packing(block) for block, packing in given_payloads]
    read = [plain(DECODERS[name, way].decode(payloads)) for way in (False, True) if (name, way) in DECODERS]
    assert read[0] == read[-1]
    whole = WHOLE[name, False].decode(payloads)
    assert said_at(DECODERS[name, False].decode(payloads)) == said_at(whole)
    places, *_, refused = plain(whole)
    # An array without elements is the only message that says nothing.
    heard = {payload for payload, _ in places} | {payload for payload, _, _ in refused}
    assert all(number in heard or _is_empty_array(payload) for number, payload in enumerate(payloads))
    assert len({*places, *((payload, index) for payload, index, _ in refused)}) == len(places) + len(refused)


def _is_empty_array(payload):
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    return json.loads(text.decode("utf-8", "surrogateescape")) == []


@pytest.mark.slow
@fuzzed(st.sampled_from(sorted(SORTERS)), BLOCK, st.integers(0, 10**6))
def test_the_door_accounts_for_every_line_and_lets_nothing_pass_that_the_flow_refuses(which, block, before):
    found = SORTERS[which].sort(block, before)
    lines = rows(block)
    assert found.lines == len(lines)
    more = found.records + len(found.bad) - found.lines
    assert more == 0 or (more > 0 and b'"Subrequests"' in block)  # subrequests are records of their own
    assert [each.line - before for each in found.bad] == sorted({each.line - before for each in found.bad})
    passed = rows(found.value)
    assert len(passed) == found.records
    if passed:
        decoded = DECODERS[which[0], False].decode([found.value], lines=True)
        assert decoded.refusals == []
        assert (decoded.times >= EARLIEST).all()
    if which[1]:
        assert not any(each.whole for each in found.bad)


def taken(body, encoding, size):
    """Give the status an upload is refused with, or 0, and its blocks."""
    upload = Upload(encoding, max_inflated=_INFLATED, max_ratio=10)
    try:
        for start in range(0, len(body), size):
            upload.write(body[start : start + size])
        upload.verify()
        return 0, list(upload.blocks(size))
    except UploadRefused as error:
        return error.status, []
    finally:
        upload.close()


@pytest.mark.slow
@fuzzed(st.one_of(st.binary(max_size=200), st.tuples(BLOCK, PACKINGS)), st.sampled_from(["", "gzip"]), st.integers(1, 400))
def test_an_upload_is_refused_or_gives_all_its_lines(body, encoding, size):
    text = None
    if isinstance(body, tuple):
        text, packing = body
        body = packing(text)
    status, blocks = taken(body, encoding, size)
    if text is None or status:
        assert status in (0, 400, 413)
        assert text is None or not status or encoding or body.startswith(b"\x1f\x8b") or len(text) > _INFLATED
        return
    if not body.startswith(b"\x1f\x8b") and not text.lstrip().startswith(b"["):
        assert [row for block in blocks for row in rows(block)] == rows(text)


@fuzzed(st.lists(st.binary(max_size=30), max_size=6), st.integers(1, 40))
def test_cutting_loses_no_line_wherever_pieces_end(pieces, size):
    found = list(cut(iter(pieces), size))
    assert [row for block in found for row in rows(block)] == rows(b"".join(pieces))
    assert all(len(block) <= size or b"\n" not in block for block in found)


@pytest.mark.kafka
def test_whatever_is_posted_the_receiver_answers_and_kafka_holds_what_it_said(brokers, topic, tmp_path):
    requests, letters = topic(1), topic(1)
    door = receiver.start(
        tmp_path, brokers, {requests: "http_requests"}, f'dead_letters = "{letters}"', "max_inflated = 100_000"
    )
    rng = np.random.default_rng(5)
    records = dead = 0
    with httpx.Client(timeout=60) as client:
        for case in range(max(_CASES // 10, 30)):
            seeds = [SEEDS[at] for at in rng.integers(0, len(SEEDS), rng.integers(1, 5)).tolist()]
            edits = [(int(rng.integers(0, 1500)), int(rng.integers(0, 40)), TOKENS[int(rng.integers(0, len(TOKENS)))])]
            body = b"\n".join(edited((seed, edits if case % 2 else [])) for seed in seeds)
            headers = {"Content-Encoding": "gzip"} if case % 3 else {}
            sent = gzip.compress(body) if case % 3 == 1 else body
            answer = client.post(f"{door.url}http_requests", content=sent, headers=headers)
            assert answer.status_code in (200, 400, 413), answer.text
            if answer.status_code == 200:
                found = answer.json()
                assert found["records"] + found["dead_letters"] >= (1 if body.strip() else 0)
                records, dead = records + found["records"], dead + found["dead_letters"]
    assert door.end() == 0
    assert "Traceback" not in door.log
    assert sum(len(rows(value)) for value in committed(brokers, requests, 1)) == records > 0
    assert len(committed(brokers, letters, 1)) == dead > 0
