"""The Kafka source on a real broker: what is read, what is not, and what is said when it cannot be."""

import gzip
import json
import logging
import threading
import time
from unittest.mock import Mock

import pytest
import zstandard
from confluent_kafka import KafkaError, KafkaException, Producer

from connectors import kafka_lane, kafka_messages, native
from connectors.archive import Reading
from connectors.batch import DONE
from connectors.dataset import DatasetOptions, build_dataset
from connectors.kafka import KafkaSource, look_at_topics
from connectors.kafka_options import KafkaOptions, TopicOptions
from connectors.plan import MAX_LANES
from connectors.source import SourceError
from connectors.vitals import Vital, Vitals
from tests import services
from tests.kafka import topics
from tests.kafka.broker import Login
from tests.kafka.topics import Sent
from tests.runs import wait_until

START = 1_764_547_200_000
HOUR = 3_600_000
DATASETS = {
    "http_requests": build_dataset(DatasetOptions(name="http_requests", kind="http_requests")),
    "performance": build_dataset(DatasetOptions(name="performance", kind="data_points", doubles=("total",))),
}
FIELDS = {"http_requests": frozenset({"ClientRequestHost"}), "performance": frozenset({"total"})}


@pytest.fixture(params=["1", "0"], ids=["natively", "as objects"])
def either_way(request, monkeypatch):
    """Take messages natively, and then as objects: what is read does not depend on it."""
    monkeypatch.setenv("EDGEWATCH_CONSUME", request.param)
    if request.param == "1" and not native.available():
        services.missing("compiler")
    assert kafka_messages.available() == (request.param == "1"), "_consume is not built, or not tried with this confluent-kafka"


def reading(**changes):
    given = {
        "datasets": DATASETS,
        "fields": FIELDS,
        "pane_ms": 300_000,
        "length_ms": 300_000,
        "allowed_lateness_ms": 60_000,
        "max_ahead_ms": HOUR,
        "chunk_records": 10,
    }
    return Reading(**(given | changes))  # type: ignore[arg-type]


def source(brokers, folder, names, *, live=False, start="earliest", client=None, start_ms=None, end_ms=None):
    folder.mkdir(parents=True, exist_ok=True)
    span = reading(start=start_ms, end=end_ms)
    options = KafkaOptions(brokers=(brokers,), start=start, topics=names, client=client or {}, group="edgewatch-test")
    return KafkaSource(options, span, folder, live=live, idle_after_ms=500)


def line(n, **changes):
    return json.dumps({"EdgeEndTimestamp": START + n * 1000, "ClientRequestHost": f"h{n}"} | changes).encode()


def read_all(lane, *, seconds=240.0):
    """Read a bounded lane to its end."""
    batches = []
    deadline = time.monotonic() + seconds
    while not lane.done:
        assert time.monotonic() < deadline, "the lane does not end"
        batches += lane.read()
    lane.close()
    return batches


def hosts(batches):
    out = []
    for batch in batches:
        column = batch.strings.get("ClientRequestHost")
        out += [] if column is None else [column.vocabulary[code] for code in column.codes.tolist()]
    return out


def final_marks(batches):
    return {mark.partition: mark for batch in batches for mark in batch.marks}


@pytest.mark.usefixtures("either_way")
def test_messages_of_every_form_are_read_once_and_in_order(brokers, topic, tmp_path):
    name = topic(1)
    bodies = [
        line(0),
        b"\n".join([line(1), line(2)]),
        b"[" + line(3) + b"," + line(4) + b"]",
        gzip.compress(b"\n".join([line(5), b"broken", line(6)])),
        zstandard.compress(line(7)),
        None,
        b"",
        line(8),
    ]
    topics.send(brokers, name, [Sent(b"k", body, START, 0) for body in bodies])
    found = source(brokers, tmp_path, {name: "http_requests"})
    batches = read_all(found.open("lane-0", None))
    assert hosts(batches) == [f"h{n}" for n in range(9)]
    dead = [(letter.topic, letter.partition, letter.offset, letter.index, letter.reason) for b in batches for letter in b.dead]
    assert dead == [(name, 0, 3, 1, "not JSON"), (name, 0, 5, 0, "empty value"), (name, 0, 6, 0, "empty value")]
    mark = final_marks(batches)[f"{name}/0"]
    assert (mark.watermark, mark.records, mark.dead) == (DONE, 12, 3)


