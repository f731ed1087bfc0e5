"""Own log: what edgewatch says of itself on standard error, as text or as the JSON lines it reads from others, and to Kafka.

Where a topic is named (`[observe].log_topic`), the lines of a service also go there, so that the rules on `app_logs` watch
edgewatch too: one critical line raises the event rule at once. Guarantee: best effort; a line that cannot be queued is dropped
and counted, and nothing waits. What keeps it from feeding itself is `LoopGuard`.
"""

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException, Producer

from connectors.forward import Setting, shared_settings
from connectors.structured_log import PRODUCTION, LineFormatter, least_level
from flows.config import Config
from flows.own_errors import secrets_of
from sinks.http import scrub

SERVICE = "edgewatch"

_SAME_S, _SAME_CRITICAL_S = 60.0, 3600.0
_MOST_A_MINUTE = 120
_MINUTE_S = 60.0
_LAST_S = 5.0  # what a process that ends waits for its last lines
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_log = logging.getLogger(__name__)


def set_up_logging(config: Config, *, service: bool = False) -> None:
    """Write log lines of our own, and warnings of others; a `service` runs until it is told to stop."""
    options = config.observe
    level = least_level(logging.getLevelNamesMapping()[options.log_level.upper()], config.environment)
    clean = partial(scrub, secrets=secrets_of(config))
    lines = LineFormatter(service=SERVICE, version=version(SERVICE), environment=config.environment, scrub=clean)
    as_json = options.log_format == "json" or (options.log_format == "auto" and service and not sys.stderr.isatty())
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(lines if as_json else PlainFormatter(config.environment))
    logging.basicConfig(level=level, handlers=[shown], force=True)
    for name in ("httpx", "httpcore"):  # their lines hold URLs, and URLs hold secrets
        logging.getLogger(name).setLevel(logging.WARNING)
    if service and options.log_topic and config.kafka is not None:
        client = {**config.kafka.client, **(config.receive.client if config.receive else {})}
        sent = TopicLines(options.log_topic, shared_settings(config.kafka.brokers, client))
        sent.setFormatter(lines)
        logging.getLogger().addHandler(sent)
    if service:
        sys.excepthook = partial(_ended, sys.excepthook)
    if options.log_level == "debug" and level != logging.DEBUG:
        _log.warning("observe.log_level = debug says nothing more in the environment %s", PRODUCTION)


class PlainFormatter(logging.Formatter):
    """Lines for people; in production stacks are shown at critical alone."""

    def __init__(self, environment: str) -> None:
        """Take the environment."""
        super().__init__(_TEXT)
        self._stacks = environment != PRODUCTION

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        if self._stacks or record.levelno >= logging.CRITICAL or not record.exc_info or record.exc_info[1] is None:
            return super().format(record)
        bare = logging.makeLogRecord({**vars(record), "exc_info": None, "exc_text": None})
        error = record.exc_info[1]
        return f"{super().format(bare)} ({type(error).__name__}: {error})"


class LoopGuard:
    """Says which lines may go where they come back: the same one once a minute, a critical one once an hour, few in all."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._last: dict[tuple[str, int, str], float] = {}
        self._recent: deque[float] = deque()

    def allows(self, record: logging.LogRecord, now: float) -> bool:
        """Tell whether a line may go; `now` is in seconds of any clock that does not go back."""
        what = (record.name, record.levelno, str(record.msg))  # the same whatever it is filled with
        every = _SAME_CRITICAL_S if record.levelno >= logging.CRITICAL else _SAME_S
        while self._recent and self._recent[0] <= now - _MINUTE_S:
            self._recent.popleft()
        if now - self._last.get(what, -_SAME_CRITICAL_S) < every or len(self._recent) >= _MOST_A_MINUTE:
            return False
        if len(self._last) >= _MOST_A_MINUTE:
            self._last = {key: at for key, at in self._last.items() if now - at < _SAME_CRITICAL_S}
        self._last[what] = now
        self._recent.append(now)
        return True


class TopicLines(logging.Handler):
    """Sends lines to a topic; lines that sending itself gives rise to are left out."""

    def __init__(self, topic: str, settings: Mapping[str, Setting]) -> None:
        """Connect in the background."""
        super().__init__()
        self._topic = topic
        self._client = Producer({"linger.ms": 5, "message.timeout.ms": 30_000, "queue.buffering.max.kbytes": 4096, **settings})
        self._guard = LoopGuard()
        self._inside = threading.local()
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        if getattr(self._inside, "now", False):
            return
        self._inside.now = True
        try:
            if self._guard.allows(record, time.monotonic()):
                value = self.format(record).encode()
                self._client.produce(self._topic, value, SERVICE, timestamp=int(record.created * 1000))
            self._client.poll(0)
        except (BufferError, KafkaException):
            self.dropped += 1
        finally:
            self._inside.now = False

    def flush(self) -> None:
        """Wait a little for what is queued; a broker that is away holds nobody up for long."""
        with contextlib.suppress(KafkaException):
            self._client.flush(_LAST_S)

    def close(self) -> None:
        """Flush, as the process ends."""
        self.flush()
        super().close()


def _ended(before: Any, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say that a service ended on a defect, then what would have been said anyway."""
    if issubclass(kind, Exception):
        _log.critical("edgewatch ended on a defect: %s", kind.__name__, exc_info=(kind, error, trace))
        for handler in logging.getLogger().handlers:
            handler.flush()
    before(kind, error, trace)
