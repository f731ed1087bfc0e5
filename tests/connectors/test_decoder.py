"""The decoder against the definition: native, typed and reference reading give the same columns for any bytes."""

import gzip
import json
import math

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from connectors import batch, native
from connectors.batch import Identities
from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.event_time import INVALID
from tests import services
from tests.acceptance import oracle

REQUESTS = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))
POINTS = build_dataset(
    DatasetOptions(
        name="performance",
        kind="data_points",
        blobs=("url", "method"),
        doubles=("total", "db"),
        indexes=("env", "ray_id"),
    )
)
FIELDS = frozenset({"ClientRequestHost", "EdgeResponseStatus", "EdgeTimeToFirstByteMs", "CacheCacheStatus", "WorkerSubrequest"})
GOOD = {
    "EdgeEndTimestamp": 1_764_547_200_000_000_000,
    "ClientRequestHost": "a",
    "EdgeResponseStatus": 200,
    "RayID": "r1",
}


def decode(*payloads, lines=False, dataset=REQUESTS, fields=FIELDS):
    """Decode by both readers, which must agree in everything, and give what the native one found, where it was built."""
    python = comparable(Decoder(dataset, fields, native=False), payloads, lines=lines)
    if not native.available():
        return python[0]
    found = comparable(Decoder(dataset, fields, native=True), payloads, lines=lines)
    assert found[1] == python[1]
    return found[0]


def comparable(decoder, payloads, *, lines):
    """Decode, and give all that is known of the records as plain values; codes are one reader's own business."""
    decoded = decoder.decode(payloads, lines=lines)
    every = np.arange(len(decoded.times))
    return decoded, {
        "payload": decoded.payload.tolist(),
        "index": decoded.index.tolist(),
        "times": decoded.times.tolist(),
        "columns": {name: list(map(str, values(decoded, name))) for name in names(decoded)},
        "identity": list(decoded.identity),
        "refusals": sorted((r.payload, r.index, r.reason, r.excerpt) for r in decoded.refusals),
        "sources": [decoded.source(i) for i in range(len(decoded.times))],
        "records": [record.strip() for record in decoded.records(every)],
        "details": decoder.details(decoded.records(every)),
        "hashes": Identities.joined([decoded.identity]).hashed(every).tolist(),
    }


def names(decoded):
    return [*decoded.numbers, *decoded.strings, *decoded.flags]


def values(decoded, name):
    """Give a column as plain values, None where absent."""
    if name in decoded.numbers:
        return [None if math.isnan(v) else v for v in decoded.numbers[name].tolist()]
    if name in decoded.flags:
        return [{1: True, 0: False, -1: None}[v] for v in decoded.flags[name].tolist()]
    column = decoded.strings[name]
    return [column.vocabulary[code] if code >= 0 else None for code in column.codes.tolist()]


def line(**changes):
    return json.dumps(GOOD | changes).encode()


def test_details_are_read_anew_by_the_rules_of_columns():
    decoder = Decoder(REQUESTS, FIELDS)
    said: list[dict[str, object]] = [
        {"ClientRequestPath": "/a?b", "EdgeColoCode": "FRA", "ClientCountry": "DE", "EdgeResponseStatus": 500},
        {"ClientRequestURI": "/u", "ClientRequestPath": None, "EdgeResponseStatus": "404", "ClientRequestHost": "h"},
        {"ClientRequestPath": 7, "ClientRequestURI": [], "EdgeColoCode": "\ud800", "EdgeResponseStatus": 10**30},
        {"EdgeResponseStatus": 499.5, "ClientRequestPath": "\u00e9\n"},
    ]
    batch = b"\n".join(json.dumps(GOOD | {"ClientRequestHost": None} | each).encode() for each in said)
    decoded = decode(batch)
    assert decoder.details(decoded.records(np.arange(4))) == [
        ("/a?b", "FRA", "de", "500", None),
        ("/u", None, None, "404", "h"),
        (None, None, None, None, None),
        ("\u00e9\n", None, None, "499.5", None),
    ]
    point = Decoder(POINTS, frozenset({"total"}))
    points = [{"timestamp": 1_764_547_200, "blobs": blobs} for blobs in (["/x", "GET"], ["/y"], [None, 3], "none")]
    decoded = decode(*(json.dumps(each).encode() for each in points), dataset=POINTS, fields=frozenset({"total"}))
    assert point.details(decoded.records(np.arange(4))) == [("/x", "GET"), ("/y", None), (None, None), (None, None)]


def test_the_native_reader_was_built_and_reads_these_fields():
    if not native.available():
        services.missing("compiler")
    assert Decoder(REQUESTS, FIELDS).native
    assert Decoder(POINTS, frozenset({"url", "db", "env"})).native


