"""Dead letters: what was refused (in ClickHouse, the doors' topic or a replay's folder), and sending it on after a fix.

Guarantee: each is sent on once, however often that is asked for and wherever it is killed: the record and the word that its
letter is done are one Kafka transaction, and only one process at a time replays (the later one takes over).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from connectors.dataset import build_dataset
from connectors.dead_letters import Letter, Place, Records, door_letters
from connectors.decoder import Decoder
from connectors.forward import Setting, check_topics, shared_settings
from connectors.progress import time_reason
from connectors.receive_options import ReceiveOptions
from connectors.sorted_lines import LineSorter
from connectors.transaction import Transaction, ensure_compacted, read_all
from flows.config import Config
from flows.options import ConfigError
from flows.output import canonical, rfc3339
from flows.receive import cleaner_of
from sinks.clickhouse import ClickHouse

MOST = 10_000  # letters that are looked at, the newest

_PART = 500  # letters a transaction
_TIMEOUT_MS = 60_000
_ROWS = """SELECT dataset, topic, `partition`, `offset`, `index`, reason, payload FROM dead_letters FINAL
WHERE run = '' ORDER BY inserted_at DESC, topic, `partition`, `offset`, `index` LIMIT {most}"""


@dataclass(slots=True)
class Replayed:
    """What became of letters that were asked to go on: places, and why one did not."""

    sent: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Give it as JSON has it."""
        return {"sent": self.sent, "sent_before": self.before, "refused": self.refused}


def letters_of(config: Config, folder: Path | None) -> list[Letter]:
    """Give what is known of dead letters, by place; of a replay's folder if one is named. Raises NotTaken, DeliveryError."""
    found = list(_of_folder(folder)) if folder is not None else [*_stored(config), *_of_doors(config)]
    return sorted(found, key=lambda each: each.place)


def done_of(config: Config, letters: Sequence[Letter]) -> dict[str, str]:
    """Give by place when a letter was sent on; Kafka is asked only where letters are of its topics. Raises NotTaken."""
    topics = {*config.topic_datasets(), _receive(config).dead_letters}
    if config.kafka is None or not any(letter.place.topic in topics for letter in letters):
        return {}
    return {place: orjson.loads(word)["at"] for place, word in read_all(_settings(config), done_topic(config)).items()}


def done_topic(config: Config) -> str:
    """Give the topic that says which letters were sent on."""
    return f"{_receive(config).dead_letters or ReceiveOptions().dead_letters}.replayed"


def replay(
    config: Config, letters: Sequence[Letter], *, to: str | None, dry_run: bool, progress: Callable[[int], None]
) -> Replayed:
    """Send the records of letters on that can be read now, to the topic of each or to `to`. Raises NotTaken, TopicMissing."""
    if config.kafka is None:
        raise ConfigError("input.kafka", "is missing: it says where the records are, and where they go")
    settings, done = _settings(config), done_topic(config)
    ensure_compacted(settings, done)
    topics = {letter.topic for letter in letters} & config.topic_datasets().keys()
    check_topics(settings, [to] if to else sorted(topics))
    client = {**config.kafka.client, **_receive(config).client}
    # Who has the transaction has fenced all others: what it reads of the topic then is all that was ever sent on.
    out = Transaction(config.kafka.brokers, client, identity=f"edgewatch-{done}", timeout_ms=_TIMEOUT_MS)
    known = read_all(settings, done)
    told = Replayed(before=[str(each.place) for each in letters if str(each.place) in known])
    left = [each for each in letters if str(each.place) not in known]
    records = Records(settings)
    try:
        again = _Again(config, out, records, told, to)
        for first in range(0, len(left), _PART):
            again.send(left[first : first + _PART], dry_run=dry_run)
            progress(min(first + _PART, len(left)))
    finally:
        records.close()
    return told


