"""Watch: the thread outside the flow that looks whether the line sees, and says so where it does not.

It is there because an alerter must not be silent while its input is: no window closes then, so no rule speaks. It reads what
the lanes wrote of themselves, asks the broker how far the topics go, and notes when windows close.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from connectors.plan import Plan
from connectors.steady_clock import SteadyClock
from connectors.vitals import UNWATCHED, Vitals
from flows.barrier import Output
from flows.blindness import Blindness
from flows.config import Config
from flows.engine import Writer
from flows.health import Expected, Health, Sample, Signs
from flows.lag import LagRows
from flows.output import Closed
from flows.run_folder import RunFolder
from flows.writer import SpoolWriter
from sinks.spool import SpoolFull

if TYPE_CHECKING:
    from connectors.kafka import KafkaSource
    from connectors.kafka_ends import Ends

_log = logging.getLogger(__name__)
_LEAST_TIMEOUT_S, _MOST_TIMEOUT_S = 1.0, 5.0
_STOP_S = 10.0
_GROWN_LOOKS = 6


class Watcher:
    """Looks every few seconds until stopped."""

    def __init__(  # noqa: PLR0913  (what is looked at)
        self,
        config: Config,
        plan: Plan,
        vitals: Vitals,
        ends: "Ends",
        blindness: Blindness,
        clock: SteadyClock | None = None,
        lag: LagRows | None = None,
    ) -> None:
        """Take what is looked at, and who is told."""
        self._lag = lag
        self._clock = clock or SteadyClock()
        self._every_s = config.health.every_ms / 1000
        self._plan, self._vitals, self._ends, self._blindness = plan, vitals, ends, blindness
        self._closed: dict[str, int] = {}
        self.on_grown: Callable[[], None] = lambda: None
        self._looks, self._told = 0, False
        self.ends: Mapping[str, int] = {}  # by partition, as the broker answered last
        self.findings: tuple[str, ...] = ()  # what holds, as cause and dataset
        stall_ms = config.window.stall_after_ms
        self._health = Health(config.health, expected(config, plan), stall_ms, blindness.held)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def note(self, items: Iterable[Output]) -> None:
        """Take note of windows that closed."""
        for item in items:
            if isinstance(item, Closed):
                self._closed[item.dataset] = item.end

    def look(self) -> None:
        """Look once, and say what has changed."""
        sample = self._sample()
        for signs in sample.partitions:
            self._vitals.set_end(signs.partition, signs.end)
        findings = self._health.judge(sample)
        self.findings = tuple(f"{each.cause} on {each.dataset}" for each in findings)
        self._blindness.take(findings, sample.at)
        if self._lag is not None:
            self._lag.take(sample)
        self._looks += 1
        if self._looks % _GROWN_LOOKS == 0 and (grown := self._ends.grown()) and not self._told:
            self._told = True
            _log.warning("%s: the run stops for a moment, to read the new ones too", "; ".join(grown))
            self.on_grown()

    def stop(self) -> None:
        """Look no more; what is open stays open for the next start."""
        self._end.set()
        self._thread.join(_STOP_S)
        lift(self._vitals, self._plan)
        self._ends.close()

    def _loop(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                self.look()
            except SpoolFull as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001 (this thread is the last to notice that others are silent)
                _log.exception("looking after the line failed, going on")

    def _sample(self) -> Sample:
        self.ends = ends = self._ends.ask()
        found = []
        for planned in self._plan.partitions:
            vital, end = self._vitals.read(planned.name), ends.get(planned.name)
            if vital is None:
                found.append(Signs(partition=planned.name, dataset=planned.dataset, end=end, position=planned.start))
                continue
            found.append(
                Signs(
                    partition=planned.name,
                    dataset=planned.dataset,
                    end=end,
                    position=vital.position,
                    high=vital.high,
                    records=vital.records,
                    late=vital.late,
                    dead=vital.dead,
                    stamp=vital.stamp,
                    behind=vital.behind,
                )
            )
        return Sample(self._clock.now_ms(), tuple(found), dict(self._closed))


class WatchedWriter(Writer):
    """A writer whose closed windows the watcher notes."""

    def __init__(self, writer: Writer, watcher: Watcher) -> None:
        """Take the two."""
        self._writer = writer
        self._watcher = watcher

    def write_batch(self, items: list[Output]) -> None:
        """Write, then note."""
        self._writer.write_batch(items)
        self._watcher.note(items)

    def snapshot(self) -> bytes:
        """Give the writer's."""
        return self._writer.snapshot()

    def close(self) -> None:
        """Close the writer; the watcher goes on until the process ends."""
        self._writer.close()


def watched(
    config: Config, folder: RunFolder, source: "KafkaSource", writer: SpoolWriter, clock: SteadyClock
) -> tuple[Writer, Watcher | None]:
    """Watch a live run whose output goes to `writer`; where that is switched off, end what an earlier run left open."""
    from connectors.kafka_ends import KafkaEnds  # noqa: PLC0415 (bounded runs over archives need no client)

    assert config.kafka is not None  # noqa: S101 (a live run reads Kafka)
    assert source.vitals is not None  # noqa: S101
    lift(source.vitals, source.plan)
    brokers = ", ".join(config.kafka.brokers)
    blindness = Blindness(config, folder.blindness, folder.controls, writer.write_now, brokers)
    if not config.health.enabled:
        blindness.take((), clock.now_ms())
        return writer, None
    timeout_s = min(max(config.health.every_ms / 1000, _LEAST_TIMEOUT_S), _MOST_TIMEOUT_S)
    ends = KafkaEnds(config.kafka, source.plan.partitions, timeout_s=timeout_s)
    watcher = Watcher(config, source.plan, source.vitals, ends, blindness, clock, LagRows(writer.write_now))
    watcher.start()
    return WatchedWriter(writer, watcher), watcher


def lift(vitals: Vitals, plan: Plan) -> None:
    """Say that nobody looks how far partitions go."""
    for planned in plan.partitions:
        vitals.set_end(planned.name, UNWATCHED)


def expected(config: Config, plan: Plan) -> dict[str, Expected]:
    """Give what is usual for each dataset: a window is no stall before it can have closed."""
    window = config.window
    out: dict[str, Expected] = {}
    for planned in plan.partitions:
        lateness = max(planned.allowed_lateness_ms, out[planned.dataset].lateness_ms if planned.dataset in out else 0)
        usual = 2 * window.pane_ms + lateness + window.idle_after_ms
        out[planned.dataset] = Expected(max(window.stall_after_ms, usual), lateness)
    return out