def test_one_message_one_record():
    decoded = decode(line())
    assert decoded.times.tolist() == [1_764_547_200_000]
    assert values(decoded, "ClientRequestHost") == ["a"]
    assert list(decoded.identity) == ["r1"]
    assert decoded.refusals == []


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize(
    "body",
    [
        b"\n".join([line(ClientRequestHost="a"), line(ClientRequestHost="b")]),
        b"\n".join([line(ClientRequestHost="a"), line(ClientRequestHost="b"), b""]),
        b"[" + line(ClientRequestHost="a") + b", " + line(ClientRequestHost="b") + b"]",
        b"\r\n".join([line(ClientRequestHost="a"), b"", line(ClientRequestHost="b")]),
    ],
)
def test_a_message_may_be_a_batch_in_lines_or_an_array_plain_or_compressed(squeeze, body):
    decoded = decode(squeeze(body), line(ClientRequestHost="c"))
    assert values(decoded, "ClientRequestHost") == ["a", "b", "c"]
    assert decoded.payload.tolist() == [0, 0, 1]
    assert decoded.index.tolist() == [0, 1, 0]


def test_concatenated_gzip_members_are_one_value():
    decoded = decode(gzip.compress(line() + b"\n") + gzip.compress(line(ClientRequestHost="b")))
    assert values(decoded, "ClientRequestHost") == ["a", "b"]


def test_a_pretty_printed_object_is_one_record():
    assert len(decode(json.dumps(GOOD, indent=2).encode()).times) == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, "empty value"),
        (b"", "empty value"),
        (b" \n", "empty value"),
        (b"{", "not JSON"),
        (b"null", "not JSON"),
        (b"17", "no JSON object but a number"),
        (b'"text"', "no JSON object but a string"),
        (b"[17]", "array element is no JSON object but a number"),
        (b'{"a": NaN}', "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b"\x00\xff binary", "not JSON"),
        (b'"89.163.242.206",1506702504433000200', "not JSON"),
        (b"[" * 5000 + b"]" * 5000, "not JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (gzip.compress(b"{}", mtime=0)[:-9], "compressed value cannot be inflated"),
    ],
)
def test_what_is_no_object_is_one_dead_letter_with_its_reason(payload, reason):
    decoded = decode(line(), payload, line())
    assert len(decoded.times) == 2
    assert [(r.payload, r.index) for r in decoded.refusals] == [(1, 0)]
    assert decoded.refusals[0].reason.startswith(reason)


def test_a_bad_line_in_a_batch_leaves_its_neighbours_alone():
    decoded = decode(b"\n".join([line(), b"{broken", line(), b"[1]", line()]))
    assert decoded.index.tolist() == [0, 2, 4]
    assert [(r.index, r.reason) for r in decoded.refusals] == [(1, "not JSON"), (3, "no JSON object but an array")]


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (200, 200.0),
        (200.0, 200.0),
        ("200", 200.0),
        ("-12.5", -12.5),
        ("1e3", None),
        (" 1", None),
        (True, None),
        (None, None),
        ([200], None),
        ({"a": 1}, None),
        (10**30, None),
        (-(2**63), float(-(2**63))),
        (2**63, None),
        (-(10**25), None),
        (-0.0, 0.0),
        (1e30, 1e30),
    ],
)
def test_a_wrong_type_or_null_makes_the_value_absent_not_the_record_bad(value, want):
    decoded = decode(line(), line(EdgeResponseStatus=value), line())
    assert values(decoded, "EdgeResponseStatus") == [200.0, want, 200.0]
    assert str(values(decoded, "EdgeResponseStatus")[1]) == str(want)


def test_a_number_outside_float64_is_absent_and_so_is_one_of_ten_thousand_digits():
    decoded = decode(b'{"EdgeResponseStatus": 1e400}', b'{"EdgeResponseStatus": ' + b"9" * 10_000 + b"}")
    assert values(decoded, "EdgeResponseStatus") == [None, None]


def test_bad_bytes_make_the_one_value_absent_that_holds_them_and_nothing_elsewhere():
    host = b'{"EdgeEndTimestamp":1764547200,"EdgeResponseStatus":200,"ClientRequestHost":"b\xff"}'
    other = b'{"EdgeEndTimestamp":1764547200,"ClientRequestUserAgent":"b\xff","ClientRequestHost":"h"}'
    lone = b'{"EdgeEndTimestamp":1764547200,"EdgeResponseStatus":404,"ClientRequestHost":"\\ud800"}'
    unused = b'{"EdgeEndTimestamp":1764547200,"ClientRequestUserAgent":"\\ud800","ClientRequestHost":"h"}'
    decoded = decode(host, other, lone, unused)
    assert values(decoded, "ClientRequestHost") == [None, "h", None, "h"]
    assert values(decoded, "EdgeResponseStatus") == [200.0, None, 404.0, None]
    assert decoded.refusals == []


