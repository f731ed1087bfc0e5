"""Windows: any interleaving, split, shard count or restart gives the bytes of the plain recomputation."""

import json
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.barrier import Scope
from flows.metric import MetricOptions
from flows.output import Closed
from flows.snapshot import pack, unpack
from tests.flows.logs import METRICS, START, Rig, line, options

HOSTS = ["a", "b", "c", "d", None]
RECORD = st.builds(
    lambda offset, host, status, ttfb, ip: (START + offset, host, status, ttfb, ip),
    st.integers(0, 1_500_000),
    st.sampled_from(HOSTS),
    st.sampled_from([200, 200, 404, 500, None]),
    st.one_of(st.none(), st.floats(0, 5000), st.integers(0, 300)),
    st.sampled_from(["i1", "i2", "i3", None]),
)
LOG = st.lists(st.lists(RECORD, max_size=25), min_size=1, max_size=3)


def encoded(log):
    return [
        [line(ms, host, status, ttfb, ip, ray=f"{p}-{n}") for n, (ms, host, status, ttfb, ip) in enumerate(records)]
        for p, records in enumerate(log)
    ]


def run(lines, chosen, *, cuts=None, shards=3, order=None, restart=False):
    rig = Rig(range(len(lines)), chosen, shards=shards)
    pending = [list(part) for part in lines]
    steps = order or [p for p in range(len(lines)) for _ in range(len(lines[p]))]
    for number, partition in enumerate(steps):
        size = cuts[number % len(cuts)] if cuts else 1000
        part, pending[partition] = pending[partition][:size], pending[partition][size:]
        if part:
            rig.feed(partition, part)
        if restart and number % 3 == 0:
            rig.restart()
    for partition, rest in enumerate(pending):
        if rest:
            rig.feed(partition, rest)
    rig.finish()
    return rig


def recomputed(log, chosen):
    """Work out (window start, metric, key, statistic) -> value from scratch, with late records left out."""
    members, late = defaultdict(list), 0
    for records in log:
        high = None
        for record in records:
            end = record[0] // 300_000 * 300_000 + 300_000
            if high is not None and end <= high - chosen.allowed_lateness_ms:
                late += 1
            else:
                members[end - 300_000].append(record)
            high = record[0] if high is None else max(high, record[0])
    out: dict[tuple, float] = {}
    for start, records in members.items():
        for host in [None, *{r[1] for r in records if r[1] is not None}]:
            group = records if host is None else [r for r in records if r[1] == host]
            key = "{}" if host is None else json.dumps({"ClientRequestHost": host}, separators=(",", ":"))
            out[start, "requests", key, "count"] = len(group)
            bad = sum(r[2] is not None and r[2] >= 400 for r in group)
            out[start, "error_rate", key, "ratio"] = bad / len(group)
            times = [float(r[3]) for r in group if r[3] is not None]
            if times:
                out[start, "response_time", key, "mean"] = math.fsum(times) / len(times)
                out[start, "response_time", key, "p99"] = float(np.percentile(times, 99))
            clients = {r[4] for r in group if r[4] is not None}
            if clients and host is None:
                out[start, "clients", key, "distinct"] = len(clients)
    return out, late


def rows(rig):
    out = {}
    for text in rig.output().splitlines():
        row = json.loads(text)
        key = json.dumps(row["key"], separators=(",", ":"))
        start = int(np.datetime64(row["window_start"][:-1], "ms").astype(int))
        out[start, row["metric"], key, row["statistic"]] = row["value"]
    return out


@settings(max_examples=60)
@given(LOG)
def test_windows_equal_recomputation_from_scratch(log):
    rig = run(encoded(log), options())
    want, late = recomputed(log, options())
    got = rows(rig)
    assert {place: got.get(place) for place in want} == want
    checked = {("requests", "count"), ("error_rate", "ratio"), ("response_time", "p99"), ("clients", "distinct")}
    assert {p for p in got if (p[1], p[3]) in checked} == {p for p in want if (p[1], p[3]) in checked}
    assert (rig.summary()["records"], rig.summary()["late"]) == (sum(map(len, log)), late)


@settings(max_examples=60)
@given(LOG, st.data())
def test_any_interleaving_chunking_sharding_and_restart_gives_the_same_bytes(log, data):
    lines = encoded(log)
    chosen = options(exact_samples=data.draw(st.sampled_from([3, 20_000])))
    want = run(lines, chosen)
    steps = data.draw(st.permutations([p for p in range(len(lines)) for _ in lines[p]]))
    cuts = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    got = run(lines, chosen, cuts=cuts, order=steps, shards=data.draw(st.integers(1, 9)), restart=data.draw(st.booleans()))
    for kind in ("windows", "window_histograms"):
        assert got.output(kind) == want.output(kind)
    assert sorted(got.output("exemplars").splitlines()) == sorted(want.output("exemplars").splitlines())


