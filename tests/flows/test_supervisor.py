"""The supervisor over real processes: what ends, what hangs, what is told to stop, and what comes to nothing."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.child import Reserve, afresh, forked
from flows.supervisor import Alone, ProcessDied, Restarts, _Supervisor, free_addresses, supervise, wait_for_listener

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
        self.supervisor = _Supervisor(afresh(command), Alone(2), lambda: None, restarts)

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
    by_then: list[int] = []

    def stop():
        by_then.append(meeting.told_others)
        os.kill(os.getpid(), signal.SIGTERM)

    run.later(4, stop)
    run.supervisor.run()
    assert (len(run.started()), by_then, meeting.told_others) == (4, [0], 1)


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


def test_forked_processes_go_on_from_this_one_and_each_ends_with_its_own_exit_code(tmp_path):
    def work(number, addresses):
        (tmp_path / str(number)).write_text(" ".join(addresses))
        return number

    with pytest.raises(ProcessDied, match="process 1 of the run ended with exit code 1"):
        supervise(forked(work), Alone(2), lambda: None)
    told = [(tmp_path / str(number)).read_text() for number in range(2)]
    assert told[0] == told[1] != ""


def test_processes_that_wait_go_on_as_they_are_started_and_end_where_they_are_not(tmp_path):
    def work(number, addresses):
        (tmp_path / str(number)).write_text(" ".join(addresses))
        return 0

    with Reserve(work, 3) as waiting:
        left = [child._process.pid for child, _ in waiting._free]
        assert supervise(waiting.start, Alone(2), lambda: None)
    told = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert (len(told), told[0] == told[1] != "") == (2, True)
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)


def test_a_signal_to_the_supervisor_ends_forked_processes_that_have_no_handler_of_their_own():
    started = threading.Event()

    def sleep(_number, _addresses):
        time.sleep(60)
        return 0

    def tick():
        if not started.is_set():
            started.set()
            os.kill(os.getpid(), signal.SIGTERM)

    assert supervise(forked(sleep), Alone(2), tick) is False


def test_waiting_for_a_listener_ends_when_one_is_there_and_does_not_keep_it_away():
    (address,) = free_addresses(1)
    waits = threading.Thread(target=wait_for_listener, args=(address,))
    waits.start()
    time.sleep(0.05)
    assert waits.is_alive()
    with socket.create_server(("127.0.0.1", int(address.rsplit(":")[-1]))):
        waits.join(5)
        assert not waits.is_alive()
