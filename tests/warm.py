"""A warm command line: a process that has imported the program, and forks itself for each command that a test runs.

Why: a start costs most of a second of a processor, and the tests make hundreds. Each command is still a process of its own,
with its own arguments, environment, files for its output, and exit code. A test that kills or stops a run starts it itself
(`runs.start`).
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
_NOT_BEFORE = "flows.worker"  # it is a program: importing it runs it
_MOST = 1 << 20


def run(arguments, *, timeout, environment, directory=ROOT):
    """Run a command as subprocess.run does with captured text; raises TimeoutExpired, and ends the command then."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        order = json.dumps({"arguments": arguments, "environment": environment, "directory": str(directory)})
        with socket.socket(socket.AF_UNIX) as line, line.makefile() as answers:
            line.connect(_address())
            socket.send_fds(line, [order.encode()], [out.fileno(), err.fileno()])
            line.shutdown(socket.SHUT_WR)
            pid = int(answers.readline())
            line.settimeout(timeout)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout) from None
        for each in (out, err):
            each.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


@cache
def _address():
    """Start the warm process, once; it ends with this one, or when its pipe is closed."""
    folder = tempfile.TemporaryDirectory()
    address = str(Path(folder.name) / "line")
    settings = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # what has threads must not fork
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        number = listener.fileno()
        command = [sys.executable, "-m", "tests.warm", str(number)]
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdin=subprocess.PIPE, pass_fds=[number])

    def end():
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


def _serve(listener):
    """Take orders until the pipe is closed; comes back in the process that is to carry one out."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.exit()
        line, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            order, files, _, _ = socket.recv_fds(line, _MOST, 2)
            while more := line.recv(_MOST):
                order += more
            pid = os.fork()
            if pid == 0:
                line.close()
                listener.close()
                return json.loads(order), files
            with contextlib.suppress(BrokenPipeError):  # the test gave up
                line.sendall(f"{pid}\n".encode())
                _, status = os.waitpid(pid, 0)
                line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        line.close()


def _become(order, files):
    """Put on what a process of the command's own would have."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate([nothing, *files]):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    program = importlib.import_module("flows.cli")
    sys.modules["__main__"] = program
    sys.argv = [str(program.__file__), *order["arguments"]]
    return program.main


if __name__ == "__main__":
    import flows

    for _module in pkgutil.iter_modules(flows.__path__, "flows."):
        if _module.name != _NOT_BEFORE:
            importlib.import_module(_module.name)
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))()
