"""Shell completion: what a real bash is told on a press of Tab, and that it needs none of what the commands compute with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli
from tests.runs import ROOT

HERE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
LISTED = """
import json, sys
from flows import cli
def walk(command, words):
    for name, each in getattr(command, "commands", {}).items():
        yield from walk(each, [*words, name])
    if not hasattr(command, "commands"):
        yield words, [[*each.opts, *each.secondary_opts] for each in command.params]
to_run = sys.argv[1] == "run"
print(json.dumps({name: list(walk(each.loaded(name, to_run=to_run), [])) for name, each in cli._LATER.items()}))
heavy = [name for name in ("numpy", "bytewax", "httpx", "flows.config") if hasattr(sys.modules.get(name), "__file__")]
print(json.dumps(heavy))
"""


def listed(how):
    command = [sys.executable, "-c", LISTED, how]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | HERE, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_command_has_its_options_without_what_it_runs_on():
    real, heavy = listed("run")
    assert (len(real), heavy != []) == (len(cli._LATER), True)
    assert listed("look") == [real, []]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("re", ["replay", "report", "receive", "recovery"]),
        ("replay --fr", ["--from"]),
        ("silence ''", ["add", "list", "expire"]),
        ("silence add --d", ["--dry-run"]),
        ("spool list --", ["--config", "--json", "--help"]),
        ("check -c mon", []),  # bash's own: names of files
    ],
)
def test_a_real_bash_is_offered_commands_and_options(words, offered):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("missing program: bash")
    script = f"""
    source <(edgewatch --show-completion bash)
    COMP_WORDS=(edgewatch {words}) COMP_CWORD=$(({len(words.split())}))
    _edgewatch_completion edgewatch
    complete -p edgewatch
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([bash, "--norc", "-c", script], env=os.environ | HERE, capture_output=True, text=True, check=True)
    rule, *found = done.stdout.splitlines()
    assert rule == "complete -o default -F _edgewatch_completion edgewatch"
    assert [each for each in found if each] == offered
