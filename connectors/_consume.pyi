"""The compiled half of native consumption (`_consume.c`)."""

from collections.abc import Sequence

from confluent_kafka import Consumer

class Queue:
    """A capsule."""

def open(cimpl: str, consumer: Consumer, places: tuple[tuple[str, int], ...], /) -> Queue:  # noqa: A001
    """Lead the queues of partitions (topic, number) into one; before they are assigned. `cimpl` is confluent-kafka's module.

    Raises RuntimeError where its library has not the functions, or the consumer is closed.
    """

def consume(queue: Queue, most: int, /) -> tuple[bytes, list[int], bytearray, Sequence[tuple[int, int, int, str]]] | None:
    """Take at most `most` messages and events of those that are there, without the interpreter's lock; None: nothing is.

    Gives the n messages' bytes in one block, a newline behind each (it is longer, and is written to again once nobody else has
    it), how many are of each place, their table, (4, n) int64 of offset, timestamp (ms
    or -1), start in the block and size (-1: no value), and the events: place or -1, error, offset, words. Those of a place
    stand together and in order.
    """

def close(queue: Queue, /) -> None:
    """Let go of the queue, before the consumer is closed."""
