"""Archives: what is read of folders of files, in which order, and what becomes of files that are not as they should be."""

import gzip
import json
import random

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors import log_blocks
from connectors.archive import ArchiveSource, Reading
from connectors.batch import DONE
from connectors.dataset import DatasetOptions, build_dataset
from connectors.source import SourceError
from flows.config import loads
from flows.inputs import own_lateness

START = 1_764_547_200_000
DATASETS = {"http_requests": build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))}


def line(n, ms=None):
    return json.dumps({"EdgeEndTimestamp": START + n * 1000 if ms is None else ms, "ClientRequestHost": f"h{n}"}).encode()


def reading(**changes):
    given_ = {
        "datasets": DATASETS,
        "fields": {"http_requests": frozenset({"ClientRequestHost"})},
        "pane_ms": 300_000,
        "length_ms": 300_000,
        "allowed_lateness_ms": 60_000,
        "max_ahead_ms": 3_600_000,
        "chunk_records": 7,
    }
    return Reading(**(given_ | changes))  # type: ignore[arg-type]


def source(root, state, **changes):
    state.mkdir(parents=True, exist_ok=True)
    return ArchiveSource(root, reading(**changes), state)


def drained(lane):
    batches = []
    while not lane.done:
        batches += lane.read()
    return batches


def hosts(batches):
    out = []
    for batch in batches:
        column = batch.strings["ClientRequestHost"]
        out += [column.vocabulary[code] for code in column.codes.tolist()]
    return out


def all_of(found):
    return [batch for name in found.lanes() for batch in drained(found.open(name, None))]


def test_sub_folders_are_partitions_and_files_come_in_name_order_whatever_their_form(tmp_path):
    base = tmp_path / "logs" / "http_requests"
    (base / "p0").mkdir(parents=True)
    (base / "p1").mkdir()
    (base / "p0" / "b.ndjson.gz").write_bytes(gzip.compress(line(3) + b"\n" + line(4)))
    (base / "p0" / "a.ndjson").write_bytes(line(0) + b"\n\n" + line(1) + b"\n  \n" + line(2) + b"\n")
    (base / "p0" / "c.ndjson.zst").write_bytes(zstandard.compress(line(5)) + zstandard.compress(b"\n" + line(6)))
    (base / "p0" / ".hidden.ndjson").write_bytes(line(99))
    (base / "p1" / "a.json").write_bytes(line(7))
    found = source(tmp_path / "logs", tmp_path / "state")
    assert found.partitions() == {"http_requests": ["http_requests/p0", "http_requests/p1"]}
    batches = all_of(found)
    assert [h for h in hosts(batches) if h != "h7"] == [f"h{n}" for n in range(7)]
    offsets = [
        int(o)
        for b in batches
        for o, p in zip(b.place.offset, b.place.partition, strict=True)
        if b.place.partitions[p][-1] == "0"
    ]
    assert offsets == list(range(7))
    assert {mark.partition: mark.watermark for batch in batches for mark in batch.marks} == {
        "http_requests/p0": DONE,
        "http_requests/p1": DONE,
    }


@pytest.mark.parametrize("nested", [True, False])
def test_without_dataset_folders_the_first_configured_dataset_is_meant(tmp_path, nested):
    root = tmp_path / "logs"
    folder = root / "part" if nested else root
    folder.mkdir(parents=True)
    (folder / "x.ndjson").write_bytes(line(0))
    found = source(root, tmp_path / "state")
    assert found.partitions() == {"http_requests": ["http_requests/part" if nested else "http_requests/."]}
    assert hosts(all_of(found)) == ["h0"]


def test_the_name_of_a_file_limits_how_far_ahead_its_records_may_be(tmp_path):
    root = tmp_path / "logs"
    root.mkdir()
    until = START + 3_600_000  # 01:00, an hour ahead of the file's end at 00:00
    body = [line(0, until), line(1, until + 1), line(2, 7_258_118_400_000), line(3, 5_000)]
    (root / "20251130T230000Z_20251201T000000Z_ab.ndjson").write_bytes(b"\n".join(body))
    batches = all_of(source(root, tmp_path / "state"))
    assert hosts(batches) == ["h0"]
    reasons = [letter.reason for batch in batches for letter in batch.dead]
    assert ["future" in reason for reason in reasons] == [True, True, False]
    assert "before 1990" in reasons[2]


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.compress])
def test_a_torn_file_gives_what_can_be_read_and_one_dead_letter_that_names_it(tmp_path, squeeze):
    root = tmp_path / "logs"
    root.mkdir()
    # Numbers that hardly compress, so that half of the bytes is about half of the lines.
    noise = random.Random(1)
    whole = squeeze(b"".join(line(n)[:-1] + b', "x": "%x"}\n' % noise.getrandbits(2000) for n in range(3000)))
    (root / "a.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    if squeeze is zstandard.compress:
        (root / "a.ndjson.gz").rename(root / "a.ndjson.zst")
    (root / "b.ndjson").write_bytes(line(9999))
    batches = all_of(source(root, tmp_path / "state"))
    read = hosts(batches)
    letters = [letter for batch in batches for letter in batch.dead]
    assert read[-1] == "h9999"
    assert read[:-1] == [f"h{n}" for n in range(len(read) - 1)]
    assert len(read) > 1000
    assert sum(letter.reason.startswith("a.ndjson") for letter in letters) == 1


def test_a_line_without_end_is_one_dead_letter_and_the_next_line_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(log_blocks, "LONGEST_LINE", 2_000_000)
    root = tmp_path / "logs"
    root.mkdir()
    (root / "a.ndjson").write_bytes(line(0) + b"\n" + b"x" * 5_000_000 + b"\n" + line(1) + b"\n")
    batches = all_of(source(root, tmp_path / "state"))
    assert hosts(batches) == ["h0", "h1"]
    assert [(letter.offset, len(letter.payload)) for b in batches for letter in b.dead] == [(1, 512)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(1, 40), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6), step=st.integers(1, 3))
