"""Worker: what the supervisor starts for each process of a run: `python -m flows.worker SPEC NUMBER HOST:PORT ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import flows.lean  # noqa: F401 (before all others)
from flows.config import Config, load
from flows.engine import PeerLost
from flows.failure import explained
from flows.own_errors import report_own_errors
from flows.own_log import set_up_logging
from flows.process import run_process
from flows.run_folder import RunSpec, read_spec
from flows.supervisor import PEER_LOST, die_with_parent, wait_for_listener


def main(arguments: list[str]) -> int:
    """Run one process; 0 when its input ended or it was told to stop, else, with one clear line, 1, or 3 for a lost peer."""
    spec = read_spec(Path(arguments[0]))
    config = load(Path(spec.config), secrets=spec.mode != "replay" or spec.source == "kafka")
    set_up_logging(config, service=spec.mode == "live")
    if spec.mode == "live":
        report_own_errors(config.observe, config.environment, config)
    return work(config, spec, int(arguments[1]), arguments[2:])


def work(config: Config, spec: RunSpec, number: int, addresses: Sequence[str]) -> int:
    """Run process `number` of those at `addresses` (host:port); gives the exit code."""
    die_with_parent()
    code = 1
    with explained():
        try:
            if number:
                wait_for_listener(addresses[number - 1])  # which waited for the one before it
            run_process(config, spec, process=number, addresses=list(addresses))
            code = 0
        except PeerLost:
            code = PEER_LOST
            raise
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
