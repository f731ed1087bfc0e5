"""Shell completion: what a real bash, zsh and fish offer on a press of Tab, without what the commands compute with."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import cli
from tests import services
from tests.runs import ROOT

pytestmark = pytest.mark.slow

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


_PATIENCE_S = 120


def program(shell):
    found = shutil.which(shell)
    if found is None:
        services.missing(shell)
    return found


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
    bash = program("bash")
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


def test_a_real_fish_is_offered_commands_and_options_with_what_they_do(tmp_path):
    script = """
    edgewatch --show-completion | source
    for words in "edgewatch re" "edgewatch replay --fr"
        complete -C $words
    end
    """
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [program("fish"), "--no-config", "-c", script]
    done = subprocess.run(command, env=os.environ | HERE | home, capture_output=True, text=True, check=True)
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    assert list(found) == ["receive", "recovery", "replay", "report", "--from"]
    assert found["--from"].startswith("First window start")


def test_a_real_zsh_writes_out_an_option_and_lists_commands_with_what_they_do(tmp_path):
    """Only an interactive zsh completes, so this one has a terminal, of which it is read what a person would see."""
    zsh = program("zsh")
    child, terminal = pty.fork()
    if child == 0:
        environment = os.environ | HERE | {"TERM": "dumb", "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "COLUMNS": "100"}
        os.execve(zsh, ["zsh", "-f", "-i"], environment)  # noqa: S606 (no shell between)
    try:
        type_in(
            terminal,
            "PS1='rea''dy> '; autoload -U compinit; compinit -D -u; source <(edgewatch --show-completion)\n",
            "ready> ",
        )
        assert "edgewatch replay --from " in type_in(terminal, "edgewatch replay --fr\t", "--from ")
        seen = type_in(terminal, "\x15edgewatch silence \t\t", "list", "expire", "add")
        assert "Show silences that are in force" in seen
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def type_in(terminal, text, *awaited):
    """Type, and give what is shown, up to where it has all that is awaited."""
    os.write(terminal, text.encode())
    shown, until = "", time.monotonic() + _PATIENCE_S
    while not all(each in shown for each in awaited):
        assert time.monotonic() < until, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
