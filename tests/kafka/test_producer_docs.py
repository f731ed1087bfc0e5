"""docs/producers.md: its producer is run against a real broker, its examples are read as the program reads them."""

import hashlib
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, Message, TopicPartition

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from flows.config import BUILT_IN_DATASETS, load

TEXT = (Path(__file__).parents[2] / "docs" / "producers.md").read_text(encoding="utf-8")
RECORDS = 1_234


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def forward(tmp_path: Path) -> Path:
    """Give the producer of the page as a file."""
    (code,) = blocks("python")
    path = tmp_path / "forward.py"
    path.write_text(code, encoding="utf-8")
    return path


def lines(count: int) -> list[bytes]:
    now = time.time_ns()
    return [b'{"EdgeEndTimestamp":%d,"RayID":"%016x","EdgeResponseStatus":200}' % (now, n) for n in range(count)]


def messages(brokers: str, topic: str, partitions: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "enable.auto.commit": False})
    found: list[Message] = []
    for partition in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        consumer.assign([TopicPartition(topic, partition, low)])
        wanted = len(found) + high - low
        while len(found) < wanted:
            found += consumer.consume(100, 0.2)
    consumer.close()
    return found


def test_the_producer_sends_every_line_once_in_stamped_batches(brokers: str, topic: Callable[..., str], forward: Path) -> None:
    name = topic(2)
    sent = lines(RECORDS)
    before = time.time_ns() // 1_000_000
    subprocess.run([sys.executable, forward, brokers, name], input=b"\n\n".join(sent), check=True, capture_output=True)
    after = time.time_ns() // 1_000_000
    got = messages(brokers, name, 2)
    values = [message.value() or b"" for message in got]
    assert sorted(line for value in values for line in value.splitlines()) == sorted(sent)
    assert {message.timestamp()[0] for message in got} == {TIMESTAMP_CREATE_TIME}
    assert [at for at in (message.timestamp()[1] for message in got) if not before <= at <= after] == []
    assert 1 < max(value.count(b"\n") + 1 for value in values) <= 500
    read = Decoder(build_dataset(DatasetOptions(name="h", kind="http_requests")), frozenset()).decode(values)
    assert (len(read.times), list(read.refusals)) == (RECORDS, [])


def test_a_batch_does_not_wait_for_the_next_line(brokers: str, topic: Callable[..., str], forward: Path) -> None:
    name = topic(1)
    (line,) = lines(1)
    running = subprocess.Popen([sys.executable, forward, brokers, name], stdin=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write(line + b"\n")
    running.stdin.flush()
    while not (got := messages(brokers, name, 1)):
        assert running.poll() is None
    assert [message.value() for message in got] == [line]
    running.stdin.close()
    assert running.wait() == 0


def test_the_producer_says_what_the_broker_did_not_take(brokers: str, topic: Callable[..., str], forward: Path) -> None:
    name = topic(1, max_message_bytes=1_000)
    done = subprocess.run(
        [sys.executable, forward, brokers, name],
        input=b"".join(b'{"RayID":"%s"}\n' % random_text(n) for n in range(50)),
        check=False,
        capture_output=True,
    )
    assert done.returncode == 1
    assert f"{name} at {brokers} did not take 1 batches: " in done.stderr.decode()


def random_text(seed: int) -> bytes:
    """Give 200 characters that compress badly."""
    return hashlib.shake_128(str(seed).encode()).hexdigest(100).encode()


def test_the_point_of_the_page_is_read_by_the_built_in_dataset() -> None:
    (point,) = blocks("json")
    dataset = build_dataset(BUILT_IN_DATASETS["performance"])
    read = Decoder(dataset, frozenset({"total_ms", "db_ms", "cache_ms", "status"})).decode([point.encode()])
    assert (read.times.tolist(), list(read.refusals)) == ([1_764_547_200_123], [])
    assert {name: column.tolist() for name, column in read.numbers.items()} == {
        "total_ms": [84.5],
        "db_ms": [31.2],
        "cache_ms": [0.8],
    }


def test_the_configuration_of_the_page_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "planted")
    path = tmp_path / "monitor.toml"
    path.write_text("\n".join(blocks("toml")) + "\n[[route]]\nchannels = ['console']\n[channel.console]\n", encoding="utf-8")
    assert tomllib.loads(path.read_text(encoding="utf-8"))
    config = load(path)
    assert config.kafka is not None
    assert config.kafka.client["sasl.password"] == "planted"
    assert config.topic_datasets() == {"logpush.http_requests": "http_requests", "app.performance": "performance"}
