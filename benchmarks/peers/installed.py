"""Puts each contender into a virtual environment of its own, with pinned versions: they could not share one.

Whoever cannot be installed is missing by name with the reason, and the others go on.
"""

import hashlib
import shutil
import subprocess
import sys

from benchmarks.peers.contenders import HERE, PLACE

_LIMIT_S = 1800


class MissingError(Exception):
    """A contender is not here; the message says why and what would bring it."""


def _wanted(contender):
    text = (HERE / "pinned" / f"{contender.pinned}.txt").read_text() + (contender.jar or "") + sys.version
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(contender):
    return contender.environment / "installed"


def require(contender):
    """Raise MissingError unless it is installed as pinned."""
    if contender.pinned is None:
        return
    stamp = _stamp(contender)
    if not stamp.exists() or stamp.read_text() != _wanted(contender):
        raise MissingError("not installed as pinned: python -m benchmarks.peers --install")


def install(contender, say):
    """Install it where it is not yet; raises MissingError where that fails."""
    try:
        require(contender)
        return
    except MissingError:
        pass
    say(f"installing {contender.pinned} into {contender.environment.relative_to(PLACE.parents[1])}")
    PLACE.mkdir(parents=True, exist_ok=True)
    python = contender.environment / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    _run([sys.executable, "-m", "venv", "--clear", contender.environment])
    _run([python, "-m", "pip", "install", *quiet, "-r", HERE / "pinned" / f"{contender.pinned}.txt"])
    if contender.jar:
        shutil.rmtree(contender.jars, ignore_errors=True)
        _run(["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={contender.jar}", f"-DoutputDirectory={contender.jars}"])
    _stamp(contender).write_text(_wanted(contender))


def _run(command):
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=PLACE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise MissingError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise MissingError(f"not installed after {_LIMIT_S} s") from None
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["it failed without a word"]
        raise MissingError(next((line for line in lines if "ERROR" in line), lines[-1])[:300])
