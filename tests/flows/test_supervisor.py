"""The supervisor over real processes: what ends, what hangs, what is told to stop, and what comes to nothing."""

import os
import signal
import sys
import threading
import time

import pytest

from flows.supervisor import Alone, ProcessDied, Restarts, _Supervisor

LIVES = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); [time.sleep(0.05) for _ in range(600)]"


class Run:
    """Two processes of a script that notes each start in a file; what was started before `hung` makes no progress."""

    def __init__(self, folder, script, *, hang_after=0.0, most=2, going=True):
        self.starts = folder / "starts"
        self.starts.touch()
        self.gave_up: list[int] = []
        self.hung = None
        self.going = going
        note = f"open({str(self.starts)!r}, 'a').write('{{}} {{}}\\n'.format(sys.argv[1], os.getpid()))"
        command = [sys.executable, "-c", f"import os, sys; {note}; {script}"]
        restarts = Restarts(
            idle_s=self._idle_s,
            hang_after_s=hang_after,
            gave_up=self.gave_up.append,
            most=most,
            pause_s=0.01,
            settled_s=30.0,
            start_s=0.0,
        )
        self.supervisor = _Supervisor(command, Alone(2), lambda: None, restarts)

    def _idle_s(self, since):
        if not self.going:
            return time.monotonic() - since
        return 0.0 if self.hung is None or since > self.hung else time.monotonic() - self.hung

    def started(self):
        return [int(line.split()[1]) for line in self.starts.read_text().splitlines()]

    def later(self, count, do):
        """Once `count` processes have started, do something beside the run."""

        def wait():
            while len(self.started()) < count:
                time.sleep(0.02)
            do()

        threading.Thread(target=wait, daemon=True).start()


def test_a_live_run_whose_process_is_killed_is_started_again_and_stops_when_told(tmp_path):
    run = Run(tmp_path, LIVES)
    run.later(2, lambda: os.kill(run.started()[0], signal.SIGKILL))
    run.later(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    run.supervisor.run()
    assert (len(run.started()), run.gave_up) == (4, [])


class Grown(Alone):
    """A meeting at which others have all stop for a moment, once."""

    def __init__(self, processes):
        super().__init__(processes)
        self.asks, self.told_others = [], 0

    def look(self):
        self.asks.append(True)
        return len(self.asks) == 5

    def drain(self):
        self.told_others += 1


def test_a_run_that_others_have_stop_for_a_moment_starts_again_and_tells_nobody_to_stop(tmp_path):
    run = Run(tmp_path, LIVES)
    run.supervisor._meeting = meeting = Grown(2)
    run.later(4, lambda: setattr(run, "told_by_then", meeting.told_others) or os.kill(os.getpid(), signal.SIGTERM))
    run.supervisor.run()
    assert (len(run.started()), run.told_by_then, meeting.told_others) == (4, 0, 1)


def test_a_run_without_progress_is_killed_and_started_again(tmp_path):
    run = Run(tmp_path, LIVES, hang_after=0.2)
    run.later(2, lambda: setattr(run, "hung", time.monotonic()))
    run.later(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    run.supervisor.run()
    assert (len(run.started()), run.gave_up) == (4, [])


def test_a_run_that_ends_again_and_again_is_given_up_and_that_is_said(tmp_path):
    run = Run(tmp_path, "sys.exit(3)")
    with pytest.raises(ProcessDied, match=r"exit code 3; all were stopped\. That was 3 times in a row: given up"):
        run.supervisor.run()
    assert run.gave_up == [3]


def test_a_run_that_never_got_going_is_not_started_again(tmp_path):
    run = Run(tmp_path, "sys.exit(1)", going=False)
    with pytest.raises(ProcessDied, match="exit code 1"):
        run.supervisor.run()
    assert (len(run.started()) <= 2, run.gave_up) == (True, [])
