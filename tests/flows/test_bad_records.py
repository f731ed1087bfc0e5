"""Bad records: the sample is the definition's, whatever the order, the split, the shards, the restarts and the reader."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import identity_hashes
from connectors.decoder import Decoder
from flows.bad_records import joined
from flows.metric import Beyond
from flows.path import template
from flows.pick import KEPT, ranks
from tests.flows.logs import DATASETS, METRICS, START, Rig, options

HOSTS, PATHS, COLOS = ["a", "b", "c"], ["/api/pitches/7", "/api/pitches/8", "/cart", None], ["FRA", "DUB", None]
SLOW = 500.0


def record(rng):
    """Draw a record: of a second of its own or not, with and without a ray id."""
    ms = START + int(rng.integers(0, 600)) * 1000 + int(rng.integers(0, 2) * rng.integers(0, 1000))
    return {
        "EdgeEndTimestamp": ms,
        "ClientRequestHost": HOSTS[min(int(rng.exponential(0.8)), 2)],
        "EdgeResponseStatus": int(rng.choice([200, 404, 500, 503])),
        "EdgeTimeToFirstByteMs": float(rng.integers(1, 1000)),
        "ClientRequestPath": PATHS[int(rng.integers(0, len(PATHS)))],
        "EdgeColoCode": COLOS[int(rng.integers(0, len(COLOS)))],
        "ClientCountry": str(rng.choice(["de", "DE", "ie"])),
        "RayID": f"{int(rng.integers(0, 2**63)):016x}" if rng.random() < 0.9 else None,
    }


def log_of(seed, size):
    rng = np.random.default_rng(seed)
    return [[record(rng) for _ in range(size)] for _ in range(2)]


def detail(said):
    path = said["ClientRequestPath"]
    status = str(said["EdgeResponseStatus"])
    return (path and template(path), said["EdgeColoCode"], said["ClientCountry"].lower(), status, said["ClientRequestHost"])


def rank(said):
    times, texts = np.array([said["EdgeEndTimestamp"]]), [(said["RayID"] or "").encode()]
    return int(ranks(times, identity_hashes(texts))[0])


def defined(log):
    """Work out (metric, window start, key) -> (how many are bad, what the sample says) from scratch."""
    bad = {
        "error_rate": lambda said: said["EdgeResponseStatus"] >= 400,
        "response_time": lambda said: said["EdgeTimeToFirstByteMs"] > SLOW,
    }
    found: dict[tuple, list] = {}
    for said in (said for part in log for said in part):
        start = said["EdgeEndTimestamp"] // 300_000 * 300_000
        for key in ("{}", json.dumps({"ClientRequestHost": said["ClientRequestHost"]}, separators=(",", ":"))):
            for metric, is_bad in bad.items():
                if is_bad(said):
                    found.setdefault((metric, start, key), []).append(said)
    sortable = {place: sorted((rank(each), _texts(detail(each))) for each in each_of) for place, each_of in found.items()}
    return {place: (len(rows), Counter(row[1] for row in rows[:KEPT])) for place, rows in sortable.items()}


def _texts(values):
    return tuple((value is not None, value or "") for value in values)


def measured(rig):
    out = {}
    for result, _ in rig.judge.results:
        for metric, sample in result.bad.items():
            rows: dict[str, list] = {}
            for number, codes in zip(sample.key.tolist(), sample.said.tolist(), strict=True):
                rows.setdefault(sample.keys[number], []).append(_texts(sample.words[code] for code in codes))
            for key, count in zip(sample.keys, sample.counts.tolist(), strict=True):
                if count:
                    out[metric, result.start, key] = (count, Counter(rows.get(key, [])))
    return out


def run(log, *, cuts=(1000,), shards=3, order=None, restart=False, native=None, joiner=None, **changes):
    rig = Rig(
        range(len(log)), options(allowed_lateness_ms=10**9, **changes), shards=shards, beyond={"response_time": Beyond(1, SLOW)}
    )
    rig.decoder = Decoder(DATASETS["http_requests"], rig.fold.fields, native=native)
    pending = [[json.dumps(said).encode() for said in part] for part in log]
    if joiner:
        pending = [[joiner.join(part[n : n + 7]) for n in range(0, len(part), 7)] for part in pending]
    turns = list(order or [0, 1])
    number = 0
    while any(pending):
        partition = turns[number % len(turns)]
        partition = partition if pending[partition] else 1 - partition
        size = cuts[number % len(cuts)]
        part, pending[partition] = pending[partition][:size], pending[partition][size:]
        rig.feed(partition, part)
        if restart and number % 5 == 2:
            rig.restart()
        number += 1
    rig.finish()
    return measured(rig)


def test_there_are_keys_with_more_bad_records_than_are_kept():
    assert max(count for count, _ in defined(log_of(1, 300)).values()) > 2 * KEPT


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.data())
@pytest.mark.slow
def test_any_split_order_sharding_and_restart_gives_the_definitions_sample(seed, data):
    log = log_of(seed, data.draw(st.sampled_from([5, 60, 300])))
    cuts = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=4))
    order = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=6))
    got = run(log, cuts=cuts, order=order, shards=data.draw(st.integers(1, 5)), restart=data.draw(st.booleans()))
    assert got == defined(log)


def test_both_readers_and_every_form_of_message_give_the_same_sample():
    log = log_of(3, 200)
    want = defined(log)
    forms = [(native, joiner) for native in (True, False) for joiner in (None, b"\n", b" \n\n")]
    assert [form for form in forms if run(log, native=form[0], joiner=form[1]) != want] == []


def test_a_hopping_window_has_the_sample_of_all_its_panes():
    log = log_of(4, 200)
    hopping, whole = run(log, hop_ms=60_000), defined(log)
    assert {place: hopping[place] for place in whole} == whole


def test_keys_that_were_merged_into_other_leave_no_sample_behind():
    log = log_of(5, 200)
    got = run(log, max_keys=1)
    kept = {key for _, _, key in got if got}
    other = '{"ClientRequestHost":"(other)"}'
    assert kept == {"{}", '{"ClientRequestHost":"a"}', other}
    assert {sum(rows.values()) for (_, _, key), (_, rows) in got.items() if key == other} == {0}


def stamped(result):
    """Give a window's sample as it is remembered, with its time."""
    sample = result.bad["error_rate"].of(["{}"])
    return replace(sample, at=np.full(len(sample.key), result.end))


