"""Kafka options: the `[input.kafka]` table."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOptions:
    """What is said of one topic, where its dataset alone is not enough."""

    dataset: str = field(metadata={"help": "what the topic holds"})
    allowed_lateness_ms: int | None = field(
        default=None,
        metadata={
            "duration": True,
            "help": "of this topic; default: the window's. A folder has the longest of its dataset's topics",
        },
    )
    sample_rate: float = field(default=1.0, metadata={"unit": "share", "help": "share of records that the Logpush job sends"})
    labels: dict[str, str] = field(default_factory=dict, metadata={"help": "columns that every record of the topic has"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not 0 < self.sample_rate <= 1:
            yield "sample_rate", f"must be above 0 and at most 1, not {self.sample_rate:g}"
        for name in self.labels:
            if not _LABEL.fullmatch(name):
                yield "labels", f"{name!r} is no name of a column: letters, digits and _"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """Where records come from. `client` may hold secrets, so it shows nowhere."""

    brokers: tuple[str, ...] = field(metadata={"help": "host:port, one or more"})
    group: str = field(default="edgewatch", metadata={"help": "offsets are committed under it, for lag tools only"})
    start: str = field(default="latest", metadata={"help": "first start: earliest, latest or a time (RFC 3339)"})
    poll_records: int = field(default=10_000, metadata={"unit": "records", "help": "records a chunk at most"})
    topics: dict[str, str | TopicOptions] = field(metadata={"help": "topic = dataset; ^regex matches names at start"})
    client: dict[str, str | int | float | bool] = field(
        default_factory=dict, repr=False, metadata={"help": "any librdkafka setting"}
    )

    def topic_options(self) -> dict[str, TopicOptions]:
        """Give the options of every topic."""
        return {n: TopicOptions(dataset=o) if isinstance(o, str) else o for n, o in self.topics.items()}

    def with_client(self, client: dict[str, str | int | float | bool]) -> "KafkaOptions":
        """Give the options with other client settings (secrets resolved)."""
        return dataclasses.replace(self, client=client)

    def with_lateness(self, allowed_lateness_ms: int) -> "KafkaOptions":
        """Give the options with one allowed lateness for all topics."""
        topics: dict[str, str | TopicOptions] = {
            name: dataclasses.replace(options, allowed_lateness_ms=allowed_lateness_ms)
            for name, options in self.topic_options().items()
        }
        return dataclasses.replace(self, topics=topics)

    def labels_of(self, dataset: str) -> dict[str, dict[str, str]]:
        """Give topic (or ^pattern) -> labels, of the topics that hold a dataset and have some."""
        return {name: each.labels for name, each in self.topic_options().items() if each.dataset == dataset and each.labels}

    def sample_rates(self) -> dict[str, float]:
        """Give the share of records that is sent, by dataset."""
        return {topic.dataset: topic.sample_rate for topic in self.topic_options().values()}

    def _unequal_rates(self) -> Iterable[tuple[str, str]]:
        rates = self.sample_rates()
        for name, topic in self.topic_options().items():
            if topic.sample_rate != rates[topic.dataset]:
                yield f'topics."{name}"', f"all topics of {topic.dataset} need the same sample_rate: they are counted together"

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        yield from self._unequal_rates()
        if not self.brokers:
            yield "brokers", 'name at least one broker, as in ["127.0.0.1:9092"]'
        for broker in self.brokers:
            if not re.fullmatch(r"\[?[^\s/\]]+\]?:\d{1,5}", broker):
                yield "brokers", f"{broker!r} is not host:port"
        if not self.topics:
            yield "topics", 'name at least one topic, as in { "logpush.http_requests" = "http_requests" }'
        if self.poll_records < 1:
            yield "poll_records", "must be at least 1"
        if self.start not in ("earliest", "latest") and not re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", self.start
        ):
            yield "start", f"{self.start!r} is not earliest, latest or a time such as 2025-12-01T00:00:00Z"
        for name in self.topics:
            if name.startswith("^"):
                try:
                    re.compile(name)
                except re.error as error:
                    yield f'topics."{name}"', f"is no regular expression: {error}"
