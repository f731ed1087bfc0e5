"""A skipped test: allowed on a developer's machine for want of a service, a failure where every test has to run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services

pytestmark = pytest.mark.slow

_FILE = """
import pytest
from tests import services

def test_that_runs():
    pass

def test_that_needs_more():
    services.missing("kafka", "no java")
"""


@pytest.mark.parametrize(
    ("environment", "got"),
    [
        ({}, True),
        ({"EDGEWATCH_REQUIRE_SERVICES": "0"}, True),
        ({"EDGEWATCH_REQUIRE_SERVICES": "1"}, False),
        ({"EDGEWATCH_REQUIRE_SERVICES": "kafka"}, False),
        ({"EDGEWATCH_REQUIRE_SERVICES": "chdb, clickhouse-server"}, True),
        ({"EDGEWATCH_REQUIRE_SERVICES": "chdb,mistyped"}, False),
        ({"CI": "true"}, False),
        ({"CI": "true", "EDGEWATCH_REQUIRE_SERVICES": "chdb"}, False),
    ],
)
def test_a_missing_kafka_may_be_skipped_unless_it_is_required(environment, got) -> None:
    assert services.may_skip("Skipped: missing service: kafka (...)", environment) is got


def test_a_skip_for_any_other_reason_fails_where_services_are_required() -> None:
    assert services.may_skip("not today", {"EDGEWATCH_REQUIRE_SERVICES": "kafka"}) is False


@pytest.mark.parametrize("parallel", [[], ["-n", "2"]])
@pytest.mark.parametrize(
    ("required", "code", "line"),
    [
        ("0", 0, "missing service: kafka, 1 tests skipped; get it: java, maven: run `make test`"),
        ("1", 1, "skipped where every test has to run: Skipped: missing service: kafka"),
    ],
)
def test_a_run_says_what_was_missing(tmp_path: Path, required: str, code: int, line: str, parallel: list[str]) -> None:
    (tmp_path / "test_it.py").write_text(_FILE)
    root = Path(__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    environment |= {"EDGEWATCH_REQUIRE_SERVICES": required, "PYTHONPATH": str(root), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "-p", "tests.conftest", *parallel, tmp_path],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, line in done.stdout) == (code, True), done.stdout + done.stderr
