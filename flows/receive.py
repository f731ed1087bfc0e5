"""Receive: a configuration to a running Logpush receiver: which datasets come in, where they go, and dead letters."""

import logging
import ssl
import sys
from collections.abc import Collection

from connectors.dataset import build_dataset
from connectors.forward import Forwarder, TopicMissing, check_topics, shared_settings
from connectors.http_server import Listening, serve
from connectors.logpush import PREFIX, Door, Logpush
from connectors.personal import Cleaner
from connectors.receive_options import ReceiveOptions
from connectors.sorted_lines import BadLine, LineSorter
from flows.config import Config
from flows.dead_letter import scrub
from flows.options import ConfigError, no_such
from flows.output import canonical

_log = logging.getLogger(__name__)
_CONNECTIONS = 256


def receive(config: Config) -> int:
    """Serve until SIGTERM or Ctrl-C; gives the exit code. Raises ConfigError."""
    options = config.receive or ReceiveOptions()
    kafka = config.kafka
    if kafka is None:
        raise ConfigError("input.kafka", "is missing: it says which brokers uploads are sent on to")
    doors = doors_of(config)
    client = {**kafka.client, **options.client}
    forwarder = Forwarder(kafka.brokers, client, ack_timeout_ms=options.ack_timeout_ms)
    try:
        topics = [door.topic for door in doors.values()] + ([options.dead_letters] if options.dead_letters else [])
        check_topics(shared_settings(kafka.brokers, client), topics)
        application = Logpush(doors, forwarder, options, dead_letter)
        host, port = options.address

        def told() -> None:
            application.stopping = True

        def started(found: int) -> None:
            scheme = "https" if options.tls_certificate else "http"
            shown = f"[{host}]" if ":" in host else host
            sys.stderr.write(f"listening on {scheme}://{shown}:{found}{PREFIX}DATASET for {', '.join(sorted(doors))}\n")

        listening = Listening(
            host=host,
            port=port,
            certificate=options.tls_certificate,
            key=options.tls_key,
            proxies=options.proxies,
            connections=max(_CONNECTIONS, 8 * options.max_uploads),
            grace_s=options.grace_ms // 1000,
            head_s=options.idle_timeout_ms / 1000,
        )
        return 0 if serve(application, listening, on_start=started, on_stop=told) else 1
    except TopicMissing as error:
        sys.stderr.write(f"edgewatch: {error}\n")
        return 1
    except (OSError, ssl.SSLError) as error:
        sys.stderr.write(f"edgewatch: [receive].listen {options.listen}: {error}\n")
        return 1
    finally:
        forwarder.close()


def doors_of(config: Config) -> dict[str, Door]:
    """Give dataset -> door: of `[receive].topics`, or of the topics that are read. Raises ConfigError."""
    options = config.receive or ReceiveOptions()
    known = {each.name: each for each in config.datasets}
    topics = topics_of(config)
    for dataset in topics:
        if dataset not in known:
            raise ConfigError(f"receive.topics.{dataset}", no_such("dataset", dataset, known))
    for dataset in topics:
        if cleaner_of(options) and known[dataset].csv:
            raise ConfigError("receive.drop", f"{dataset} is CSV, and only fields of JSON are dropped or hashed")
    keep_bad = not options.dead_letters
    cleaner = cleaner_of(options)
    return {
        dataset: Door(dataset, topic, LineSorter(build_dataset(known[dataset]), keep_bad=keep_bad, cleaner=cleaner))
        for dataset, topic in topics.items()
    }


def cleaner_of(options: ReceiveOptions) -> Cleaner | None:
    """Give what takes personal data out, if anything is to be taken out."""
    wanted = options.drop or options.hash_
    return Cleaner(drop=options.drop, hashed=options.hash_, key=options.hash_key) if wanted else None


def topics_of(config: Config, only: Collection[str] | None = None) -> dict[str, str]:
    """Give dataset -> topic to send to, of those in `only` (None: all). Raises ConfigError."""
    given = (config.receive or ReceiveOptions()).topics
    if given:
        return {dataset: topic for dataset, topic in given.items() if only is None or dataset in only}
    topics: dict[str, str] = {}
    for topic, dataset in config.topic_datasets().items():
        if only is not None and dataset not in only:
            continue
        if topic.startswith("^"):
            raise ConfigError("receive.topics", f"is missing: {topic} is no topic to send to")
        if dataset in topics:
            raise ConfigError("receive.topics", f"is missing: {topics[dataset]} and {topic} both hold {dataset}")
        topics[dataset] = topic
    return topics


def dead_letter(door: Door, bad: BadLine, place: str = "") -> bytes:
    """Give a bad line as a message of the dead-letter topic; `place` says where it stands, if not in an upload."""
    words = {
        "dataset": door.dataset,
        "topic": door.topic,
        "place": place or f"line {bad.line + 1} of an upload",
        "reason": bad.reason,
        "payload": scrub(bad.excerpt),
    }
    return canonical(words)