def test_an_event_time_an_hour_beyond_the_messages_timestamp_is_a_dead_letter(brokers, topic, tmp_path):
    name = topic(1)
    future = [line(0, EdgeEndTimestamp=START + HOUR + 1), line(1, EdgeEndTimestamp=START + HOUR)]
    topics.send(brokers, name, [Sent(None, body, START, 0) for body in future])
    batches = read_all(source(brokers, tmp_path, {name: "http_requests"}).open("lane-0", None))
    assert hosts(batches) == ["h1"]
    assert "lies in the future" in batches[1].dead[0].reason


def test_two_datasets_in_a_lane_and_lateness_of_its_own_per_topic(brokers, topic, tmp_path):
    first, second = topic(2), topic(1)
    topics.send(brokers, first, [Sent(None, line(n), START, n % 2) for n in range(20)])
    point = b'{"timestamp":"2025-12-01T00:00:00Z","doubles":[1.5]}'
    topics.send(brokers, second, [Sent(None, point, START, 0)])
    names = {first: "http_requests", second: TopicOptions(dataset="performance", allowed_lateness_ms=5_000)}
    found = source(brokers, tmp_path, names)
    assert {name: len(parts) for name, parts in found.partitions().items()} == {"http_requests": 2, "performance": 1}
    batches = [batch for lane in found.lanes() for batch in read_all(found.open(lane, None))]
    assert sorted(hosts(batches)) == sorted(f"h{n}" for n in range(20))
    waters = {mark.partition: mark.watermark for b in batches for mark in b.marks if mark.records and mark.watermark != DONE}
    assert waters.get(f"{second}/0", START - 5_000) == START - 5_000


def test_an_empty_topic_is_done_at_once(brokers, topic, tmp_path):
    name = topic(3)
    found = source(brokers, tmp_path, {name: "http_requests"})
    marks = [final_marks(read_all(found.open(lane, None))) for lane in found.lanes()]
    assert {p: m.watermark for found_ in marks for p, m in found_.items()} == {f"{name}/{n}": DONE for n in range(3)}


def test_a_resume_reads_on_from_the_snapshot(brokers, topic, tmp_path):
    name = topic(2)
    topics.send(brokers, name, [Sent(None, line(n), START, n % 2) for n in range(400)])
    found = source(brokers, tmp_path, {name: "http_requests"})
    whole = sorted(hosts([b for lane in found.lanes() for b in read_all(found.open(lane, None))]))
    got = []
    for lane_name in found.lanes():
        state, done = None, False
        while not done:
            lane = found.open(lane_name, state)
            for _ in range(4):
                got += hosts(lane.read())
            state, done = lane.snapshot(), lane.done
            lane.close()
    assert sorted(got) == whole == sorted(f"h{n}" for n in range(400))


@pytest.mark.usefixtures("either_way")
def test_a_partition_that_ran_ahead_is_read_on_when_the_one_it_waited_for_is_done(brokers, topic, tmp_path):
    name = topic(MAX_LANES + 1)  # the first lane reads the first partition and the last
    slow = [Sent(None, line(n), START, 0) for n in range(100)]
    far = [Sent(None, line(n * 60), START + n * 60_000, MAX_LANES) for n in range(1_000)]
    topics.send(brokers, name, slow + far)
    lane = source(brokers, tmp_path, {name: "http_requests"}).open("lane-0", None)
    first, last = lane._parts[name, 0], lane._parts[name, MAX_LANES]
    batches = []

    def read_until(reached):
        deadline = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < deadline, "the lane does not go on"
            batches.extend(lane.read())

    lane._consumer.pause([last.place])
    read_until(lambda: first.progress.records)
    lane._consumer.pause([first.place])  # now the last partition alone is heard, and runs ahead
    lane._consumer.resume([last.place])
    read_until(lambda: last.paused)
    assert not last.progress.done
    lane._consumer.resume([first.place])
    read_until(lambda: lane.done)
    lane.close()
    assert len(hosts(batches)) == 1_100


def test_what_is_sent_after_the_plan_is_left_alone(brokers, topic, tmp_path):
    name = topic(1)
    topics.send(brokers, name, [Sent(None, line(n), START, 0) for n in range(10)])
    found = source(brokers, tmp_path, {name: "http_requests"})
    topics.send(brokers, name, [Sent(None, line(n), START, 0) for n in range(10, 20)])
    assert hosts(read_all(found.open("lane-0", None))) == [f"h{n}" for n in range(10)]
    again = source(brokers, tmp_path, {name: "http_requests"})
    assert hosts(read_all(again.open("lane-0", None))) == [f"h{n}" for n in range(10)]


