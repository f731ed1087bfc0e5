"""Steady clock: the time of day, of a machine whose clock is sometimes set wrong and right again.

Time of day is counted from the machine's uptime, which nobody can set. Where the clock of the day drifts, it is followed;
where it jumps, it is not believed until records that come as they are produced agree with it. Why: an hour ahead, a silent
partition would be closed an hour early, and all that it sends then would be late; an hour back, every record would lie in
the future. What was believed is kept in a file, so that a process that starts while the clock is wrong knows better, too.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

JUMP_MS = 60_000
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the disk: the time of day at which the machine's uptime was 0 (ms), of one boot."""

    boot: str
    offset: int


def wall_ms() -> int:
    """Give the machine's time of day, ms UTC."""
    return time.time_ns() // 1_000_000


def uptime_ms() -> int:
    """Give how long the machine has been up, ms; time asleep counts where the system can say so."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


class SteadyClock:
    """Safe to ask from several threads; of several processes with one file, the last that follows the clock writes it."""

    def __init__(
        self, path: Path | None = None, *, wall: Callable[[], int] = wall_ms, uptime: Callable[[], int] = uptime_ms
    ) -> None:
        """Believe what the file says of this boot, else the clock of the day."""
        self._path, self._wall, self._uptime = path, wall, uptime
        self._lock = threading.Lock()
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._jumped = False
        kept = self._read()
        self._offset = self._saved = wall() - uptime() if kept is None else kept.offset
        if kept is None:
            self._save()
        self.now_ms()

    def now_ms(self) -> int:
        """Give the time of day, ms UTC."""
        with self._lock:
            uptime, wall = self._uptime(), self._wall()
            ahead = wall - uptime - self._offset
            if abs(ahead) <= JUMP_MS:
                self._follow(wall - uptime)
            elif not self._jumped:
                self._jumped = True
                way = "ahead" if ahead > 0 else "back"
                _log.error("the clock was set %s by %d s: it is not believed until records agree", way, abs(ahead) // 1000)
            return uptime + self._offset

    def heard(self, stamp_ms: int) -> None:
        """Take the timestamp of a message that was read as it came: it shows which of the two times is right."""
        if not self._jumped:
            return
        with self._lock:
            uptime, wall = self._uptime(), self._wall()
            if self._jumped and abs(stamp_ms - wall) <= JUMP_MS < abs(stamp_ms - uptime - self._offset):
                _log.warning("records agree with the clock: it is believed again")
                self._offset = wall - uptime
                self._jumped = False
                self._save()

    def _follow(self, offset: int) -> None:
        if self._jumped:
            self._jumped = False
            _log.warning("the clock is as it was again")
        self._offset = offset
        if abs(offset - self._saved) > JUMP_MS // 2:
            self._save()

    def _read(self) -> _Kept | None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept) if self._path else None
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return kept if kept is not None and kept.boot == self._boot != "" else None

    def _save(self) -> None:
        self._saved = self._offset
        if self._path is not None:
            draft = self._path.with_suffix(f".{threading.get_native_id()}")
            draft.write_bytes(msgspec.json.encode(_Kept(boot=self._boot, offset=self._offset)))
            draft.chmod(0o600)
            draft.replace(self._path)
