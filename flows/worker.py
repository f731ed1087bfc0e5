"""Worker: what the supervisor starts for each process of a run: `python -m flows.worker SPEC NUMBER HOST:PORT ...`."""

import sys
from pathlib import Path

from flows.config import load
from flows.engine import PeerLost
from flows.failure import explained
from flows.own_errors import report_own_errors
from flows.own_log import set_up_logging
from flows.process import run_process
from flows.run_folder import read_spec
from flows.supervisor import PEER_LOST, die_with_parent


def main(arguments: list[str]) -> int:
    """Run one process; 0 when its input ended or it was told to stop, else, with one clear line, 1, or 3 for a lost peer."""
    die_with_parent()
    spec = read_spec(Path(arguments[0]))
    config = load(Path(spec.config), secrets=spec.mode != "replay" or spec.source == "kafka")
    set_up_logging(config, service=spec.mode == "live")
    if spec.mode == "live":
        report_own_errors(config.observe, config.environment, config)
    code = 1
    with explained():
        try:
            run_process(config, spec, process=int(arguments[1]), addresses=arguments[2:])
            code = 0
        except PeerLost:
            code = PEER_LOST
            raise
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
