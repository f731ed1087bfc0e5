"""Kafka topic: each notification a message, keyed by its fingerprint: the JSON of `notifications.ndjson` and `provenance`.

Guarantee: at-least-once, acknowledged by all in-sync replicas. The client's own retries neither repeat nor reorder
(idempotence); an attempt that timed out may have arrived, so that readers drop repeats by the header `id`. One key is
one partition, so an alert's messages keep their order.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Producer

from sinks.http import scrub
from sinks.notification import DeliveryError, Notification, one_line

_SETTINGS: Mapping[str, str | int | bool] = {
    "acks": "all",
    "client.id": "edgewatch",
    "enable.idempotence": True,
    "linger.ms": 0,
    "log_level": 2,  # what fails is raised here, once, instead of being logged by every broker thread
    "partitioner": "murmur2_random",  # as Java's clients do, so that topics keyed alike can be joined
}
_OURS = {
    *("acks", "request.required.acks", "bootstrap.servers", "metadata.broker.list", "enable.idempotence"),
    *("message.timeout.ms", "delivery.timeout.ms", "topic.metadata.propagation.max.ms", "transactional.id"),
}
# What no retry mends: a person has to change the topic, the rights, the settings or the message.
_FINAL = {
    KafkaError._AUTHENTICATION,
    KafkaError._INVALID_ARG,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
}
_SECRET = re.compile(r"password|secret|token|pem|key|oauthbearer\.config")
_GRACE_S = 5.0  # the client reports a timed out message about a second after its time
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTopicOptions:
    """Options of a Kafka channel: one topic. `client` may hold secrets, so it shows nowhere."""

    brokers: tuple[str, ...] = field(metadata={"help": "host:port, one or more"})
    topic: str = field(metadata={"help": "the topic; it has to be there"})
    client: dict[str, str | int | float | bool] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "any other setting of a librdkafka producer"}
    )
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one message may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not self.brokers:
            yield "brokers", 'name at least one broker, as in ["127.0.0.1:9092"]'
        for broker in self.brokers:
            if not re.fullmatch(r"\[?[^\s/\]]+\]?:\d{1,5}", broker):
                yield "brokers", f"{broker!r} is not host:port"
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", self.topic):
            yield "topic", f"{self.topic!r} is not the name of a topic"
        taken = sorted(_OURS & self.client.keys())
        if taken:
            yield "client", f"{', '.join(taken)}: set by the channel itself"
        elif problem := self._refused():
            yield "client", problem

    def _refused(self) -> str | None:
        """Ask librdkafka whether it takes the settings; without brokers it connects to nobody."""
        try:
            Producer({**self.settings(), "bootstrap.servers": ""})
        except KafkaException as error:
            return one_line(scrub(error.args[0].str(), self.secrets()))
        return None

    def settings(self) -> dict[str, str | int | float | bool]:
        """Give the producer's settings."""
        made: dict[str, str | int | float | bool] = {**_SETTINGS, **self.client}
        made["bootstrap.servers"] = ",".join(self.brokers)
        made["message.timeout.ms"] = self.timeout_ms
        made["topic.metadata.propagation.max.ms"] = self.timeout_ms // 2  # else a missing topic is a time-out
        return made

    def secrets(self) -> tuple[str, ...]:
        """Give the values that no error may show."""
        return tuple(str(value) for name, value in self.client.items() if _SECRET.search(name) and value)


class KafkaTopic:
    """Sends a message an attempt and waits for its acknowledgement."""

    def __init__(self, name: str, options: KafkaTopicOptions) -> None:
        """Connect to nobody yet."""
        self.name = name
        self._options = options
        self._producer: Producer | None = None
        self._heard: KafkaError | None = None

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Produce it."""
        reports: list[KafkaError | None] = []
        self._heard = None
        try:
            producer = self._open()
            producer.produce(
                self._options.topic,
                value=notification.document(),
                key=notification.fingerprint.encode(),
                headers=[(name, getattr(notification, name).encode()) for name in ("id", "episode", "status")],
                on_delivery=lambda error, _: reports.append(error),
            )
            until = time.monotonic() + self._options.timeout_ms / 1000 + _GRACE_S
            while not reports and time.monotonic() < until:
                producer.poll(_POLL_S)
        except KafkaException as error:  # of polling too: so a client says that it is broken for good
            raise self._error(error.args[0]) from None
        report = reports[0] if reports else KafkaError(KafkaError._TIMED_OUT)
        if report is not None:
            raise self._error(report)
        return memory

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = Producer({**self._options.settings(), "error_cb": self._listen})
        return self._producer

    def _listen(self, error: KafkaError) -> None:
        """Keep what the client says of brokers: a message that timed out does not say why."""
        if self._heard is None or self._heard.code() not in _FINAL:
            self._heard = error

    def _error(self, error: KafkaError) -> DeliveryError:
        cause = self._heard if error.code() in {KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT} else None
        words = f"{error.str()}; {cause.str()}" if cause else error.str()
        code = (cause or error).code()
        if error.fatal() or error.code() == KafkaError._TIMED_OUT or code in _FINAL:
            # Of no more use: it would repeat a refusal from memory, also when a person has mended the topic or its rights.
            self._producer = None
        text = f"{self.name}: topic {self._options.topic}: {one_line(scrub(words, self._options.secrets()))}"
        return DeliveryError(text, retryable=code not in _FINAL, code=(cause or error).name())


def build(name: str, options: KafkaTopicOptions) -> KafkaTopic:
    """Make the channel."""
    return KafkaTopic(name, options)