def test_any_chunks_and_any_resume_give_every_record_once_in_order(tmp_path_factory, chunk, cuts, step):
    root = tmp_path_factory.mktemp("logs")
    (root / "p").mkdir()
    for number in range(3):
        body = b"\n".join(line(n) if n % 5 else b"broken" for n in range(number * 30, number * 30 + 30))
        (root / "p" / f"{number}.ndjson.gz").write_bytes(gzip.compress(body))
    state = tmp_path_factory.mktemp("state")
    found = source(root, state, chunk_records=chunk)
    batches, snapshot, done, turn = [], None, False, 0
    while not done:
        lane = found.open("lane-0", snapshot)
        for _ in range(cuts[turn % len(cuts)] * step):
            if not lane.done:
                batches += lane.read()
        snapshot, done = lane.snapshot(), lane.done
        lane.close()
        turn += 1
    assert hosts(batches) == [f"h{n}" for n in range(90) if n % 5]
    assert [letter.offset for batch in batches for letter in batch.dead] == list(range(0, 90, 5))


@pytest.mark.parametrize(("make", "words"), [(False, "is not a folder"), (True, "holds no files")])
def test_nothing_to_read_is_said_with_the_folders_name(tmp_path, make, words):
    root = tmp_path / "logs"
    if make:
        root.mkdir()
    with pytest.raises(SourceError, match=words) as caught:
        source(root, tmp_path / "state")
    assert str(root) in str(caught.value)


def test_files_that_can_only_be_earlier_than_the_range_are_not_read(tmp_path):
    root = tmp_path / "logs"
    root.mkdir()
    (root / "20251130T000000Z_20251130T010000Z_a.ndjson").write_bytes(b"never read")
    (root / "20251201T000000Z_20251201T010000Z_b.ndjson").write_bytes(line(0))
    found = source(root, tmp_path / "state", start=START, end=START + 300_000)
    batches = all_of(found)
    assert (hosts(batches), [b.dead for b in batches if b.dead]) == (["h0"], [])


@pytest.mark.parametrize("split", [True, False])
def test_a_range_behind_every_file_says_from_when_to_when_there_are_records(tmp_path, split):
    root = tmp_path / "logs"
    for partition, lines in {"a": [b"{}", line(60), line(5)], "b": [line(30), line(90), line(7, 1000)]}.items():
        (root / partition).mkdir(parents=True)
        for number, part in enumerate([[each] for each in lines] if split else [lines]):
            name = f"20251201T00{number}000Z_20251201T00{number}500Z_{number}.ndjson.gz"
            (root / partition / name).write_bytes(gzip.compress(b"\n".join(part)))
    words = "http_requests: records from 2025-12-01 00:00:05 UTC to 2025-12-01 00:01:30 UTC"
    if split:  # the last file of b holds no time that can be
        words = "http_requests: records from 2025-12-01 00:00:05 UTC to 2025-12-01 00:00:30 UTC"
    with pytest.raises(SourceError, match=f"there is no record from 2025-12-02 02:00:00 UTC on. What is there: {words}"):
        source(root, tmp_path / "state", start=START + 26 * 3_600_000)


@pytest.mark.parametrize("lines", [b"", b"\n", b"a", b"a\n\nb\n", b"x" * 9_000 + b"\n" * 9_000])
def test_new_lines_are_found_alike_with_and_without_a_compiler(lines, monkeypatch):
    found = log_blocks.line_ends(lines).tolist()
    monkeypatch.setattr(log_blocks, "_native_ends", None)
    assert found == log_blocks.line_ends(lines).tolist() == [place for place, byte in enumerate(lines) if byte == 10]


def test_the_topic_s_own_lateness_holds_for_a_folder_too(tmp_path):
    base = tmp_path / "logs" / "http_requests"
    base.mkdir(parents=True)
    (base / "a.ndjson").write_bytes(b"\n".join([line(0), *(line(n) for n in range(700, 720)), line(1)]))
    text = """
[input.kafka]
brokers = ["127.0.0.1:1"]
topics = { a = "http_requests", b = { dataset = "http_requests", allowed_lateness = "20m" }, c = "health" }
"""
    own = own_lateness(loads(text, tmp_path / "m.toml"))
    assert own == {"http_requests": 1_200_000}
    lost = []
    for number, lateness in enumerate(({}, own)):
        found = source(tmp_path / "logs", tmp_path / f"state{number}", lateness=lateness)
        lost.append(sum(int(batch.late.sum()) for batch in all_of(found)))
    assert lost == [1, 0]
    with pytest.raises(SourceError, match="allowed_lateness"):
        source(tmp_path / "logs", tmp_path / "state0", lateness=own)
