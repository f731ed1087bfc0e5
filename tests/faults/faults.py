"""Faults: each hurts a world under load, and returns when the fault is over; how the line comes back is not its business."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable

from tests.fakes.scripted import Answer
from tests.faults.account import length
from tests.faults.world import World
from tests.runs import checked, wait_until

REFUSAL = Answer(400, b"Code: 27. DB::Exception: Cannot parse input", {"X-ClickHouse-Exception-Code": "27"})
# Deep enough to break a parser, a number beyond all, half a character, no object, nothing, no time at all, a year far away.
POISON = (
    b"[" * 100_000,
    b'{"EdgeEndTimestamp": 1e999}',
    b'\xff\xfe{"a"',
    b"17",
    None,
    b'{"EdgeEndTimestamp": 99999999999999999999999999}',
    b'{"EdgeEndTimestamp": "9999-12-31T23:59:59Z", "EdgeResponseStatus": 200}',
    b"\x00" * 1000,
)

# Read as they are: keys that break lines, markup, quoting, a text's end or its length, and numbers at the ends of their range.
HOSTILE: tuple[dict[str, object], ...] = tuple(
    {"ClientRequestHost": host, "EdgeTimeToFirstByteMs": value}
    for host, value in (
        *(
            ("", 1e308),
            ("\0", -1e308),
            ("a\nb", 1e-320),
            ("*<!channel>* & \u202e", -0.0),
            ("\ud800", 1e308),
            ("x" * 20_000, 2**53),
        ),
        *(
            ('"}}]{{ {% x %} \\', 0),
            ("';DROP TABLE windows;--", 1e308),
            ("(other)", 3.5),
            ("total", 7),
            ("{}", "12"),
            ("h0", []),
        ),
    )
)


def kill_one(there: World, choose: Callable[[list[int]], int] = random.choice) -> None:
    """Kill -9 of one process."""
    before = there.line.children()
    os.kill(choose(before), signal.SIGKILL)
    _until_new(there, before)


def kill_all(there: World) -> None:
    """Kill -9 of all processes but their supervisor."""
    before = there.line.children()
    for each in before:
        os.kill(each, signal.SIGKILL)
    _until_new(there, before)


def kill_supervisor(there: World) -> None:
    """Kill -9 of the supervisor, which takes its processes along; whoever started it starts it again."""
    assert there.line.process is not None
    before = there.line.children()
    there.line.process.kill()
    there.line.process.wait()
    wait_until(lambda: not any(_lives(each) for each in before), what="the end of its processes")
    there.line.start()


def freeze_one(there: World) -> None:
    """SIGSTOP of one process for a while; one that is found to hang is killed and started again."""
    frozen = there.line.children()[0]
    os.kill(frozen, signal.SIGSTOP)
    time.sleep(length(60))
    with contextlib.suppress(ProcessLookupError):
        os.kill(frozen, signal.SIGCONT)


def stop_within_a_window(there: World) -> None:
    """SIGTERM in the middle of a window, and a start."""
    wait_until(lambda: 700 < time.time_ns() // 1_000_000 % 2000 < 1300)
    there.line.stop()
    there.line.start()


def kill_broker(there: World) -> None:
    """Broker killed, and started again at once."""
    there.broker.kill()
    there.broker.start()


def broker_gone(there: World) -> None:
    """Broker gone for a while: longer than silence of a partition takes to count."""
    there.broker.kill()
    time.sleep(max(length(600), 6))
    there.broker.start()


def killed_without_broker(there: World) -> None:
    """Have one process killed while the broker is gone for a while: its next start has to wait for the broker, too."""
    there.broker.kill()
    os.kill(there.line.children()[0], signal.SIGKILL)
    time.sleep(max(length(600), 6))
    there.broker.start()


def freeze_broker(there: World) -> None:
    """Broker frozen: connections stay open, and nothing answers."""
    there.broker.pause()
    time.sleep(length(600))
    there.broker.resume()


def clickhouse_gone(there: World) -> None:
    """ClickHouse killed, and gone for a while."""
    assert there.clickhouse._process is not None
    there.clickhouse._process.kill()
    there.clickhouse.stop()
    time.sleep(length(3600))
    there.clickhouse.start()


def clickhouse_slow(there: World) -> None:
    """ClickHouse takes 10 s for each insert, or what is left of that where faults are short."""
    there.door.delay_s = min(10.0, length(60) / 2)
    time.sleep(length(60))
    there.door.delay_s = 0.0


def clickhouse_refuses(there: World) -> None:
    """ClickHouse refuses rows for ever; a person has what was given up tried again."""
    line = there.line
    there.door.refusal = REFUSAL
    time.sleep(length(60))
    wait_until(lambda: any(each.dead for each in _destinations(there)), what="rows that were given up")
    there.door.refusal = None
    # A row or two of the last window always wait.
    wait_until(lambda: bool(_destinations(there)) and all(each.oldest_s < 5 for each in _destinations(there)), what="the rest")
    checked("spool", "retry", "-c", line.config)


def channel_down(there: World) -> None:
    """Have the channel's other end answer 503 for a while."""
    there.hook.script = [Answer(503)] * 1_000_000
    time.sleep(length(3600))
    there.hook.script = []


def poison(there: World) -> None:
    """Messages that no decoder can read, and records that fold, windows, rules and sinks have to bear."""
    there.load.poison(*POISON)
    there.load.hostile(*HOSTILE)
    time.sleep(1)


def clock_ahead(there: World) -> None:
    """Set the clock of the run ahead by an hour as a partition falls silent, and right again."""
    assert there.clock is not None
    there.load.silent = {there.load.partitions - 1}
    there.clock.step(3600)
    time.sleep(max(length(3600), 6))  # longer than silence takes to count
    there.load.speak()
    there.clock.step(0)


def clock_behind(there: World) -> None:
    """Set the clock of the run back by an hour, and right again."""
    assert there.clock is not None
    known = len(there.line.said())
    there.clock.step(-3600)
    wait_until(
        lambda: "set back by 3600 s: it is not believed" in there.line.said()[known:], what="a process that knows better"
    )
    time.sleep(length(3600))
    there.clock.step(0)


def _destinations(there: World) -> tuple:
    report = there.line.report()
    return () if report is None else report.destinations


def _until_new(there: World, before: list[int]) -> None:
    wait_until(
        lambda: len(there.line.children()) == len(before) and not {*there.line.children()} & {*before}, what="a new start"
    )


def _lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