@pytest.mark.usefixtures("either_way")
def test_transaction_markers_and_aborted_messages_leave_gaps_that_end_well(brokers, topic, tmp_path):
    name = topic(1)
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": "t", "log_level": 0})
    producer.init_transactions(30)
    for n, keep in ((0, True), (1, False), (2, True), (3, False)):
        producer.begin_transaction()
        producer.produce(name, line(n), partition=0, timestamp=START)
        producer.flush(30)
        (producer.commit_transaction if keep else producer.abort_transaction)(30)
    batches = read_all(source(brokers, tmp_path, {name: "http_requests"}).open("lane-0", None))
    assert hosts(batches) == ["h0", "h2"]


@pytest.mark.usefixtures("either_way")
def test_a_range_starts_an_hour_before_and_ends_when_the_watermark_is_past_it(brokers, topic, tmp_path):
    name = topic(1)
    stamps = [START + n * 60_000 for n in range(600)]
    topics.send(brokers, name, [Sent(None, line(0, EdgeEndTimestamp=s, ClientRequestHost=str(s)), s, 0) for s in stamps])
    low, high = START + 4 * HOUR, START + 5 * HOUR
    ranged = source(brokers, tmp_path, {name: "http_requests"}, start="latest", start_ms=low, end_ms=high)
    batches = read_all(ranged.open("lane-0", None))
    times = [int(host) for host in hosts(batches)]
    assert times[0] == low - HOUR
    assert high + 60_000 <= times[-1] < high + 30 * 60_000


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"no-such-topic": "http_requests"}, "topic no-such-topic does not exist at Kafka {brokers}"),
        ({"^nothing-.*": "http_requests"}, "no topic of Kafka at {brokers} matches ^nothing-.*"),
    ],
)
def test_a_missing_topic_stops_the_start_with_one_clear_sentence(brokers, tmp_path, names, words):
    with pytest.raises(SourceError) as caught:
        source(brokers, tmp_path, names)
    assert words.format(brokers=brokers) in str(caught.value)


def test_topics_may_be_named_by_a_pattern(brokers, topic, tmp_path):
    name = topic(1)
    found = source(brokers, tmp_path, {f"^{name[:-1]}.$": "http_requests"})
    assert found.partitions() == {"http_requests": [f"{name}/0"]}


def test_partitions_that_a_topic_got_are_read_from_their_beginning_and_late_up_to_what_is_judged(brokers, topic, tmp_path):
    name = topic(1)
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    assert found.grow({}) == []
    topics.widen(brokers, name, 3)
    wait_until(lambda: look_at_topics(KafkaOptions(brokers=(brokers,), topics={name: "d"}), timeout_s=10)[name] == 3)
    topics.send(brokers, name, [Sent(None, line(n * 600), START + n * 600_000, 1) for n in range(2)])
    assert found.grow({"http_requests": START + 300_000}) == [f"{name}/1", f"{name}/2"]
    again = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    assert [each.name for each in again.plan.of_lane("lane-0")] == [f"{name}/{n}" for n in range(3)]
    lane = again.open("lane-0", None)
    batches: list = []

    def both_read():
        batches.extend(lane.read())
        return len(hosts(batches)) == 2

    wait_until(both_read, what="both records")
    lane.close()
    assert [bool(value) for batch in batches for value in batch.late.tolist()] == [True, False]


def test_a_planned_partition_that_is_gone_stops_the_start(brokers, topic, tmp_path):
    name = topic(2)
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    topics.delete(brokers, name)
    topics.create(brokers, name, 1, {})
    with pytest.raises(SourceError, match=rf"{name}/1 is in the plan of the run in .* and the topic has no such partition"):
        found.grow({})


def test_an_expired_offset_stops_with_what_was_lost(brokers, topic, tmp_path):
    name = topic(1)
    topics.send(brokers, name, [Sent(None, line(n), START, 0) for n in range(30)])
    found = source(brokers, tmp_path, {name: "http_requests"})
    lane = found.open("lane-0", None)
    state = lane.snapshot()
    lane.close()
    topics.delete_before(brokers, name, {0: 12})
    with pytest.raises(SourceError, match=rf"{name}/0: offsets 0 to 11 are lost"):
        found.open("lane-0", state)


def test_an_expired_offset_stops_a_lane_that_was_opened_while_its_brokers_were_away(brokers, topic, tmp_path, monkeypatch):
    topics.send(brokers, name := topic(1), [Sent(None, line(n), START, 0) for n in range(30)])
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    topics.delete_before(brokers, name, {0: 12})
    away = Mock(side_effect=KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)))
    with monkeypatch.context() as patched:
        patched.setattr(kafka_lane, "low_and_high", away)
        lane = found.open("lane-0", None)
    with pytest.raises(SourceError, match=rf"{name}/0: offsets 0 to 11 are lost"):
        wait_until(lambda: hosts(lane.read()))
    lane.close()