class _Again:
    """Sends letters on, some in a transaction."""

    def __init__(self, config: Config, out: Transaction, records: Records, told: Replayed, to: str | None) -> None:
        self._topics = config.topic_datasets()
        self._done = done_topic(config)
        self._readers = _Readers(config)
        self._out, self._records, self._told, self._to = out, records, told, to

    def send(self, letters: Sequence[Letter], *, dry_run: bool) -> None:
        sent: list[str] = []
        committed = False
        self._out.begin()
        try:
            for letter in letters:
                refusal = self._queue(letter)
                if refusal:
                    self._told.refused[str(letter.place)] = refusal
                else:
                    sent.append(str(letter.place))
            if sent and not dry_run:
                self._out.commit()
                committed = True
        finally:
            if not committed:
                self._out.abort()
        self._told.sent += sent

    def _queue(self, letter: Letter) -> str:
        """Queue a record and the word that its letter is done; gives why not, if not."""
        to = self._to or letter.topic
        if to != self._to and to not in self._topics:
            return f"{to} is none of the topics in [input.kafka]: name one with --to"
        row, key = (letter.line, b"") if letter.place.index < 0 else self._records.find(letter.place)
        if row is None:
            return "Kafka does not hold its message any more"
        ready = self._readers.ready(letter.dataset, row)
        if isinstance(ready, str):
            return ready
        at = rfc3339(time.time_ns() // 1_000_000_000 * 1000)
        self._out.send(to, ready[0], key or ready[1])
        word = canonical({"at": at, "topic": to, "dataset": letter.dataset})
        self._out.send(self._done, word, str(letter.place).encode())
        return ""


class _Readers:
    """Reads records as the configuration of now says, and takes personal data out."""

    def __init__(self, config: Config) -> None:
        self._known = {each.name: each for each in config.datasets}
        self._ahead_ms = config.window.max_ahead_ms
        self._cleaner = cleaner_of(_receive(config))
        self._made: dict[str, tuple[LineSorter, Decoder]] = {}

    def ready(self, name: str, row: bytes) -> tuple[bytes, bytes] | str:
        """Give a record as it may go on, and a key; or why it may not."""
        if name not in self._known:
            return f"the configuration has no dataset {name}"
        if not row:
            return "nothing but an excerpt was kept of it"
        if name not in self._made:
            dataset = build_dataset(self._known[name])
            self._made[name] = LineSorter(dataset, keep_bad=False, cleaner=self._cleaner), Decoder(dataset, frozenset())
        sorter, decoder = self._made[name]
        line = row.replace(b"\n", b" ")  # a newline within a record is a blank between its tokens
        found = sorter.sort(line, 0)
        if found.bad or not found.records:
            return f"still: {found.bad[0].reason if found.bad else 'empty'}"
        limit = time.time_ns() // 1_000_000 + self._ahead_ms
        event_time = int(decoder.decode([line], lines=True).times[0])
        return f"still: {time_reason(event_time, limit, decoder)}" if event_time > limit else (found.value, found.key)


def _receive(config: Config) -> ReceiveOptions:
    return config.receive or ReceiveOptions()


def _settings(config: Config) -> dict[str, Setting]:
    kafka = config.kafka
    assert kafka is not None  # noqa: S101 (asked before)
    return shared_settings(kafka.brokers, {**kafka.client, **_receive(config).client})


def _stored(config: Config) -> Iterator[Letter]:
    if config.clickhouse is None:
        return
    client = ClickHouse(config.clickhouse)
    try:
        yield from map(_of_row, client.query(_ROWS.format(most=MOST)))
    finally:
        client.close()


def _of_doors(config: Config) -> Iterator[Letter]:
    topic = _receive(config).dead_letters
    if config.kafka is not None and topic:
        yield from door_letters(_settings(config), topic, MOST)


def _of_folder(folder: Path) -> Iterator[Letter]:
    places = (folder / ".state" / "dead_letters.ndjson", folder / "dead_letters.ndjson")
    path = next((each for each in places if each.is_file()), None)
    if path is None:
        raise ConfigError("--from-dir", f"{folder} holds no dead_letters.ndjson: name the folder that --out of a replay named")
    yield from (_of_row(orjson.loads(line)) for line in path.read_bytes().splitlines())


def _of_row(row: dict[str, object]) -> Letter:
    place = Place(str(row["topic"]), str(row["partition"]), int(str(row["offset"])), int(str(row["index"])))
    return Letter(place, str(row["dataset"]), str(row["reason"]), str(row["payload"]), str(row["topic"]))
