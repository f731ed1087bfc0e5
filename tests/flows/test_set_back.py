"""Set back: which changes of the clock make a process begin again."""

import os
import subprocess
import sys
from pathlib import Path

from flows.set_back import SetBack

START = 1_764_547_200_000


def test_only_a_clock_that_goes_back_by_seconds_makes_a_process_begin_again():
    wall, uptime = START, 0
    looks = SetBack(lambda: None, wall=lambda: wall, uptime=lambda: uptime)
    for later, clock, want in ((500, 500, False), (500, 3_600_500, False), (500, -1_000, False), (500, -3_600_000, True)):
        wall, uptime = wall + clock, uptime + later
        assert looks.look() is want


def test_a_process_without_supervisor_is_replaced_by_the_same_command(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, threading\n"
        "from flows.set_back import begin_again\n"
        "print(os.getpid(), sys.argv[1:], flush=True)\n"
        "if not os.path.exists(sys.argv[1]):\n"
        "    open(sys.argv[1], 'w').close()\n"
        "    threading.Thread(target=begin_again).start()\n"
        "    threading.Event().wait(60)\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "mark"), "a b"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    first, second = done.stdout.splitlines()
    assert first == second
