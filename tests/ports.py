"""Ports: numbers to listen at, each given once, below those that the kernel gives to clients.

A port that is free now, of a server that starts later or comes back, else becomes the end of some client's connection, or a
server that another test asked any port for; and what still asks for the old server then asks the new one.
"""

import itertools
import os
import socket

_FIRST, _EACH, _WORKERS = 10_000, 1_400, 16  # to 32 400; Linux gives clients 32 768 and above
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
# Two runs of the tests beside each other begin at different places.
_NUMBERS = itertools.count(os.getpid())


def free_ports(count: int) -> list[int]:
    """Give ports of 127.0.0.1 that nobody listens at, and that no other call gives."""
    found: list[int] = []
    for number in itertools.islice(_NUMBERS, _EACH):
        port = _FIRST + _WORKER * _EACH + number % _EACH
        if _is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"no free port among {_EACH} from {_FIRST + _WORKER * _EACH}")


def free_port() -> int:
    """Give one of them."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