@pytest.mark.usefixtures("either_way")
def test_an_offset_that_is_gone_while_it_is_read_stops_the_lane(brokers, topic, tmp_path):
    name = topic(2)
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    lane = found.open("lane-1", None)
    state = json.loads(lane.snapshot())
    lane.close()
    state[f"{name}/1"]["next_offset"] = 100
    lane = found.open("lane-1", json.dumps(state).encode())
    with pytest.raises(SourceError, match=rf"{name}/1: offset 100 is not there any more"):
        wait_until(lambda: len(lane.read()) > 9, what="the error")
    lane.close()


def test_a_consumer_that_is_closed_is_not_touched(brokers, topic, tmp_path):
    if not native.available():
        services.missing("compiler")
    lane = source(brokers, tmp_path, {topic(1): "http_requests"}, live=True).open("lane-0", None)
    lane._fetched.close()
    with pytest.raises(RuntimeError, match="the consumer is closed"):
        lane._fetched.take(1)
    lane.close()
    wait_until(lambda: all(each.name != "close" for each in threading.enumerate()), what="the end of the client")
    with pytest.raises(RuntimeError, match="the consumer is closed"):
        kafka_messages.NativeMessages(lane._consumer, [("t", 0)])


def test_wrong_credentials_stop_the_start_with_one_clear_sentence_and_show_no_secret(own_broker, tmp_path):
    broker = own_broker(login=Login(user="u", password="right"))
    topics.create(broker.address, "t", 1, {})
    client = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "planted-wrong",
    }
    with pytest.raises(SourceError, match="refused this client") as caught:
        source(broker.sasl_address, tmp_path, {"t": "http_requests"}, client=client)
    assert "planted-wrong" not in str(caught.value)
    right = client | {"sasl.password": "right"}
    assert source(broker.sasl_address, tmp_path / "ok", {"t": "http_requests"}, client=right).lanes() == ["lane-0"]


def test_a_broker_that_goes_away_is_said_once_and_reading_goes_on_by_itself(own_broker, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(kafka_lane, "_LIVE_CHECK_S", 0.2)
    broker = own_broker()
    topics.create(broker.address, "t", 1, {"retention.ms": "-1"})
    topics.send(broker.address, "t", [Sent(None, line(n), START, 0) for n in range(5)])
    found = source(broker.address, tmp_path, {"t": "http_requests"}, live=True)
    lane = found.open("lane-0", None)
    got = []
    caplog.set_level(logging.WARNING)

    def read(want):
        got.extend(hosts(lane.read()))
        return len(got) >= want

    wait_until(lambda: read(5), what="the first records")
    broker.kill()
    wait_until(lambda: read(99) or any("cannot be reached" in r.message for r in caplog.records), what="the word")
    broker.start()
    topics.send(broker.address, "t", [Sent(None, line(n), START, 0) for n in range(5, 9)])
    wait_until(lambda: read(9), what="the later records")
    lane.close()
    assert got == [f"h{n}" for n in range(9)]
    words = [record.message for record in caplog.records if record.name.startswith("connectors")]
    assert [broker.address in word for word in words] == [True, True]
    assert ["cannot be reached" in word for word in words] == [True, False]
    broker.kill()
    lane = found.open("lane-0", lane.snapshot())  # a process that is started again meanwhile
    assert hosts(lane.read()) == []
    broker.start()
    topics.send(broker.address, "t", [Sent(None, line(n), START, 0) for n in range(9, 12)])
    wait_until(lambda: read(12), what="the records after it")
    lane.close()
    assert got == [f"h{n}" for n in range(12)]


def test_a_silent_partition_advances_and_a_resume_advances_at_the_same_offset(brokers, topic, tmp_path):
    name = topic(1)
    now = time.time_ns() // 1_000_000
    topics.send(brokers, name, [Sent(None, line(0, EdgeEndTimestamp=now - 600_000), now, 0)])
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    lane = found.open("lane-0", None)
    before = lane.snapshot()
    marks: list = []

    def advanced():
        marks.extend(mark for batch in lane.read() for mark in batch.marks)
        return bool(marks) and marks[-1].watermark >= now - 60_000

    wait_until(advanced, what="the advance")
    lane.close()
    late = line(1, EdgeEndTimestamp=now - 600_000)
    topics.send(brokers, name, [Sent(None, late, now, 0)])
    again = found.open("lane-0", before)
    batches = []

    def both_read():
        batches.extend(again.read())
        return len(hosts(batches)) == 2

    wait_until(both_read, what="both records")
    again.close()
    assert [bool(value) for batch in batches for value in batch.late.tolist()] == [False, True]


def test_a_message_stamped_in_this_machines_future_is_judged_by_the_clock_and_again_alike(brokers, topic, tmp_path):
    name = f"{topic(1)}-future"
    now = time.time_ns() // 1_000_000
    year = 365 * 24 * HOUR
    # Brokers of today refuse such stamps by default; older ones, and topics set so, take them.
    topics.create(brokers, name, 1, {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2 * year)})
    stamps = (now + year, now)
    topics.send(brokers, name, [Sent(None, line(n, EdgeEndTimestamp=s), s, 0) for n, s in enumerate(stamps)])
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    for _ in range(2):
        lane = found.open("lane-0", None)
        batches: list = []

        def all_read(lane=lane, batches=batches):
            batches.extend(lane.read())
            return sum(len(b) + len(b.dead) for b in batches) == 2

        wait_until(all_read, what="both records")
        lane.close()
        assert hosts(batches) == ["h1"]
    lines = (tmp_path / "advances" / "lane-0.ndjson").read_bytes().splitlines()
    assert sum(b'"limit"' in text for text in lines) == 1