def test_of_duplicate_keys_the_last_one_counts_for_both_readers():
    clean = b'{"EdgeEndTimestamp":1,"EdgeEndTimestamp":1764547200,"ClientRequestHost":"a","ClientRequestHost":"b"}'
    dirty = clean[:-1] + b',"EdgeResponseStatus":"x"}'
    decoded = decode(clean, dirty)
    assert values(decoded, "ClientRequestHost") == ["b", "b"]
    assert decoded.times.tolist() == [1_764_547_200_000] * 2


def test_broken_halves_are_never_joined_to_a_whole():
    whole = b'{"EdgeEndTimestamp":1764547200}'
    decoded = decode(whole + whole, b'{"EdgeEndTimestamp":', b"1764547200}")
    assert len(decoded.times) == 0
    assert [r.payload for r in decoded.refusals] == [0, 1, 2]


def test_the_second_time_field_stands_in_where_the_first_is_invalid():
    decoded = decode(line(EdgeEndTimestamp="never", EdgeStartTimestamp="2025-12-01T00:00:00Z"), line(EdgeEndTimestamp=None))
    assert decoded.times.tolist() == [1_764_547_200_000, INVALID]


def test_either_name_of_the_request_source_is_read():
    decoded = decode(
        b'{"ClientRequestSource":"eyeball"}',
        b'{"RequestSource":"healthcheck"}',
        fields=frozenset({"ClientRequestSource"}),
    )
    assert values(decoded, "ClientRequestSource") == ["eyeball", "healthcheck"]


def test_case_carries_nothing_in_cache_status():
    decoded = decode(line(CacheCacheStatus="HIT"), line(CacheCacheStatus="hit"), line(CacheCacheStatus="Miss"))
    assert values(decoded, "CacheCacheStatus") == ["hit", "hit", "miss"]
    assert decoded.strings["CacheCacheStatus"].vocabulary == ["hit", "miss"]


def test_positions_of_a_data_point_are_columns():
    fields = frozenset({"url", "db", "env"})
    good = b'{"timestamp":"2025-12-01T00:00:00Z","blobs":["u","GET"],"doubles":[1,2.5],"indexes":["production","ray"]}'
    short = b'{"timestamp":1764547200,"blobs":[],"doubles":[1]}'
    odd = b'{"timestamp":1764547200,"blobs":[1,2],"doubles":[1,"7.5"],"indexes":"x"}'
    decoded = decode(good, short, odd, dataset=POINTS, fields=fields)
    assert values(decoded, "db") == [2.5, None, 7.5]
    assert values(decoded, "url") == ["u", None, None]
    assert values(decoded, "env") == ["production", None, None]
    assert list(decoded.identity) == ["ray", None, None]


def test_a_line_of_a_megabyte_is_read():
    decoded = decode(line(ClientRequestUserAgent="x" * 1_000_000))
    assert values(decoded, "ClientRequestHost") == ["a"]


_SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["12", "-1.5"]),
)
_VALUE = st.one_of(_SCALAR, st.lists(_SCALAR, max_size=2), st.dictionaries(st.text(max_size=3), _SCALAR, max_size=2))
_RECORD = st.dictionaries(st.sampled_from([*sorted(FIELDS), "EdgeEndTimestamp", "EdgeStartTimestamp", "Other"]), _VALUE)
_BYTES = st.one_of(
    _RECORD.map(lambda r: json.dumps(r).encode()),
    _RECORD.map(lambda r: json.dumps(r, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=12),
    st.just(line()),
)


def _reference(payload):
    try:
        record = json.loads(payload.decode("utf-8", "surrogateescape"), parse_constant=oracle.refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


@given(st.lists(_BYTES, max_size=8))
def test_any_lines_equal_the_definition_record_by_record(payloads):
    lines = [piece for payload in payloads for piece in payload.split(b"\n") if piece.strip()]
    decoded = decode(*lines)
    parsed = [_reference(piece) for piece in lines if not isinstance(_try_array(piece), list)]
    records = [record for record in parsed if record is not None]
    if any(isinstance(_try_array(piece), list) for piece in lines):
        return
    assert len(decoded.times) == len(records)
    assert len(decoded.refusals) == len(lines) - len(records)
    for name, want in (("EdgeResponseStatus", oracle.number), ("ClientRequestHost", oracle.text)):
        got = values(decoded, name)
        assert got == [None if (v := want(r.get(name))) is None else v + 0.0 if name[0] == "E" else v for r in records]
    times = [
        next((t for t in (oracle.event_ms(r.get(f)) for f in REQUESTS.event_time) if t is not None), None) for r in records
    ]
    assert decoded.times.tolist() == [INVALID if t is None else t for t in times]
    assert np.all(np.diff(decoded.payload) >= 0)


def _try_array(piece):
    try:
        return json.loads(piece.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


_SEEDS = [
    line(
        ClientRequestHost="b\u00e9 \u20ac \U0001f600", EdgeTimeToFirstByteMs=0.1 + 0.2, Nested={"a": [1, {"b": None}], "c": "x"}
    ),
    b'{"EdgeEndTimestamp":"2025-12-01T00:00:00.5Z","ClientRequestHost":"a\\u0026\\/\\n","WorkerSubrequest":true,"EdgeResponseStatus":"200"}',
    b'{ "EdgeStartTimestamp" : 1764547200 , "EdgeResponseStatus" : 2e2 , "CacheCacheStatus" : "HIT" }\r',
    b'{"timestamp":"1764547200","blobs":["u",null],"doubles":[1,"7.5",-0.0],"indexes":["production","ray"]}',
    json.dumps([GOOD, GOOD]).encode(),
    json.dumps(GOOD, indent=1).encode(),
]
_EDITS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 3),
        st.sampled_from(
            [b"", b'"', b"\\", b"\n", b",", b"}", b"{", b"[", b"]", b":", b"0", b"-", b".", b"e", b"\x00", b"\xff", b" "]
        ),
    ),
    max_size=3,
)


@st.composite
def _damaged(draw):
    """Give a payload of one to four lines with bytes cut out and put in anywhere."""
    payload = b"\n".join(draw(st.lists(st.sampled_from(_SEEDS), min_size=1, max_size=4)))
    for place, cut, put in draw(_EDITS):
        at = place % (len(payload) + 1)
        payload = payload[:at] + put + payload[at + cut :]
    return payload


@given(st.lists(_damaged(), max_size=3), st.booleans(), st.sampled_from([REQUESTS, POINTS]))
def test_both_readers_agree_on_damaged_bytes(payloads, lines, dataset):
    decode(*payloads, lines=lines, dataset=dataset, fields=FIELDS if dataset is REQUESTS else frozenset({"url", "db", "env"}))


_TIMES = st.one_of(
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.from_regex(r"[0-9]{1,21}", fullmatch=True),
    st.from_regex(
        r"[0-9]{3,5}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,10})?(Z|[+-]0[0-9]:00)?", fullmatch=True
    ),
)


@given(st.lists(_TIMES, max_size=6))
def test_both_readers_agree_on_event_times(times):
    decode(*[json.dumps({"EdgeEndTimestamp": time, "EdgeResponseStatus": time}).encode() for time in times])


@given(st.lists(st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True), max_size=8))
def test_both_readers_round_numbers_alike(numbers):
    decode(*[b'{"EdgeResponseStatus":%b,"EdgeTimeToFirstByteMs":"%b"}' % (n.encode(), n.encode()) for n in numbers])


def test_an_object_over_several_lines_is_no_record_of_a_file():
    decoded = decode(line(), json.dumps(GOOD, indent=1).encode(), line(), lines=True)
    assert decoded.payload.tolist() == [0, 2]
    assert {r.payload for r in decoded.refusals} == {1}


def test_an_own_event_time_that_is_also_a_column_is_left_to_python():
    options = DatasetOptions(name="own", kind="http_requests", event_time=("RayID",))
    assert not Decoder(build_dataset(options), FIELDS).native


def test_without_the_compiled_reader_python_reads(monkeypatch):
    monkeypatch.setenv("EDGEWATCH_NATIVE", "0")
    assert not Decoder(REQUESTS, FIELDS).native
    with pytest.raises(RuntimeError, match="was not built"):
        Decoder(REQUESTS, FIELDS, native=True)


def test_identities_are_made_texts_alike_with_and_without_a_compiler(monkeypatch):
    texts = ["a", None, "", "naïve", "b" * 40, "\N{SNOWMAN}"]
    column = Identities.joined([Identities.of(texts), Identities.of(texts[::-1])])
    places = np.array([11, 0, 3, 5, 1, 2, 8])
    found = column.texts(places)
    monkeypatch.setattr(batch, "_native_texts", None)
    assert found == column.texts(places) == ["a", "a", "naïve", "\N{SNOWMAN}", None, "", "naïve"]
