"""Kafka client: settings of the consumers of a configuration, and what its errors mean for people.

What a person has to mend (a login, a certificate, a right) ends a reader at once; a broker that is away is waited for.
"""

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, TopicMetadata  # type: ignore[attr-defined]

from connectors.kafka_options import KafkaOptions
from connectors.source import SourceError

_log = logging.getLogger(__name__)
_QUEUE_KB = 16384  # of all lanes together; librdkafka's own default is that much a client
_ASK_S = 2.0
_CLOSE_S = 0.5
_CERTIFICATES = "see ssl.ca.location, ssl.certificate.location and ssl.key.location in [input.kafka.client]"
_LOGIN = "check [input.kafka.client]"
_RIGHTS = "give its user the rights Describe and Read on the topic (ACLs), or check [input.kafka.client]"
_FATAL: Mapping[int, str] = {
    KafkaError._AUTHENTICATION: _LOGIN,
    KafkaError.SASL_AUTHENTICATION_FAILED: _LOGIN,
    KafkaError._SSL: _CERTIFICATES,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: "give its user the right Read on the group, or change [input.kafka].group",
}
# A broker that wants another certificate of the client says so after the handshake, as if the connection broke.
_ALERT = re.compile(r"SSL alert number")
# A broker that hangs up at a login, or that a network keeps away then, is no wrong login: it has given no word about it.
_HUNG_UP = re.compile(r"SASL .*: Local: ")
_WHEN = re.compile(r" \(after \d+ms in state \w+.*\)$")
_SECRET = re.compile(r"password|secret|token|pem|key|oauthbearer\.config")


class Watch:
    """Listens to a client's errors: says once that the brokers are gone and once that they are back; keeps fatal ones."""

    def __init__(self, brokers: str) -> None:
        """Take what to call the brokers."""
        self.brokers = brokers
        self._lock = threading.Lock()
        self._away = False
        self.fatal: str | None = None
        self.heard = ""  # what was wrong with a connection last

    def on_error(self, error: KafkaError) -> None:
        """Take an error of the client; called by its thread."""
        if self.is_refusal(error):
            self.fatal = self.refused(error)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            with self._lock:
                if not self._away:
                    self._away = True
                    _log.warning("Kafka at %s cannot be reached; waiting, nothing is lost", self.brokers)
        else:
            self.heard = reason(error)

    def on_message(self) -> None:
        """Take note that messages come."""
        if self._away:
            with self._lock:
                self._away = False
            _log.warning("Kafka at %s is back", self.brokers)

    def words(self, error: KafkaError, what: str = "") -> str:
        """Give the sentence of an error that ends the reading; `what` it was about."""
        about = f"{what}: " if what else ""
        known = self.refused(error, what) if self.is_refusal(error) else f"Kafka at {self.brokers}: {about}{reason(error)}"
        return self.fatal or known

    @staticmethod
    def is_refusal(error: KafkaError) -> bool:
        """Tell whether an error is one that a person has to mend."""
        if _HUNG_UP.search(error.str()):
            return False
        return error.code() in _FATAL or _ALERT.search(error.str()) is not None

    def refused(self, error: KafkaError, what: str = "") -> str:
        """Give the sentence of a refusal; `what` it was about."""
        way_out = _FATAL.get(error.code(), _CERTIFICATES)
        if error.code() == KafkaError._SSL:  # it is the client that refuses
            return f"Kafka at {self.brokers}: {reason(error)}, for the name that [input.kafka].brokers has; {way_out}"
        about = f"{what}: " if what else ""
        return f"Kafka at {self.brokers} refused this client: {about}{reason(error)}; {way_out}"


def client_settings(options: KafkaOptions, watch: Watch, lanes: int) -> dict[str, Any]:
    """Give librdkafka's settings: ours where they matter, then the user's over them."""
    return {
        "bootstrap.servers": ",".join(options.brokers),
        "group.id": options.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 5,  # the default of 1 000 starves a reader that catches up
        "queued.max.messages.kbytes": max(_QUEUE_KB // max(lanes, 1), 1024),
        "fetch.wait.max.ms": 100,
        "log_level": 0,
        **options.client,
        "error_cb": watch.on_error,
    }


def open_consumer(options: KafkaOptions, watch: Watch, lanes: int = 1) -> Consumer:
    """Give a client that connects in the background. Raises SourceError where librdkafka does not take the settings."""
    try:
        return Consumer(client_settings(options, watch, lanes))
    except KafkaException as error:
        words = error.args[0].str().removeprefix("Failed to create consumer: ")
        for name, value in options.client.items():
            if _SECRET.search(name) and str(value):
                words = words.replace(str(value), "***")
        hint = "; is it a readable PEM file, and ssl.key.password its key's?" if words.startswith("ssl.") else ""
        raise SourceError(f"[input.kafka.client] is not taken: {words}{hint}") from None


def close(consumer: Consumer) -> None:
    """Close a client; one that waits for brokers that do not answer (of a commit) is left to end with the process.

    A lane that failed is closed while its process ends, and all the others wait for that.
    """
    closing = threading.Thread(target=consumer.close, name="close", daemon=True)
    closing.start()
    closing.join(_CLOSE_S)


def topics_there(client: Consumer | AdminClient, watch: Watch, timeout_s: float) -> Mapping[str, TopicMetadata]:
    """Ask for all topics that the user may describe; what a person has to mend is not waited for. Raises SourceError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            topics: Mapping[str, TopicMetadata] = client.list_topics(timeout=min(_ASK_S, timeout_s)).topics
            return topics
        except KafkaException as error:
            client.poll(0)
            if watch.fatal is not None:
                raise SourceError(watch.fatal) from error
            if time.monotonic() > deadline:
                heard = watch.heard or reason(error.args[0])
                login = "; some brokers hang up on a wrong one: check the login there, too" if _HUNG_UP.search(heard) else ""
                raise SourceError(
                    f"Kafka at {watch.brokers} cannot be reached ({heard}); "
                    f"start it, or correct [input.kafka].brokers, or security.protocol in [input.kafka.client]{login}"
                ) from error


def reason(error: object) -> str:
    """Give what an error of the client says, without what differs from time to time."""
    if isinstance(error, KafkaError):
        return _WHEN.sub("", error.str()).rstrip(".") or error.name()
    return str(error)
