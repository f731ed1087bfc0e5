"""Probe: the `[[probe]]` tables to checks that run on time and records on Kafka.

Guarantee: a check gives one record, which Kafka gets once (idempotent producer) within `_KEPT_MS`, or the log says that it did
not. A probe never overlaps itself; what is decided over several attempts starts afresh with the process.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from connectors.forward import Forwarder, NotTaken, Receipt, TopicMissing, check_topics, shared_settings
from connectors.probe import Outcome, Probe
from connectors.receive_options import ReceiveOptions
from flows.config import Config
from flows.options import ConfigError
from flows.output import canonical
from flows.receive import topics_of

LOCATION = "local"
_DATASETS = ("health", "runtime_stats")
_KEPT_MS = 600_000  # results wait this long for a broker
_LOOKING_UP = 64  # names that are looked up at a time

_log = logging.getLogger(__name__)
Told = Callable[[Probe, Outcome], None]


def probes_of(config: Config, location: str) -> list[Probe]:
    """Make the probes; raises ConfigError."""
    if not config.probes:
        raise ConfigError("probe", "is missing: at least one [[probe]] with a name and a url")
    made = []
    for options in config.probes:
        try:
            made.append(Probe(options, location=location or LOCATION, environment=config.environment))
        except OSError as error:
            key = f'probe "{options.name}".ca_file'
            raise ConfigError(key, f"{options.ca_file} cannot be read: {error.strerror or error}") from error
    return made


def check_once(probes: Sequence[Probe]) -> list[Outcome]:
    """Run every check once, all at a time."""

    async def run() -> list[Outcome]:
        return list(await asyncio.gather(*(probe.check() for probe in probes)))

    return asyncio.run(run())


def probe(config: Config, location: str) -> int:
    """Check until SIGTERM or Ctrl-C; gives the exit code. Raises ConfigError."""
    probes = probes_of(config, location)
    kafka = config.kafka
    if kafka is None:
        raise ConfigError("input.kafka", "is missing: it says which brokers results are sent to")
    topics = topics_of(config, _DATASETS)
    if "health" not in topics:
        raise ConfigError("input.kafka.topics", 'no topic holds health, as in { "probe.health" = "health" }')
    client = {**kafka.client, **(config.receive or ReceiveOptions()).client}
    try:
        check_topics(shared_settings(kafka.brokers, client), list(topics.values()))
    except TopicMissing as error:
        sys.stderr.write(f"edgewatch: {error}\n")
        return 1
    forwarder = Forwarder(kafka.brokers, client, ack_timeout_ms=_KEPT_MS)
    post = _Post(forwarder, topics)
    sys.stderr.write(f"{len(probes)} probes from {', '.join(sorted({each.location for each in probes}))}\n")
    try:
        asyncio.run(_until_stopped(probes, post.tell))
    finally:
        forwarder.close()
    return 0


async def _until_stopped(probes: Iterable[Probe], told: Told) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_LOOKING_UP, "look-up"))
    running = asyncio.gather(*(follow(each, told) for each in probes))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def follow(probe: Probe, told: Told) -> None:
    """Run a probe's checks for ever, each in its place of the interval; after a failure sooner, until it is decided."""
    while True:
        now_ms = time.time_ns() // 1_000_000
        wait_ms = probe.next_ms(now_ms) - now_ms
        if probe.undecided:
            wait_ms = min(wait_ms, probe.options.recheck_ms)
        await asyncio.sleep(wait_ms / 1000)
        told(probe, await probe.check())


@dataclass(slots=True)
class _Post:
    """Sends results on, and says which Kafka did not take."""

    forwarder: Forwarder
    topics: dict[str, str]
    _failing: set[str] = field(default_factory=set)

    def tell(self, probe: Probe, outcome: Outcome) -> None:
        self._say(probe, outcome)
        records = {"health": probe.health(outcome), "runtime_stats": probe.runtime(outcome)}
        for dataset, topic in self.topics.items():
            record = records[dataset]
            if record is None:
                continue
            receipt = Receipt()
            receipt.confirmed.add_done_callback(_complain)
            try:
                self.forwarder.send(receipt, topic, canonical(record), probe.options.name.encode())
            except NotTaken as error:
                receipt.fail(str(error))
            receipt.end()

    def _say(self, probe: Probe, outcome: Outcome) -> None:
        name = f"{probe.options.name} from {probe.location}"
        if outcome.failure:
            self._failing.add(name)
            step = f" at {outcome.step!r}" if outcome.step else ""
            _log.warning("%s: %s%s: %s%s", name, outcome.failure, step, outcome.words, "; it is down" if probe.down else "")
        elif name in self._failing:
            self._failing.discard(name)
            _log.info("%s: well again", name)


def _complain(confirmed: "Future[None]") -> None:
    if error := confirmed.exception():
        _log.error("a probe's result is lost: %s", error)