@settings(max_examples=30)
@given(LOG)
@pytest.mark.slow
def test_hopping_windows_hold_what_a_tumbling_one_of_that_span_holds(log):
    chosen = options(hop_ms=60_000, allowed_lateness_ms=10**9)
    hopping = rows(run(encoded(log), chosen))
    for shift in range(5):
        moved = [[(ms - shift * 60_000, *rest) for ms, *rest in records] for records in log]
        tumbling = rows(run(encoded(moved), options(allowed_lateness_ms=10**9)))
        for (start, *place), value in tumbling.items():
            assert hopping[start + shift * 60_000, *place] == value


def test_a_window_closes_when_the_lowest_watermark_reaches_its_end_and_stays_closed():
    rig = Rig([0, 1], options())
    rig.feed(0, [line(START), line(START + 900_000)])
    assert rig.output() == b""  # partition 1 is unheard
    rig.feed(1, [line(START + 1), line(START + 359_999)])
    assert rig.output() == b""  # its watermark is one millisecond short
    rig.feed(1, [line(START + 360_000)])
    first = rig.output()
    assert json.loads(first.splitlines()[0])["window_end"] == "2025-12-01T00:05:00Z"
    rig.feed(1, [line(START + 2)])
    assert rig.output() == first
    rig.finish()
    assert rig.summary()["late"] == 1
    assert rig.output().startswith(first)


def test_a_window_without_records_leaves_no_row():
    rig = Rig([0], options())
    rig.feed(0, [line(START), line(START + 3_600_000)])
    rig.finish()
    starts = {json.loads(text)["window_start"] for text in rig.output().splitlines()}
    assert starts == {"2025-12-01T00:00:00Z", "2025-12-01T01:00:00Z"}


def test_only_windows_that_start_in_the_scope_leave_rows():
    rig = Rig([0], options(), scope=Scope(START + 300_000, START + 600_000))
    rig.feed(0, [line(START + n * 300_000) for n in range(4)])
    rig.finish()
    assert {json.loads(text)["window_start"] for text in rig.output().splitlines()} == {"2025-12-01T00:05:00Z"}


def test_beyond_max_keys_the_rest_is_one_row_named_other():
    rig = Rig([0], options(max_keys=2))
    counts = {"a": 5, "b": 3, "c": 3, "d": 1}
    rig.feed(0, [line(START, host, status=500 if host == "d" else 200) for host, n in counts.items() for _ in range(n)])
    rig.finish()
    got = {place[2]: value for place, value in rows(rig).items() if place[1:4:2] == ("requests", "count")}
    other = '{"ClientRequestHost":"(other)"}'
    assert got == {"{}": 12, '{"ClientRequestHost":"a"}': 5, '{"ClientRequestHost":"b"}': 3, other: 4}
    assert rows(rig)[START, "error_rate", other, "bad"] == 1


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 100)), min_size=1, max_size=80),
    st.randoms(),
    st.integers(1, 40),
)
def test_beyond_max_open_keys_which_keys_stay_depends_on_the_set_alone(records, rng, size):
    chosen = options(max_open_keys=5)
    lines = [line(START, f"h{host}", ttfb=float(ttfb), ip=f"i{ttfb}") for host, ttfb in records]
    shuffled = lines[:]
    rng.shuffle(shuffled)
    want = run([lines], chosen, shards=2).output()
    assert run([shuffled], chosen, cuts=[size], shards=2).output() == want
    total = sum(
        json.loads(t)["value"] for t in want.splitlines() if b'"metric":"requests"' in t and b'"statistic":"count"' in t
    )
    assert total == 2 * len(records)  # the total, and all groups with (other) among them


def test_exemplars_are_the_slowest_and_the_first_errors():
    rig = Rig([0], options())
    rig.feed(0, [line(START + n, "a", 500 if n in (7, 3, 9, 1) else 200, ttfb=float(n % 6), ray=f"r{n}") for n in range(12)])
    rig.finish()
    got = defaultdict(list)
    for text in rig.output("exemplars").splitlines():
        row = json.loads(text)
        got[row["reason"], json.dumps(row["key"])].append((row["value"], row["ray_id"], row["partition"], row["offset"]))
    assert got["slowest", "{}"] == [(5.0, "r5", "t/0", 5), (5.0, "r11", "t/0", 11), (4.0, "r4", "t/0", 4)]
    assert got["error", "{}"] == [(500.0, "r1", "t/0", 1), (500.0, "r3", "t/0", 3), (500.0, "r7", "t/0", 7)]
    assert got["slowest", "{}"] == got["slowest", '{"ClientRequestHost": "a"}']


def test_exemplars_of_a_ratio_of_good_records_are_the_first_that_are_not():
    where, good = "EdgeResponseBytes > 50", "EdgeResponseStatus < 400"
    metric = MetricOptions(name="fine", kind="ratio", dataset="http_requests", where=where, good=good)
    rig = Rig([0], options(), metrics=[metric])
    statuses = [200, 500, 404, None, 500]
    rig.feed(0, [line(START + n, status=status, ray=f"r{n}", size=100 - 60 * (n == 1)) for n, status in enumerate(statuses)])
    rig.finish()
    rows = [json.loads(text) for text in rig.output("exemplars").splitlines()]
    assert [(row["reason"], row["value"], row["ray_id"]) for row in rows] == [
        ("bad", 404, "r2"),
        ("bad", None, "r3"),
        ("bad", 500, "r4"),
    ]