def test_committed_offsets_tell_lag_tools_how_far_it_is(brokers, topic, tmp_path, monkeypatch):
    from confluent_kafka import Consumer, TopicPartition

    name = topic(1)
    topics.send(brokers, name, [Sent(None, line(n), START, 0) for n in range(7)])
    monkeypatch.setattr("connectors.kafka_lane._COMMIT_S", 0.1)
    lane = source(brokers, tmp_path, {name: "http_requests"}, live=True).open("lane-0", None)
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "edgewatch-test", "log_level": 0})

    def committed():
        lane.read()
        return consumer.committed([TopicPartition(name, 0)], 10)[0].offset == 7

    wait_until(committed, what="the committed offset")
    lane.close()
    consumer.close()


def test_a_partition_is_at_its_end_also_where_the_end_came_together_with_the_last_message(brokers, topic, tmp_path):
    name = topic(1)
    now = time.time_ns() // 1_000_000
    topics.send(brokers, name, [Sent(None, line(0, EdgeEndTimestamp=now - 600_000), now, 0)])
    lane = source(brokers, tmp_path, {name: "http_requests"}, live=True).open("lane-0", None)
    lane.read()
    time.sleep(2)  # both are in the client's queue by now, and one call takes both
    marks: list = []

    def advanced():
        marks.extend(mark for batch in lane.read() for mark in batch.marks)
        return bool(marks) and marks[-1].watermark >= now - 60_000

    wait_until(advanced, what="the advance")
    lane.close()


def test_a_live_lane_says_how_its_partitions_are_and_takes_none_for_silent_that_is_away(brokers, topic, tmp_path):
    name = topic(2)
    now = time.time_ns() // 1_000_000
    found = source(brokers, tmp_path, {name: "http_requests"}, live=True)
    bodies = [line(0, EdgeEndTimestamp=now - 700_000), b"broken", line(1, EdgeEndTimestamp=now - 600_000)]
    topics.send(brokers, name, [Sent(None, body, now - 5000, 0) for body in bodies])
    vitals = found.vitals
    assert vitals is not None
    assert vitals.read(f"{name}/0") is None
    for number in range(2):
        vitals.set_end(f"{name}/{number}", None)
    lane = found.open("lane-0", None)
    silent = found.open("lane-1", None)
    wait_until(lambda: lane.read() is None or (vitals.read(f"{name}/0") or Vital(0, 0, 0, 0, 0, 0, 0)).position == 3)
    time.sleep(1)
    lane.read()
    assert vitals.read(f"{name}/0") == Vital(3, now - 600_000, 3, 0, 1, now - 5000, 0)
    vitals.set_end(f"{name}/0", 3)
    wait_until(
        lambda: (
            lane.read() is None or (Vitals(tmp_path / "vitals", [f"{name}/0", f"{name}/1"]).read(f"{name}/0").high or 0) >= now
        )
    )
    topics.send(brokers, name, [Sent(None, line(2), now - 600_000, 0)])
    wait_until(lambda: lane.read() is None or vitals.read(f"{name}/0").position == 4)
    time.sleep(0.2)
    assert 600_000 <= vitals.read(f"{name}/0").behind < 700_000
    silent.read()
    assert vitals.read(f"{name}/1").high is None
    lane.close()
    silent.close()
