"""The services that tests talk to: what to say where one is missing, and where that is a failure.

With CI=true or EDGEWATCH_REQUIRE_SERVICES=1 every test has to run: a missing service, or any other skip, fails.
EDGEWATCH_REQUIRE_SERVICES may also list services ("kafka,chdb"): then only the others may be missing.
"""

import os
import re
from collections.abc import Mapping
from typing import NoReturn

import pytest

SERVICES = {
    "kafka": "java, maven: run `make test`",
    "chdb": "pip install 'edgewatch[embedded]'",
    "clickhouse-server": "apt-get install clickhouse-server",
    "setuptools": "pip install -U setuptools: 77 or later builds the package",
    "alertmanager": "apt-get install prometheus-alertmanager",
    "compiler": "apt-get install gcc libc6-dev, with the headers of this Python; then install again",
    "browser": "apt-get install chromium",
    "strace": "apt-get install strace",
    "bash": "apt-get install bash",
    "zsh": "apt-get install zsh",
    "fish": "apt-get install fish",
    "tmpfs": "run as root, who may mount a small file system",
}
_MISSING = re.compile(r"missing service: ([a-z-]+)")


def missing(service: str, lack: str = "") -> NoReturn:
    """Skip the test for want of a service of `SERVICES`; `lack` is what exactly is not there."""
    pytest.skip(f"missing service: {service} ({SERVICES[service]})" + (f": {lack}" if lack else ""))


def service_of(reason: str) -> str | None:
    """Give the service that a skip's reason names."""
    found = _MISSING.search(reason)
    return found[1] if found else None


def in_ci(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is the run that judges a change."""
    return environment.get("CI", "").lower() in ("true", "1")


def may_skip(reason: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a test may be skipped for this reason."""
    if in_ci(environment):
        return False
    required = environment.get("EDGEWATCH_REQUIRE_SERVICES", "")
    if required in ("", "0"):
        return True
    listed = {each.strip() for each in required.split(",")}
    if not listed <= SERVICES.keys():
        return False
    service = service_of(reason)
    return service is not None and service not in listed
