"""The warm command line of the tests does what a start of its own does: exit code, output, bad use."""

import os
import subprocess
import sys

import pytest

from tests import warm
from tests.runs import ACCEPTANCE

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "-c", str(ACCEPTANCE / "monitor.toml"), "--json"], 0),
        (["replay", "--help"], 0),
        (["check", "--nonsense"], 2),
        (["replay", "-c", "nowhere.toml", "--out", "o"], 2),
        (["replay", "-c", str(ACCEPTANCE / "monitor.toml"), "--source", "archive:nowhere", "--out", "{out}"], 1),
    ],
)
def test_a_warm_command_answers_as_a_cold_one(arguments, code, tmp_path):
    arguments = [each.replace("{out}", str(tmp_path)) for each in arguments]
    environment = {**os.environ, "COLUMNS": "70"}
    cold = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=warm.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    got = warm.run(arguments, timeout=240, environment=environment)
    assert (got.returncode, got.stdout, got.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert got.returncode == code


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text((ACCEPTANCE / "monitor.toml").read_text().replace("127.0.0.1:9092", "127.0.0.1:9"))
    with pytest.raises(subprocess.TimeoutExpired):  # a broker is given ten seconds to answer
        warm.run(["check", "-c", str(config), "--online"], timeout=0.2, environment=dict(os.environ))
