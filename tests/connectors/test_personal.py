"""Personal data: what is hashed or dropped at the door is nowhere behind it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dataset import DatasetOptions, build_dataset
from connectors.personal import Cleaner
from connectors.receive_options import ReceiveOptions
from connectors.sorted_lines import LineSorter

KEY = "a-key-of-the-owner-alone"
PATHS = {"drop": ("Agent", "Event.Headers.cookie"), "hashed": ("ClientIP", "blobs[1]", "user.id")}
CLEANER = Cleaner(**PATHS, key=KEY)
DATASET = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))


def cleaned(record):
    return json.loads(CLEANER.clean(json.dumps(record).encode()))


def test_values_are_dropped_or_hashed_wherever_they_stand():
    record = {
        "ClientIP": "192.0.2.1",
        "Agent": "curl",
        "Event": {"Headers": {"cookie": "a=b", "accept": "*/*"}},
        "blobs": ["created", "ann", "investor"],
        "user.id": "ann",
        "user": {"id": "ann"},
        "EdgeEndTimestamp": 1_764_547_200_123_456_789,
    }
    found = cleaned(record)
    hashes = {found["blobs"][1], found["user.id"], found["user"]["id"]}
    assert (len(hashes), len(found["ClientIP"])) == (1, 32)
    assert found["ClientIP"] not in hashes
    del record["Agent"]
    assert found == record | {
        "ClientIP": found["ClientIP"],
        "Event": {"Headers": {"accept": "*/*"}},
        "blobs": ["created", found["user.id"], "investor"],
        "user.id": found["user.id"],
        "user": {"id": found["user.id"]},
    }


def test_a_hash_depends_on_the_key_and_absent_values_stay_absent():
    other = Cleaner(**PATHS, key="another-key-of-the-owner")
    row = b'{"ClientIP":"192.0.2.1"}'
    assert CLEANER.clean(row) == CLEANER.clean(row) != other.clean(row)
    records: list[dict[str, object]] = [{}, {"blobs": {}}, {"user": "ann"}]
    for record in (*records, {"ClientIP": None}, {"ClientIP": ""}, {"blobs": ["one"]}):
        assert cleaned(record) == record


def test_the_last_of_two_alike_keys_counts_and_the_first_is_gone():
    found = CLEANER.clean(b'{"ClientIP":"192.0.2.1","ClientIP":"192.0.2.2","Agent":"a","Agent":"b"}')
    assert found == CLEANER.clean(b'{"ClientIP":"192.0.2.2"}')


ODD = [b'"\\ud800"', b'"\xff"', b"%d" % 10**30]


@pytest.mark.parametrize("row", [b'{"x":%s,"ClientIP":"ann"}' % each for each in ODD])
def test_what_strict_readers_refuse_is_cleaned_too(row):
    found = CLEANER.clean(row)
    assert found is None or (b"ann" not in found and b"ClientIP" in found)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["good", "bad", "timeless", "odd", "huge"]), max_size=8), st.booleans())
def test_nothing_personal_passes_whatever_the_line_is_and_every_line_counts(kinds, keep_bad):
    rows = {
        "good": b'{"EdgeEndTimestamp":1764547200,"RayID":"r","ClientIP":"192.0.2.77"}',
        "bad": b'{"EdgeEndTimestamp":1764547200,"ClientIP":"192.0.2.77"',
        "timeless": b'{"ClientIP":"192.0.2.77"}',
        "odd": b'{"EdgeEndTimestamp":1764547200,"x":"\xff\\ud800","ClientIP":"192.0.2.77"}',
        "huge": b'{"EdgeEndTimestamp":1764547200,"x":1e400,"ClientIP":"192.0.2.77"}',
    }
    sorter = LineSorter(DATASET, keep_bad=keep_bad, cleaner=CLEANER)
    found = sorter.sort(b"\n".join(rows[kind] for kind in kinds), 0)
    assert b"192.0.2.77" not in found.value + b"".join(bad.excerpt for bad in found.bad)
    assert found.records + len(found.bad) == len(kinds)
    assert found.value.count(b'"ClientIP":') >= kinds.count("good")


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"hash_": ("ClientIP",)}, "hash_key", "hash needs a key of at least 16 characters"),
        ({"drop": ("a..b",)}, "drop", "'a..b' is no path"),
        ({"drop": ("Logs[#]",)}, "drop", "nothing personal"),
    ],
)
def test_wrong_paths_and_a_missing_key_are_named(options, key, words):
    found = list(ReceiveOptions(**options).problems())
    assert [(each, words in problem) for each, problem in found] == [(key, True)]
