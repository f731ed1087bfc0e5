"""Machines: the file that names the machines of a run, one a line; machine K is line K, and machine 0 leads.

A line is `host:port`, where the engine of that machine listens, and for machine 0 maybe a second one: its door, where the
others ask for the plan and report (by default the next port). What is behind a `#` is a remark.
"""

import hashlib
import ipaddress
import json
import logging
import re
import time
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.config import Config, ConfigErrors
from flows.options import ConfigError
from flows.sealed import SCHEMA

MOST = 64
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]#]+):(\d{1,5})")
_LAST_PORT = 65_535
_LOCAL = ("localhost",)
_SAY_S = 10.0
_MAY_DIFFER = ("engine.directory", "engine.token", "observe.listen")


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Give it as host:port, as the engine takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Tell whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host in _LOCAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of the machines of a run this is, where all their engines listen, and where machine 0 has its door."""

    machine: int
    engines: tuple[Address, ...]
    door: Address

    @property
    def leads(self) -> bool:
        """Tell whether this machine makes the plan, decides, and has the output."""
        return self.machine == 0

    def named(self, machine: int) -> str:
        """Name a machine as people find it."""
        return f"machine {machine} ({self.engines[machine]})"


class WaitLog:
    """Logs for whom a machine waits: when that changes, and every ten seconds."""

    def __init__(self, log: logging.Logger) -> None:
        """Take the log of who waits."""
        self._log = log
        self._said, self._at = "", 0.0

    def say(self, whom: str) -> None:
        """Wait for these."""
        if whom != self._said or time.monotonic() - self._at > _SAY_S:
            self._said, self._at = whom, time.monotonic()
            self._log.info("waiting for %s", whom)


def read_place(path: Path, machine: int, config: Config) -> Place:
    """Read the file for one of its machines; raises ConfigErrors, which name the line, or the option or key that is wrong."""
    engines, door = _read(path)
    if not 0 <= machine < len(engines):
        there = f"0 to {len(engines) - 1}" if len(engines) > 1 else "0 alone"
        raise ConfigErrors(str(path), [ConfigError("", f"--process-id {machine}: the file has machine {there}")])
    if not config.engine.token.strip() and not all(each.local for each in (*engines, door)):
        words = (
            f'needs a secret that all machines share, such as "env:EDGEWATCH_TOKEN": {path} has addresses beyond this machine'
        )
        raise ConfigErrors(str(config.source), [ConfigError("engine.token", words)])
    return Place(machine=machine, engines=engines, door=door)


def _read(path: Path) -> tuple[tuple[Address, ...], Address]:
    """Give where engines listen, in order, and the door."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigErrors(str(path), [ConfigError("", f"cannot be read: {reason}")]) from error
    rows = [(number, words) for number, line in enumerate(lines, 1) if (words := line.partition("#")[0].split())]
    problems: list[ConfigError] = []
    found: list[list[Address]] = []
    seen: dict[Address, int] = {}
    for number, words in rows:
        found.append(_addresses(number, words, seen, problems, most=1 if found else 2))
    if not problems and not 1 < len(found) <= MOST:
        problems.append(ConfigError("", f"has {len(found)} machines; a run has 2 to {MOST}, one host:port a line"))
    if problems:
        raise ConfigErrors(str(path), problems)
    first, *door = found[0]
    return tuple(each[0] for each in found), door[0] if door else _next(path, rows[0][0], first, seen)


def _addresses(
    number: int, words: list[str], seen: dict[Address, int], problems: list[ConfigError], *, most: int
) -> list[Address]:
    """Give the addresses of a line, noting what is wrong with it."""
    line = f"line {number}"
    if len(words) > most:
        problems.append(ConfigError(line, "one host:port a line; the first may have that of the door behind it"))
    out = []
    for word in words[:most]:
        address = _address(word)
        if address is None:
            problems.append(ConfigError(line, f"{word!r} is not host:port such as 10.0.0.7:9200"))
        elif address in seen:
            problems.append(ConfigError(line, f"{address} is on line {seen[address]} already"))
        else:
            seen[address] = number
            out.append(address)
    return out


def _next(path: Path, line: int, first: Address, seen: dict[Address, int]) -> Address:
    """Give the door where the file names none: the next port."""
    door = Address(first.host, first.port + 1)
    if door in seen or door.port > _LAST_PORT:
        words = f"the door of machine 0 would be {door}, which is taken: give it a port of its own behind {first}"
        raise ConfigErrors(str(path), [ConfigError(f"line {line}", words)])
    return door


def _address(word: str) -> Address | None:
    found = _ADDRESS.fullmatch(word)
    if found is None or not 0 < int(found[2]) <= _LAST_PORT:
        return None
    return Address(found[1].strip("[]"), int(found[2]))


def shared_version(config: Config) -> str:
    """Identify what all machines of a run must have in common: the program, the configuration but for `_MAY_DIFFER`."""
    given: dict[str, Any] = tomllib.loads(config.source.read_text())
    for name in _MAY_DIFFER:
        table, _, key = name.partition(".")
        if isinstance(given.get(table), dict):
            given[table].pop(key, None)
    kept = {name: value for name, value in given.items() if value != {}}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return f"configuration {digest} on edgewatch {version('edgewatch')}, schema {SCHEMA}"
