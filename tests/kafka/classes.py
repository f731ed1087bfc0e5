"""Writes the archive of classes that a test's broker starts with: `python -m tests.kafka.classes FILE`."""

import sys
import tempfile
from pathlib import Path

from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.topics import Sent


def write(archive: Path) -> None:
    """Let a broker do what tests ask of it; it leaves the classes that this took."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        broker.archive = archive
        broker.start()
        topics.create(broker.address, "t", 2, {})
        topics.send(broker.address, "t", [Sent(None, b"x", 1, 0)])
        topics.held(broker.address, "t")
        broker.stop()


if __name__ == "__main__":
    write(Path(sys.argv[1]).absolute())
