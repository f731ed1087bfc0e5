"""Producer: synthetic traffic to Kafka, paced along the wall clock or as fast as the broker takes it.

Guarantee: idempotent, so a retry inside librdkafka neither repeats nor reorders a message within a partition;
what was sent before an error stays sent. The timestamp of a message is when its last record was produced, so no
event time is ahead of it.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from connectors.traffic import MinuteOfTraffic, Progress, Traffic
from connectors.visit_lines import Lines

TOPICS = {
    "http_requests": "logpush.http_requests",
    "performance": "app.performance",
    "health": "app.health",
    "app_logs": "app.logs",
    "business": "app.business",
}
_DEFAULT = {name: TOPICS[name] for name in ("http_requests", "performance")}

_Settings = dict[str, str | int | bool]

_ASK_S = 8.0
_SLICE_S = 0.1  # live: what is due is sent this often
_HOLD_S = 1.0  # live: a batch that is not full waits no longer
_GIVE_UP_MS = 120_000
_FLUSH_S = 150.0
_HOUR_S = 3600
_CLIENT: _Settings = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 20,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 131_072,
    "message.timeout.ms": _GIVE_UP_MS,
    "delivery.report.only.error": True,
    "log_level": 2,  # what fails is raised here, once, instead of being logged by every broker thread
}


class ProduceError(Exception):
    """The broker or a topic does not take the records: one sentence that names it and the way out."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What was sent and confirmed."""

    records: int
    messages: int
    seconds: float


@dataclass(slots=True)
class _Batch:
    """The records of one message that is being filled."""

    texts: list[str] = field(default_factory=list)
    key: str = ""
    timestamp_ms: int = 0


def live(traffic: Traffic, rate: float) -> Traffic:
    """Give the same platform and incidents from now on, `rate` records a second, day and night alike."""
    return Traffic(replace(traffic.options, start_ms=_now_ms(), records_per_second=rate, rhythm=False))


