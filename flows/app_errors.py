"""App errors: errors in Workers events and application logs become events in Sentry, one of those alike in a while.

Guarantee: at-least-once. Offsets are committed when Sentry took the events before them, so Kafka is the queue; an event's id is
that of its record's place, by which Sentry knows a repeat. Which alike were sent is forgotten by a restart.
Why not within the flow that judges windows: a Sentry that is slow, or a flood of errors, must not hold up an alert.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import sentry_sdk
from confluent_kafka import Consumer, KafkaException, Message

from connectors.app_error import KINDS, AppError, errors_of, records_of
from connectors.dataset import Dataset, build_dataset
from connectors.event_time import INVALID, event_times
from connectors.forward import check_topics, shared_settings
from flows.app_error_event import Found, event_of_error
from flows.app_error_options import AppErrorOptions
from flows.config import Config
from flows.firing import read_firing
from flows.options import ConfigError
from flows.own_errors import Scrubber, secrets_of
from flows.run_folder import RunFolder
from flows.transition import episode_of, fingerprint_of
from sinks.notification import DeliveryError, Pace
from sinks.pace import TokenBucket
from sinks.sentry_wire import SentryWire, client_of, event_of

_log = logging.getLogger(__name__)
_CHUNK, _WAIT_S = 500, 1.0
_REMEMBERED = 10_000  # kinds of errors
_FIRST_S, _LONGEST_S = 1.0, 300.0
_LOUD_S = 60.0
_PATIENCE_MS = 86_400_000  # a Sentry that is away is waited for
_LABELS = {"workers_trace_events": "ScriptName", "app_logs": "service"}


class Alike:
    """Tells which errors are sent: the first of those alike in a stretch of event time."""

    def __init__(self, every_ms: int) -> None:
        """Remember nothing yet."""
        self._every_ms = every_ms
        self._last: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()  # stretch, and how many were not sent

    def first(self, error: AppError, at: int) -> int | None:
        """Give how many alike were not sent since the last one that was, or None where this one is not sent."""
        likeness, stretch = error.likeness, at // self._every_ms
        known = self._last.pop(likeness, None)
        if known is not None and known[0] == stretch:
            self._last[likeness] = stretch, known[1] + 1
            return None
        self._last[likeness] = stretch, 0
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return known[1] if known is not None else 0


class Reporter:
    """Sends errors to one project by the real SDK; waits while Sentry is away, and drops what is too much."""

    def __init__(self, options: AppErrorOptions, config: Config, stop: threading.Event) -> None:
        """Open no connection yet."""
        self._wire = SentryWire("app_errors", options.dsn, timeout_ms=options.timeout_ms)
        self._client = client_of(self._wire, options.dsn, config.environment)
        self._scope = sentry_sdk.Scope(client=self._client)
        self._pace = TokenBucket(Pace(per_second=options.per_minute / 60, burst=options.per_minute))
        self._scrub = Scrubber(secrets_of(config)).event
        self._environment, self._stop = config.environment, stop
        self._firing = RunFolder.at(Path(config.engine.directory)).firing
        self.sent = self.dropped = 0
        self._told = 0.0

    def report(self, found: Found) -> bool:
        """Send an error, however long it takes; False where it was told to stop before."""
        if self._pace.take(time.monotonic()) > 0:
            self._drop("more errors than app_errors.per_minute allows")
            return True
        event = event_of_error(found, self._environment, self.alert(found.error))
        wait = _FIRST_S
        while not self._stop.is_set():
            try:
                self._send(event)
            except DeliveryError as error:
                if not error.retryable:
                    self._drop(str(error))
                    return True
                _log.warning("%s; again in %g s", error, error.retry_after or wait)
                self._stop.wait(error.retry_after or wait)
                wait = min(wait * 2, _LONGEST_S)
            else:
                self.sent += 1
                return True
        return False

    def alert(self, error: AppError) -> dict[str, str] | None:
        """Give rule and episode of an alert that is open on the same script or service, the worst first."""
        label = _LABELS[error.dataset]
        known = read_firing(self._firing)
        alerts = [
            each
            for dataset in known.values()
            for each in dataset.get("alerts", ())
            if each["labels"].get(label) == error.source
        ]
        if not alerts or not error.source:
            return None
        chosen = min(alerts, key=lambda each: (each["labels"].get("severity") != "critical", each["start"], each["rule"]))
        fingerprint = fingerprint_of(self._environment, chosen["key"], chosen["rule"])
        return {"rule": chosen["rule"], "episode": episode_of(fingerprint, chosen["start"])}

    def close(self) -> None:
        """Say what was dropped."""
        if self.dropped:
            _log.warning("%d errors were not sent", self.dropped)
        self._client.close(timeout=0)

    def _send(self, event: dict[str, Any]) -> None:
        clean = self._scrub(event, {})
        with sentry_sdk.scope.use_scope(self._scope):
            if self._client.capture_event(event_of(clean), scope=self._scope) is None:
                raise self._wire.dropped()

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if time.monotonic() - self._told >= _LOUD_S:
            self._told = time.monotonic()
            _log.warning("%d errors of the platform were not sent to Sentry: %s", self.dropped, why)


def app_errors(config: Config, stop: threading.Event, told: Callable[[int], None] = lambda _: None) -> int:
    """Follow the topics until told to stop; gives how many events were sent.

    Raises ConfigError, TopicMissing, KafkaException.
    """
    kafka, options = config.kafka, config.app_errors
    if options is None:
        raise ConfigError("app_errors", "is missing: it says which Sentry project takes the errors")
    if kafka is None:
        raise ConfigError("input.kafka", "is missing: it says which brokers errors are read from")
    datasets = {each.name: build_dataset(each) for each in config.datasets if each.kind in KINDS}
    topics = {topic: datasets[name] for topic, name in config.topic_datasets().items() if name in datasets}
    if not topics:
        raise ConfigError("input.kafka.topics", f"no topic holds {' or '.join(KINDS)}")
    settings = shared_settings(kafka.brokers, dict(kafka.client))
    check_topics(settings, [topic for topic in topics if not topic.startswith("^")])
    own = {
        "group.id": f"{kafka.group}-errors",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest" if kafka.start == "earliest" else "latest",
        "max.poll.interval.ms": _PATIENCE_MS,
    }
    consumer = Consumer({**settings, **own})
    consumer.subscribe(list(topics))
    reporter, alike = Reporter(options, config, stop), Alike(options.every_ms)
    try:
        while not stop.is_set():
            messages = consumer.consume(_CHUNK, _WAIT_S)
            found = found_in(messages, topics, alike)
            if all(map(reporter.report, found)) and messages:
                consumer.commit(asynchronous=False)
            told(reporter.sent)
    finally:
        reporter.close()
        consumer.close()
    return reporter.sent


def found_in(messages: Iterable[Message], topics: dict[str, Dataset], alike: Alike) -> Iterator[Found]:
    """Give the errors of messages that are to be sent; raises KafkaException where the broker refuses."""
    for message in messages:
        if (failure := message.error()) is not None:
            if failure.fatal() or not failure.retriable():
                raise KafkaException(failure)
            _log.warning("Kafka: %s", failure.str())
            continue
        topic = message.topic() or ""
        dataset = topics.get(topic) or next(each for name, each in topics.items() if re.match(name, topic))
        for index, record in enumerate(records_of(message.value() or b"")):
            for nth, error in enumerate(errors_of(dataset, record)):
                raw = error.time if type(error.time) in (int, str) else None
                time_ms = int(event_times([raw])[0])
                time_ms = message.timestamp()[1] if time_ms == INVALID else time_ms
                known = alike.first(error, time_ms)
                if known is not None:
                    place = (message.partition() or 0, message.offset() or 0)
                    yield Found(error, topic, *place, index, time_ms, known, nth)
