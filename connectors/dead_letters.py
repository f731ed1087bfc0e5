"""Dead letters in Kafka: those of the doors' topic, and the messages that the flow's dead letters stand in.

A door's letter is a message of JSON (dataset, topic, place, reason, payload); the header WHOLE holds the line as it came. Of a
letter of the flow only the place is known: partition and offset of a message, and the record's number in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from connectors.committed import ASK_S, POLL_S, committed, committed_consumer
from connectors.dataset import DecodeError
from connectors.forward import NotTaken, Setting
from connectors.payload import inflate
from connectors.typed import sources_of

WHOLE = "line"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a dead letter stands: written TOPIC/PARTITION/OFFSET/INDEX; the index is left out of a letter that is a message."""

    topic: str
    partition: str
    offset: int
    index: int = -1

    def __str__(self) -> str:
        """Write it."""
        index = "" if self.index < 0 else f"/{self.index}"
        return f"{self.topic}/{self.partition}/{self.offset}{index}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: of which dataset, why, an excerpt without secrets, the topic it was for, and the line if it is known."""

    place: Place
    dataset: str
    reason: str
    payload: str
    topic: str  # where the record was, or was going
    at: str = ""  # what the letter itself says of its place
    line: bytes = field(default=b"", repr=False)


def door_letters(settings: Mapping[str, Setting], topic: str, most: int) -> Iterator[Letter]:
    """Give the last `most` letters of each partition of the topic; none where there is no such topic. Raises NotTaken."""
    for message in committed(settings, topic, most):
        letter = _of_door(message, topic)
        if letter is not None:
            yield letter


def _of_door(message: Message, topic: str) -> Letter | None:
    try:
        words = orjson.loads(message.value() or b"")
        dataset, reason, payload, meant, at = (str(words[n]) for n in ("dataset", "reason", "payload", "topic", "place"))
    except (ValueError, KeyError, TypeError):
        return None  # another one wrote it
    place = Place(topic, str(message.partition()), message.offset() or 0)
    whole = dict(message.headers() or []).get(WHOLE) or b""
    return Letter(place, dataset, reason, payload, meant, at, whole if isinstance(whole, bytes) else whole.encode())


class Records:
    """Finds the bytes of records by place, where Kafka still has them."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        """Connect to nothing yet."""
        self._consumer = committed_consumer(settings)
        self._last: tuple[Place, bytes | None, bytes] | None = None

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def find(self, place: Place) -> tuple[bytes | None, bytes]:
        """Give the bytes of a record, None where they are gone, and the key of its message. Raises NotTaken."""
        message = Place(place.topic, place.partition, place.offset)
        if self._last is None or self._last[0] != message:
            self._last = (message, *self._message(message))
        _, value, key = self._last
        if value is None:
            return None, key
        try:
            plain = inflate(value)
            return sources_of([plain], lines=False)(0, max(place.index, 0)), key
        except (DecodeError, IndexError):
            return value, key

    def _message(self, place: Place) -> tuple[bytes | None, bytes]:
        try:
            where = TopicPartition(place.topic, int(place.partition), place.offset)
            low, high = self._consumer.get_watermark_offsets(where, timeout=ASK_S)
            if not low <= place.offset < high:
                return None, b""
            self._consumer.assign([where])
            while True:
                for message in self._consumer.consume(1, POLL_S):
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise NotTaken(f"topic {place.topic} cannot be read: {error.str()}")
                    found = error is None and message.offset() == place.offset
                    return (message.value() or b"", message.key() or b"") if found else (None, b"")
        except KafkaException as error:
            raise NotTaken(f"topic {place.topic} cannot be read: {error.args[0].str()}") from error


def chosen(letters: Sequence[Letter], *, dataset: str | None, reason: str | None) -> list[Letter]:
    """Give the letters of a dataset whose reason holds these words."""
    words = (reason or "").lower()
    return [each for each in letters if dataset in (None, each.dataset) and words in each.reason.lower()]
