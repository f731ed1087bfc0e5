"""Subrequests inside of requests' records: the flow reads them as the receiver would have written them."""

import gzip
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.decoder import Decoder
from connectors.sorted_lines import LineSorter
from tests.connectors.test_decoder import FIELDS, GOOD, REQUESTS, comparable, decode, line, values
from tests.runs import checked, make_logs

T0 = 1_764_547_200_000
INSIDE = [
    {"RayID": "r2", "CacheCacheStatus": "hit", "EdgeResponseStatus": 404},
    {"RayID": "r3", "CacheCacheStatus": "miss", "EdgeEndTimestamp": T0 + 500},
]
MERGED = line(Subrequests=INSIDE)
APART = ("payload", "index", "sources", "refusals", "records")  # a request keeps its own bytes here


def of_the_receiver(*rows):
    """Decode what the receiver makes of lines."""
    found = LineSorter(REQUESTS, keep_bad=True).sort(b"\n".join(rows), 0)
    return comparable(Decoder(REQUESTS, FIELDS), [found.value], lines=True)[1]


def read_from(found):
    return {name: value for name, value in found.items() if name not in APART}


@pytest.mark.parametrize(
    ("payloads", "lines", "places"),
    [
        ([line(), MERGED, line()], False, [(0, 0), (1, 0), (1, 0), (1, 0), (2, 0)]),
        ([b"\n".join([line(), MERGED, line()])], False, [(0, 0), (0, 1), (0, 1), (0, 1), (0, 2)]),
        ([b"\n".join([line(), b"", MERGED, line()])], True, [(0, 0), (0, 1), (0, 1), (0, 1), (0, 2)]),
        ([gzip.compress(b"\n".join([line(), MERGED, line()]))], False, [(0, 0), (0, 1), (0, 1), (0, 1), (0, 2)]),
        ([b"[%b]" % b",".join([line(), MERGED, line()])], False, [(0, 0), (0, 1), (0, 1), (0, 1), (0, 2)]),
        ([line(), json.dumps(json.loads(MERGED), indent=1).encode(), line()], False, [(0, 0), (1, 0), (1, 0), (1, 0), (2, 0)]),
    ],
)
def test_subrequests_are_records_at_the_places_of_their_requests(payloads, lines, places):
    found = decode(*payloads, lines=lines)
    assert list(zip(found.payload.tolist(), found.index.tolist(), strict=True)) == places
    assert list(found.identity) == ["r1", "r1", "r2", "r3", "r1"]
    assert found.times.tolist() == [T0, T0, T0, T0 + 500, T0]
    assert values(found, "CacheCacheStatus") == [None, None, "hit", "miss", None]
    assert values(found, "WorkerSubrequest") == [None, None, True, True, None]
    assert [json.loads(each).get("RayID") for each in found.records(np.array([2, 3]))] == ["r2", "r3"]


def test_a_subrequest_whose_time_is_none_has_that_of_its_request_and_one_of_a_request_without_time_is_none():
    odd = line(Subrequests=[*INSIDE, {"RayID": "r4", "EdgeEndTimestamp": 7}])
    assert decode(odd).times.tolist() == [T0] * 4
    timeless = decode(line(Subrequests=INSIDE, EdgeEndTimestamp="never"), MERGED)
    assert (timeless.payload.tolist(), timeless.index.tolist()) == ([0, 1, 1, 1], [0] * 4)


@pytest.mark.parametrize("inside", ["x", [], [1, None], {"RayID": "b"}, [[{"RayID": "b"}]]])
def test_what_is_no_list_of_subrequests_is_passed_over(inside):
    assert list(decode(line(Subrequests=inside)).identity) == ["r1"]


# Larger integers are absent as they stand; the receiver writes those of a request that holds subrequests as floats.
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_VALUES = st.one_of(st.none(), _WHOLE, st.text(max_size=3), st.sampled_from([T0, T0 + 9, "hit", True, 1.5]))
_KEYS = st.sampled_from([*sorted(FIELDS), "RayID", "EdgeEndTimestamp", "ParentRayID", "other"])
_RECORDS = st.dictionaries(_KEYS, _VALUES, max_size=5)
_HELD = st.one_of(_VALUES, st.lists(st.one_of(_RECORDS, _VALUES), max_size=4))
_LINES = st.builds(lambda more, held: GOOD | more | held, _RECORDS, st.fixed_dictionaries({}, optional={"Subrequests": _HELD}))


@given(st.lists(_LINES, min_size=1, max_size=4), st.booleans())
def test_any_requests_give_what_the_receiver_would_have_written(records, lines):
    rows = [json.dumps(each).encode() for each in records]
    decode(*rows, lines=lines)  # both readers agree
    found = comparable(Decoder(REQUESTS, FIELDS), [b"\n".join(rows)], lines=True)[1]
    assert read_from(found) == read_from(of_the_receiver(*rows))


def test_an_archive_as_logpush_wrote_it_gives_the_windows_of_one_that_came_through_the_door(tmp_path):
    raw = make_logs(tmp_path / "raw", records=2_000, dirt=False)
    split = shutil.copytree(raw, tmp_path / "split")
    for path in sorted(raw.rglob("*.gz")):
        rows = [merge(json.loads(row), n) for n, row in enumerate(gzip.decompress(path.read_bytes()).splitlines())]
        path.write_bytes(gzip.compress(b"\n".join(rows) + b"\n"))
        sorter = LineSorter(REQUESTS, keep_bad=False)
        (split / path.relative_to(raw)).write_bytes(gzip.compress(sorter.sort(b"\n".join(rows), 0).value + b"\n"))
    config = tmp_path / "monitor.toml"
    config.write_text('[input.kafka]\nbrokers = ["127.0.0.1:9"]\ntopics = { "requests" = "http_requests" }\n')
    for each in (raw, split):
        out = tmp_path / f"out-{each.name}"
        checked("replay", "-c", config, "--source", f"archive:{each}", "--out", out)
    windows = [(tmp_path / f"out-{name}" / "windows.ndjson").read_bytes() for name in ("raw", "split")]
    assert windows[0] == windows[1]
    assert b'"metric":"cache_hit_rate"' in windows[0]


def merge(record, number):
    """Put subrequests that asked the cache into every third record."""
    if number % 3:
        return json.dumps(record).encode()
    inside = [{"RayID": f"s{number}-{n}", "CacheCacheStatus": ["hit", "miss"][n % 2]} for n in range(number % 4)]
    return json.dumps(record | {"Subrequests": inside}).encode()
