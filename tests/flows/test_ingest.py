"""Ingesting a folder into a real broker: each file once, whatever happens, and none that is half written."""

import gzip
import json
import os
import signal

import pytest
import zstandard
from confluent_kafka import Consumer, TopicPartition

from connectors.folder import Folder
from tests import runs

CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
topics = {{ "{requests}" = "http_requests" }}

[receive]
dead_letters = "{letters}"
message_bytes = 4_000

[ingest]
done = "{done}"
"""


def line(n):
    return b'{"RayID":"%016x","EdgeEndTimestamp":%d}' % (n, 1_764_547_200_000 + n)


def committed(brokers, topic, partitions=2):
    """Give the values of all messages of transactions that were committed."""
    settings = {"bootstrap.servers": brokers, "group.id": "test", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
    found, left = [], partitions
    while left:
        for message in consumer.consume(500, 0.5):
            if message.error() is None:
                found.append(message.value())
            else:
                left -= 1
    consumer.close()
    return found


def rows_in(brokers, topic):
    return sorted(row for value in committed(brokers, topic) for row in value.split(b"\n") if row.strip())


@pytest.fixture
def place(brokers, topic, tmp_path):
    """Give a folder, a configuration, and the topics of records, dead letters and files that are done."""
    requests, letters, done = topic(2), topic(1), topic(1)
    config, logs = tmp_path / "monitor.toml", tmp_path / "logs"
    (logs / "http_requests").mkdir(parents=True)
    text = CONFIG.format(brokers=brokers, requests=requests, letters=letters, done=done)
    config.write_text(text + 'settle = "0s"\nevery = "100ms"\n')
    return logs, config, requests, letters, done


def test_every_file_is_taken_once_with_dead_letters_by_file_and_line(brokers, place):
    logs, config, requests, letters, done = place
    folder = logs / "http_requests"
    (folder / "20251201").mkdir()
    (folder / "a.ndjson").write_bytes(line(1) + b"\nnot JSON\n\n" + line(2))
    (folder / "20251201" / "b.log.gz").write_bytes(gzip.compress(line(3) + b"\n" + line(4)))
    (folder / "c.ndjson.zst").write_bytes(zstandard.ZstdCompressor().compress(line(5)))
    (folder / "test.txt.gz").write_bytes(gzip.compress(b'{"content":"tests"}'))
    (folder / "torn.gz").write_bytes(gzip.compress(line(6) + b"\n" + os.urandom(9000).hex().encode())[:5000])
    for name in (".hidden.gz", "d.gz.part", "e.log.gz.tmp", "f.txt"):
        (folder / name).write_bytes(line(99))
    first = json.loads(runs.checked("ingest", logs, "-c", config, "--json").stdout)
    assert first == {"files": 5, "records": 6, "dead_letters": 3}
    again = json.loads(runs.checked("ingest", logs, "-c", config, "--json").stdout)
    assert again == {"files": 0, "records": 0, "dead_letters": 0}
    assert rows_in(brokers, requests) == [line(n) for n in range(1, 7)]
    told = sorted((each["place"], each["reason"]) for each in map(json.loads, committed(brokers, letters, 1)))
    assert told[0] == ("line 2 of http_requests/a.ndjson", "not JSON")
    assert [place for place, _ in told[1:]] == ["line 2 of http_requests/torn.gz", "line 3 of http_requests/torn.gz"]
    assert "the file cannot be read further: Compressed file ended" in told[2][1]
    assert sum(json.loads(value)["records"] for value in committed(brokers, done, 1)) == 6


def test_a_folder_without_folders_of_datasets_is_of_the_dataset_that_is_named(brokers, place):
    logs, config, requests, _, _ = place
    (logs / "http_requests").rmdir()
    (logs / "a.ndjson").write_bytes(line(1))
    runs.checked("ingest", logs, "-c", config, "--dataset", "http_requests")
    assert rows_in(brokers, requests) == [line(1)]
    wrong = runs.edgewatch("ingest", logs, "-c", config, "--dataset", "performance")
    assert (wrong.returncode, "no topic holds 'performance'; there are: http_requests" in wrong.stderr) == (2, True)


@pytest.mark.slow
def test_followed_files_are_taken_when_they_are_whole_and_a_second_follower_takes_over(brokers, place, tmp_path):
    logs, config, requests, _, _ = place
    text = config.read_text().replace('settle = "0s"', 'settle = "300ms"')
    config.write_text(text)
    folder, log = logs / "http_requests", tmp_path / "ingest.log"
    packed = gzip.compress(b"\n".join(line(n) for n in range(3000)))
    process = runs.start("ingest", logs, "-c", config, "--follow", log=log)
    with (folder / "growing.gz").open("wb", buffering=0) as file:
        file.write(packed[: len(packed) // 2])
        runs.wait_until(lambda: "growing.gz is not whole yet" in log.read_text(), what="a look at the torn file")
        file.write(packed[len(packed) // 2 :])
    runs.wait_until(lambda: "growing.gz: 3000 records" in log.read_text(), what="the file")
    other = tmp_path / "other.log"
    second = runs.start("ingest", logs, "-c", config, "--follow", log=other)
    runs.wait_until(lambda: "1 files were taken before" in other.read_text(), what="the second follower")
    (folder / "last.ndjson").write_bytes(line(5001))
    runs.wait_until(lambda: "last.ndjson: 1 records" in other.read_text(), what="the last file")
    assert process.wait(240) == 1
    assert "another process took this folder over" in log.read_text()
    second.send_signal(signal.SIGTERM)
    assert second.wait(240) == 0
    assert rows_in(brokers, requests) == sorted([*(line(n) for n in range(3000)), line(5001)])


@pytest.mark.slow
def test_killed_in_the_middle_of_files_every_record_is_there_once(brokers, place, tmp_path):
    logs, config, requests, _, done = place
    rows = [line(n) for n in range(120_000)]
    for n in range(12):
        part = b"\n".join(rows[n * 10_000 : (n + 1) * 10_000])
        (logs / "http_requests" / f"{n:02}.gz").write_bytes(gzip.compress(part, 1))
    log = tmp_path / "ingest.log"
    for kills in range(1, 4):
        process = runs.start("ingest", logs, "-c", config, "--follow", log=log)

        def taken(kills=kills, process=process):
            return log.read_text().count("10000 records") >= 3 * kills or process.poll() is not None

        runs.wait_until(taken, what="files")
        process.kill()
        process.wait()
    runs.checked("ingest", logs, "-c", config)
    assert rows_in(brokers, requests) == sorted(rows)
    assert len(committed(brokers, done, 1)) == 12


def test_a_file_is_as_old_as_its_last_change(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b"1")
    folder = Folder(tmp_path, ["http_requests"])
    assert [(each.name, each.since) for each in folder.look(1.0, set())] == [("a.ndjson", 1.0)]
    assert [each.since for each in folder.look(2.0, set())] == [1.0]
    (tmp_path / "a.ndjson").write_bytes(b"12")
    assert [(each.since, each.size) for each in folder.look(3.0, set())] == [(3.0, 2)]
    assert folder.look(4.0, {"a.ndjson"}) == []
