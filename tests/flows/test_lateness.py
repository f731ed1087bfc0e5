"""Lateness: what is recommended for records that come late, and the measurement of it on a real broker."""

import json
import re

import numpy as np
import pytest

from connectors.lateness import Delays
from flows.lateness import facts, is_fine, recommended, words, written
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import edgewatch

MINUTE = 60_000
START = 1_764_547_200_000


def delays_of(*lengths_ms, late=0, allowed=2 * MINUTE):
    column = np.sort(np.array(lengths_ms, np.int64))
    return Delays(
        topic="t", partitions=2, messages=9, delays=column, late=late, allowed_ms=allowed, first=START, last=START + 61_500
    )


def many(delay_ms, *, share=0.01, **changes):
    """Give 10 000 records of which a share comes late by as much."""
    count = round(10_000 * share)
    return delays_of(*[0] * (10_000 - count), *[delay_ms] * count, **changes)


@pytest.mark.parametrize(
    ("delay_ms", "wanted"),
    [
        (0, "10s"),
        (6_000, "10s"),
        (6_700, "20s"),
        (41_000, "90s"),
        (80_000, "2m"),
        (20 * MINUTE, "30m"),
        (30 * 3_600_000, "24h"),
    ],
)
def test_the_recommendation_covers_nearly_all_with_a_reserve_and_is_what_people_write(delay_ms, wanted):
    assert written(recommended(many(delay_ms))) == wanted


def test_a_few_outliers_do_not_make_everybody_wait():
    assert written(recommended(many(3_600_000, share=0.0009))) == "10s"


def test_what_is_configured_is_judged_with_the_reason():
    assert words(many(41_000)) == (
        "10 000 records, 2025-12-01T00:00:00Z to 2025-12-01T00:01:01Z, come behind the newest by 0 s (p50), 0 s (p99), "
        "41 s (p99.9), 41 s at most; with allowed_lateness 2m 0.00% are late. That fits: 99.9% come within 41 s."
    )
    small = many(5 * MINUTE, share=0.05, late=450)
    assert words(small).endswith(
        'with allowed_lateness 2m 4.50% are late. Recommended: allowed_lateness = "10m" '
        "(99.9% come within 5 min, and half as much again is kept in reserve)."
    )
    assert (is_fine(small), is_fine(many(5 * MINUTE, late=100))) == (False, True)
    large = words(many(7_000, allowed=20 * MINUTE))
    assert large.endswith(
        "That is far more than needed, and every window closes 19 min 40 s later than it could; "
        'allowed_lateness = "20s" would do (99.9% come within 7 s, and half as much again is kept in reserve).'
    )
    assert "so few records are a guess only" in words(delays_of(0, 0, 350))
    assert "350" not in words(delays_of(0, 0, 350))
    assert "0.35 s at most" in words(delays_of(0, 0, 350))
    assert words(delays_of()) == "no records to measure lateness on"
    assert (facts(delays_of())["recommended"], is_fine(delays_of())) == (None, True)


CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
[input.kafka.topics]
"{late}" = {{ dataset = "http_requests", allowed_lateness = "{allowed}" }}
"{empty}" = "http_requests"
[window]
length = "1m"
"""


def record(n, *, late_ms=0):
    return json.dumps({"EdgeEndTimestamp": START + n * 1000 - late_ms, "EdgeResponseStatus": 200}).encode()


def send(brokers, topic):
    """Send 8 000 records to partition 0, each 200th 100 s late; before them some far ahead, among them what is refused."""
    far = [Sent(None, record(n), START, 0) for n in range(20_000, 20_100)]
    bodies = [record(n, late_ms=100_000 if n % 200 == 199 else 0) for n in range(8_000)]
    topics.send(brokers, topic, far)
    stamped = [Sent(None, body, START + n * 1000, 0) for n, body in enumerate(bodies)]
    topics.send(brokers, topic, stamped[:7_000])
    topics.send(brokers, topic, [Sent(None, b"garbage", START, 0), Sent(None, record(10**7), START, 0)])
    topics.send(brokers, topic, stamped[7_000:])
    topics.send(brokers, topic, [Sent(None, record(n), START, 1) for n in range(50)])


@pytest.fixture
def check(brokers, topic, tmp_path):
    """Give what `check --online` says of a topic with late records."""
    late, empty = topic(2), topic(1)
    send(brokers, late)

    def run(allowed, *options):
        config = tmp_path / "monitor.toml"
        config.write_text(CONFIG.format(brokers=brokers, late=late, empty=empty, allowed=allowed))
        return late, edgewatch("check", "-c", config, "--online", *options)

    return run


def test_check_measures_the_last_records_of_each_partition_as_a_run_would_judge_them(check):
    late, done = check("5s", "--json")
    assert done.returncode == 0, done.stderr
    found = {each["what"]: each for each in json.loads(done.stdout)["online"]}
    told = found[f"lateness of {late}"]
    # 4 998 records of the last 5 000 messages, of which the first tenth only says how high the times are; 50 less one.
    assert told["facts"]["messages"] == 5_050
    assert told["facts"]["records"] == 4_998 - 499 + 49
    assert told["facts"]["delay_ms"] == {"p50": 0, "p99": 0, "p999": 99_000, "max": 99_000}
    assert (told["facts"]["recommended"], told["facts"]["allowed_lateness_ms"], told["ok"]) == ("3m", 5000, True)
    # One in 200 comes 99 s behind the newest: beyond its window of 1 min and 5 s in nearly all cases.
    assert 0.003 < told["facts"]["late_share"] < 0.0055
    assert "Traceback" not in done.stderr
    empty = next(each for what, each in found.items() if what.startswith("lateness") and what != f"lateness of {late}")
    assert (empty["ok"], empty["words"]) == (True, "no records to measure lateness on")


def test_check_says_in_words_what_to_set(check):
    late, done = check("5s")
    (line,) = [each for each in done.stdout.splitlines() if f"lateness of {late}" in each]
    assert line.startswith("ok   ")
    assert 'Recommended: allowed_lateness = "3m" (99.9% come within 1 min 39 s, and half as much again' in line
    assert re.search(r"4 548 records, .* come behind the newest by 0 s \(p50\), 0 s \(p99\), 1 min 39 s \(p99.9\)", line)
    line = next(each for each in check("1h")[1].stdout.splitlines() if f"lateness of {late}" in each)
    assert 'far more than needed, and every window closes 57 min later than it could; allowed_lateness = "3m" would do' in line


def test_messages_of_many_records_are_not_all_read(brokers, topic, tmp_path):
    late, empty = topic(1), topic(1)
    bodies = [b"\n".join(record(1000 * n + i) for i in range(1000)) for n in range(100)]
    topics.send(brokers, late, [Sent(None, body, START + 10**9, 0) for body in bodies])
    config = tmp_path / "monitor.toml"
    config.write_text(CONFIG.format(brokers=brokers, late=late, empty=empty, allowed="1m"))
    found = json.loads(edgewatch("check", "-c", config, "--online", "--json").stdout)["online"]
    (told,) = [each["facts"] for each in found if each["what"] == f"lateness of {late}"]
    assert (told["messages"], told["records"]) == (50, 49_999)


def test_a_sample_commits_nothing(check, brokers):
    late, done = check("2m")
    assert done.returncode in (0, 1)
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "edgewatch", "log_level": 0})
    assert [each.offset for each in consumer.committed([TopicPartition(late, 0), TopicPartition(late, 1)], 10)] == [
        -1001,
        -1001,
    ]
    consumer.close()