def produce(  # noqa: PLR0913 (the choices of one command)
    traffic: Traffic,
    brokers: str | Sequence[str],
    topics: Mapping[str, str] = _DEFAULT,
    *,
    rate: float | None = None,
    batch: int = 1,
    client: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Produced:
    """Send the traffic of each dataset in `topics` (dataset -> topic); the others are left out.

    With `rate` (records a second of all datasets together) records are made for now, so event times follow
    the wall clock; without it they keep the times of `traffic` and go as fast as the broker takes them. A
    message holds `batch` records, as NDJSON if more than one, and is keyed by the ray id of its first one.
    `client` overrides librdkafka's settings (SASL, TLS). Raises ProduceError.
    """
    servers = brokers if isinstance(brokers, str) else ",".join(brokers)
    settings: _Settings = {**_CLIENT, **(client or {}), "bootstrap.servers": servers}
    if rate is not None:
        traffic = live(traffic, rate)
    _check(settings, list(topics.values()), oldest_ms=None if rate is not None else traffic.options.start_ms)
    sender = _Sender(settings, topics, batch)
    started = time.monotonic()
    try:
        for minute in traffic.minutes():
            for part in _due(minute) if rate is not None else (minute,):
                sender.add(part, hold_ms=int(_HOLD_S * 1000) if rate is not None else None)
                if progress:
                    progress(sender.records, traffic.total)
        sender.send_rest()
    finally:
        sender.flush()
    sender.raise_failure()
    return Produced(sender.records, sender.messages, time.monotonic() - started)


def _due(minute: MinuteOfTraffic) -> Iterator[MinuteOfTraffic]:
    """Give a minute's records slice by slice, each when the wall clock has passed it."""
    sent = minute.start_ms
    while sent < minute.end_ms:
        time.sleep(max(sent / 1000 + _SLICE_S - time.time(), 0.0))
        until = min(max(_now_ms(), sent + 1), minute.end_ms)
        parts = {dataset: _between(lines, sent, until) for dataset, lines in minute.datasets.items()}
        yield MinuteOfTraffic(sent, until, parts)
        sent = until


def _between(lines: Lines, low_ms: int, high_ms: int) -> Lines:
    low, high = np.searchsorted(lines.produced, [low_ms, high_ms]).tolist()
    return Lines(
        lines.produced[low:high],
        lines.events[low:high],
        lines.ray[low:high],
        lines.host[low:high],
        lines.texts[low:high],
    )


class _Sender:
    """Fills messages and hands them to librdkafka."""

    def __init__(self, settings: _Settings, topics: Mapping[str, str], batch: int) -> None:
        self.records = self.messages = 0
        self._batch = max(batch, 1)
        self._topics = topics
        self._servers = settings["bootstrap.servers"]
        self._failure: tuple[str, KafkaError] | None = None
        self._client = Client({**settings, "on_delivery": self._delivered})
        self._filling = {dataset: _Batch() for dataset in topics}

    def add(self, minute: MinuteOfTraffic, *, hold_ms: int | None) -> None:
        """Send the records of a stretch of time; what does not fill a message waits, `hold_ms` at most."""
        for dataset, topic in self._topics.items():
            lines = minute.datasets[dataset]
            columns = zip(lines.texts, lines.ray.tolist(), lines.produced.tolist(), strict=True)
            if self._batch == 1:
                for text, ray, produced in columns:
                    self._send(topic, text, f"{ray:016x}", produced)
                self.records += len(lines.texts)
            else:
                for text, ray, produced in columns:
                    self._fill(dataset, text, ray, produced)
            waiting = self._filling[dataset]
            if hold_ms is not None and waiting.texts and waiting.timestamp_ms <= minute.end_ms - hold_ms:
                self._send_batch(dataset)
        self._client.poll(0)
        self.raise_failure()

    def send_rest(self) -> None:
        """Send the messages that are not full."""
        for dataset, waiting in self._filling.items():
            if waiting.texts:
                self._send_batch(dataset)

    def flush(self) -> None:
        """Wait until everything is confirmed or given up."""
        left = self._client.flush(_FLUSH_S)
        if left and not self._failure:
            topic = next(iter(self._topics.values()))
            self._failure = (topic, KafkaError(KafkaError._TIMED_OUT))

    def raise_failure(self) -> None:
        if self._failure:
            topic, error = self._failure
            message = (
                f"topic {topic} at {self._servers} did not take a record: {error.str()};"
                " records before it may be there, so use a new topic to send them again"
            )
            raise ProduceError(message)

    def _fill(self, dataset: str, text: str, ray: int, produced: int) -> None:
        waiting = self._filling[dataset]
        if not waiting.texts:
            waiting.key = f"{ray:016x}"
        waiting.texts.append(text)
        waiting.timestamp_ms = produced
        if len(waiting.texts) == self._batch:
            self._send_batch(dataset)

    def _send_batch(self, dataset: str) -> None:
        full = self._filling[dataset]
        self._filling[dataset] = _Batch()
        self._send(self._topics[dataset], "\n".join(full.texts) + "\n", full.key, full.timestamp_ms)
        self.records += len(full.texts)

    def _send(self, topic: str, value: str, key: str, timestamp_ms: int) -> None:
        while True:
            try:
                self._client.produce(topic, value=value, key=key, timestamp=timestamp_ms)
            except BufferError:  # the broker is slower than we are
                self._client.poll(0.1)
                self.raise_failure()
            except KafkaException as error:
                self._failure = (topic, error.args[0])
                self.raise_failure()
            else:
                self.messages += 1
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = (message.topic() or "", error)


def _check(settings: _Settings, topics: Sequence[str], *, oldest_ms: int | None) -> None:
    """Raise where no broker answers, a topic is missing, or a topic would delete records as old as these."""
    servers = settings["bootstrap.servers"]
    own = ("enable.", "message.", "delivery.", "queue.buffering.", "compression.", "linger.")
    admin = AdminClient({key: value for key, value in settings.items() if not key.startswith(own)})
    try:
        there = admin.list_topics(timeout=_ASK_S).topics
    except KafkaException as error:
        message = (
            f"no Kafka broker answers at {servers} ({error.args[0].str()}):"
            " start one (kafka-compose.yml does) or name another with --brokers"
        )
        raise ProduceError(message) from error
    for topic in topics:
        if topic not in there:
            message = (
                f"topic {topic} is not there at {servers}: make it with `kafka-topics.sh --bootstrap-server"
                f" {servers} --create --topic {topic} --partitions 4 --config retention.ms=-1`"
            )
            raise ProduceError(message)
        keeps_ms = _retention_ms(admin, topic) if oldest_ms is not None else None
        if oldest_ms is not None and keeps_ms is not None and _now_ms() - oldest_ms > keeps_ms:
            message = (
                f"topic {topic} at {servers} keeps {keeps_ms / 1000 / _HOUR_S:g} h, these records are"
                " older and would be deleted: set retention.ms=-1, or give a rate and send new ones"
            )
            raise ProduceError(message)


def _retention_ms(admin: AdminClient, topic: str) -> int | None:
    """Give how long a topic keeps records; nothing where it keeps them for good or may not be asked."""
    with contextlib.suppress(KafkaException, KeyError, ValueError):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        found = admin.describe_configs([resource], request_timeout=_ASK_S)[resource].result()
        keeps = int(found["retention.ms"].value)
        return keeps if keeps >= 0 else None
    return None


def _now_ms() -> int:
    return int(time.time() * 1000)