def test_a_group_key_of_a_path_is_its_template():
    metric = MetricOptions(
        name="hits", kind="count", dataset="http_requests", group_by=("ClientRequestPath", "ClientRequestMethod")
    )
    rig = Rig([0], options(), metrics=[metric])
    for n in (1, 2, 33):
        rig.feed(
            0,
            [b'{"EdgeEndTimestamp":%d,"ClientRequestPath":"/api/pitches/%d","ClientRequestMethod":"GET"}' % (START, n)],
        )
    rig.finish()
    keys = {place[2]: value for place, value in rows(rig).items() if place[3] == "count"}
    assert keys == {"{}": 3, '{"ClientRequestMethod":"GET","ClientRequestPath":"/api/pitches/:id"}': 3}


@pytest.mark.parametrize("exact", [5, 20_000])
def test_percentiles_say_how_they_were_made(exact):
    rig = Rig([0], options(exact_samples=exact))
    rig.feed(0, [line(START, ttfb=float(n)) for n in range(10)])
    rig.finish()
    methods = {
        (r["statistic"], r["method"]) for r in map(json.loads, rig.output().splitlines()) if r["metric"] == "response_time"
    }
    kind = "exact" if exact > 10 else "sketch"
    assert methods == {(s, kind) for s in ("p50", "p90", "p95", "p99", "p999")} | {
        (s, "exact") for s in ("count", "mean", "min", "max")
    }


def test_sum_and_gauge_rows():
    rig = Rig([0], options())
    rig.feed(0, [line(START + 5, size=1), line(START + 9, size=7), line(START + 2, size=100), line(START + 9, size=3)])
    rig.finish()
    got = {(p[1], p[2], p[3]): v for p, v in rows(rig).items() if p[1] in ("bytes", "size")}
    total = {"last": 7.0, "mean": 111 / 4, "min": 1.0, "max": 100.0}
    assert got == {("bytes", "{}", "sum"): 111.0, ("bytes", '{"ClientRequestHost":"a"}', "sum"): 111.0} | {
        ("size", "{}", statistic): value for statistic, value in total.items()
    }


def test_a_window_knows_from_which_offsets_it_was_made():
    rig = Rig([0, 1], options())
    rig.feed(0, [line(START), line(START + 300_000), line(START + 1)])
    rig.restart()
    rig.feed(0, [line(START + 2)])
    rig.feed(1, [line(START + 300_001)])
    rig.finish()
    assert [(result.start - START, partitions) for result, partitions in rig.judge.results] == [
        (0, [{"partition": "t/0", "from": 0, "to": 3}]),
        (300_000, [{"partition": "t/0", "from": 1, "to": 1}, {"partition": "t/1", "from": 0, "to": 0}]),
    ]


def test_after_a_restart_a_changed_metric_starts_afresh_and_the_others_go_on():
    rig = Rig([0], options())
    rig.feed(0, [line(START + n, ttfb=10.0) for n in range(4)])
    windows, barrier = [step.snapshot() for step in rig.windows], rig.barrier.snapshot()
    changed = [METRICS[0], replace(METRICS[1], bad="EdgeResponseStatus >= 500"), METRICS[2], METRICS[5], METRICS[3]]
    again = Rig([0], options(), metrics=changed)
    again.progress = rig.progress
    for step, state in zip(again.windows, windows, strict=True):
        step.restore(unpack(pack(state)))
    again.barrier.restore(unpack(pack(barrier)))
    again.feed(0, [line(START + n, ttfb=30.0) for n in range(4)])
    again.feed(0, [line(START + 300_000, status=404)])
    again.finish()
    got = {(p[0] - START, p[1], p[3]): v for p, v in rows(again).items() if p[2] == "{}"}
    assert got[0, "requests", "count"] == 8
    assert got[0, "response_time", "mean"] == 20.0
    assert got[0, "size", "mean"] == 100.0
    assert (0, "error_rate", "ratio") not in got  # half a window is no window
    assert got[300_000, "error_rate", "ratio"] == 0


def test_a_window_without_any_record_is_a_sign_of_life_too():
    rig = Rig([0], options())
    rig.feed(0, [line(START), line(START + 30 * 60_000)])
    before = [block for block in rig.blocks if isinstance(block, Closed)]
    assert [(each.dataset, each.end) for each in before] == [("http_requests", START + 25 * 60_000)]
    rig.progress[0].high = START + 60 * 60_000  # as an idle partition is advanced
    rig.feed(0, [])
    assert [each.end for each in rig.blocks if isinstance(each, Closed)] == [START + 25 * 60_000, START + 55 * 60_000]
    rig.finish()
    assert rig.summary()["windows"] == len(rig.output().splitlines())