def test_samples_of_one_key_join_to_what_is_newest_and_then_the_lowest_ranks():
    rig = Rig([0], options(allowed_lateness_ms=10**9))
    rng = np.random.default_rng(6)
    both = [{**record(rng), "EdgeEndTimestamp": START + n * 1000, "EdgeResponseStatus": 500} for n in range(500)]
    rig.feed(0, [json.dumps(said).encode() for said in both])
    rig.finish()
    first, second = (stamped(result) for result, _ in rig.judge.results)
    few = [said for said in both if said["EdgeEndTimestamp"] < START + 20_000]
    rig = Rig([0], options())
    rig.feed(0, [json.dumps(said).encode() for said in few])
    rig.finish()
    third = stamped(replace(rig.judge.results[0][0], end=2**41))
    got = joined([third, second])
    kept = sorted(second.rank.tolist())[: KEPT - len(few)]
    assert sorted(got.rank.tolist()) == sorted([*third.rank.tolist(), *kept])
    assert got.counts.tolist() == [len(few)]
    assert sorted(joined([second, first]).rank.tolist()) == sorted(second.rank.tolist())


def test_metrics_that_no_rule_judges_and_distributions_without_a_limit_are_not_sampled():
    rig = Rig([0], options(), metrics=METRICS)
    rig.feed(0, [json.dumps(record(np.random.default_rng(7))).encode()])
    rig.finish()
    assert list(rig.judge.results[0][0].bad) == ["error_rate"]
