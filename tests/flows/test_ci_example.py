"""The CI example in docs/ci: its YAML is sound, and its steps do on a pull request what its head says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.flows.sweeps import CONFIG, host, write_labels, write_windows

EXAMPLE = Path(__file__).parents[2] / "docs" / "ci" / "alert-rules.yml"
LIMITS = "above = { warning = 1000, critical = 3000 }"
STEPS = {step["name"]: step for step in yaml.safe_load(EXAMPLE.read_text())["jobs"]["diff"]["steps"] if "name" in step}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Make a repository with a week of windows, one slow hour in it that is labelled, and the rules that page for it."""
    folder = tmp_path_factory.mktemp("repository")
    latency = {(n, host("a")): ({"p99": 3500.0 if 100 <= n < 112 else 500.0}, 500) for n in range(7 * 288)}
    errors = {(n, "{}"): ({"bad": 0.0, "ratio": 0.0, "total": 100.0}, 100) for n in range(7 * 288)}
    write_windows(folder / "history", {"latency": latency, "errors": errors})
    write_labels(folder / "incidents.csv", [(100, 112, "slow", "slow")])
    (folder / "monitor.toml").write_text(CONFIG)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-qm", "Watch the shop"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def step(repository, name, summary):
    """Run one step as a runner does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "BASE": "main", "GITHUB_STEP_SUMMARY": str(summary)}
    return subprocess.run(
        ["bash", "-e", "-c", STEPS[name]["run"]], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )


def test_the_steps_have_what_they_name():
    assert list(STEPS) == [
        "Install edgewatch",
        "Is the configuration valid?",
        "What would page differently?",
        "Say it in the pull request",
    ]
    assert "diff.md" in STEPS["Say it in the pull request"]["run"]


@pytest.mark.slow
def test_a_configuration_that_cannot_be_used_stops_the_run(repository, tmp_path):
    (repository / "monitor.toml").write_text(CONFIG.replace("above = {", "abov = {", 1))
    done = step(repository, "Is the configuration valid?", tmp_path / "summary.md")
    assert (done.returncode, "did you mean 'above'?" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        ("above = { warning = 1000, critical = 3200 }", 0, "**No labelled incident is lost (1 in this range).**"),
        # What fires all the time says nothing new when something happens.
        ("above = { warning = 100, critical = 400 }", 1, "**Lost: nobody is paged for 'slow'"),
    ],
)
def test_a_pull_request_is_judged_by_what_it_loses(repository, tmp_path, limits, code, words):
    (repository / "monitor.toml").write_text(CONFIG.replace(LIMITS, limits))
    summary = tmp_path / "summary.md"
    done = step(repository, "What would page differently?", summary)
    assert done.returncode == code, done.stderr
    assert words in summary.read_text()
    assert (repository / "diff.md").read_text() == summary.read_text()
