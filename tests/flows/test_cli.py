"""The command line as a shell sees it: exit codes, one clear line an error, help with an example."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import typer

from flows import cli
from tests.runs import ACCEPTANCE, checked, edgewatch

# What goes on until it is told to stop, and what shows itself: these print no result.
SERVICES = {"demo", "run", "clickhouse", "dashboard", "receive", "errors"}


def commands():
    """Give name -> command of all there are, groups walked into."""
    root = typer.main.get_group(cli.app)
    found = dict(root.commands) | {name: later.loaded(name) for name, later in cli._LATER.items()}
    while groups := [name for name, each in found.items() if hasattr(each, "commands")]:
        for name in groups:
            found |= {f"{name} {inner}": each for inner, each in found.pop(name).commands.items()}
    return {name: each for name, each in found.items() if not name.startswith("statuspage ")}  # `status`, by its old name


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example_that_is_read_as_it_stands(name):
    command = COMMANDS[name]
    words, _, example = command.help.partition("Example: edgewatch ")
    assert re.match(r"[A-Z].{20,}[.]", words.replace("\n", " ")), words
    given = shlex.split(" ".join(example.split()))
    start = name.split()
    assert given[: len(start)] == start
    context = command.make_context(name, given[len(start) :])
    assert {each.name for each in command.params if not each.help and each.name != "help"} == set()
    assert context.params


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SERVICES))
def test_every_command_that_prints_a_result_can_print_json(name):
    assert "--json" in {option for each in COMMANDS[name].params for option in each.opts}


def test_help_is_shown_where_no_colour_is_wanted_or_read():
    done = checked("silence", "add", "--help")
    assert "Example: edgewatch silence add" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay", "-c", "nowhere.toml", "--out", "o"], "nowhere.toml: cannot be read"),
        (["replay", "-c", ACCEPTANCE / "monitor.toml", "--out", "o", "--source", "s3"], "give kafka or archive:DIR"),
        (["replay", "-c", ACCEPTANCE / "monitor.toml", "--out", "o", "--from", "noon"], "--from noon: give a time such as"),
        (["replay", "-c", ACCEPTANCE / "monitor.toml", "--out", "o", "--from", "2025-12-01T00:00:00"], "say the zone"),
        (["replay", "-c", ACCEPTANCE / "monitor.toml", "--out", "o", "--from", "-1h", "--to", "-2h"], "must be before --to"),
        (["run", "-c", ACCEPTANCE / "monitor.toml", "--until-end"], "--until-end and --out go together"),
        (["spool", "list", "-c", ACCEPTANCE / "monitor.toml"], "there is no spool at"),
        (["silence", "list", "-c", ACCEPTANCE / "monitor.toml", "--state", "nowhere"], "there is no state folder nowhere"),
        (["fly"], "No such command"),
        (["dashboard", "-c", ACCEPTANCE / "monitor.toml"], "has no [clickhouse]: the dashboard reads from there"),
    ],
)
def test_bad_use_and_bad_configuration_exit_2_with_one_clear_line(arguments, words, tmp_path):
    done = edgewatch(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_archive_that_is_not_there_exits_1_and_names_it(tmp_path):
    done = edgewatch(
        "replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{tmp_path / 'logs'}", "--out", tmp_path / "out"
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"archive:{tmp_path / 'logs'} is not a folder" in done.stderr


@pytest.mark.slow
def test_a_dead_broker_exits_1_and_names_it(tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text((ACCEPTANCE / "monitor.toml").read_text().replace("127.0.0.1:9092", "127.0.0.1:9"))
    done = edgewatch("check", "-c", config, "--online")
    assert done.returncode == 1
    assert "FAIL kafka: Kafka at 127.0.0.1:9 cannot be reached" in done.stdout


def test_check_says_what_a_configuration_does_also_as_json():
    text = checked("check", "-c", ACCEPTANCE / "monitor.toml").stdout
    assert "logpush.http_requests -> http_requests" in text
    assert "high_error_rate (error_rate ratio, warning above 0.01, critical above 0.05)" in text
    report = json.loads(checked("check", "-c", ACCEPTANCE / "monitor.toml", "--json").stdout)
    assert report["window"] == "300 s, allowed lateness 60 s"


def test_two_runs_in_one_folder_are_refused(tmp_path):
    from flows.run_folder import FolderInUse, RunFolder

    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(FolderInUse, match="is in use by another run"),
        RunFolder(tmp_path).locked(),
    ):
        pass


@pytest.mark.slow
def test_generate_writes_files_that_replay_reads(tmp_path):
    made = checked("generate", "--to", tmp_path / "logs", "--hours", "0.5", "--records", "5000")
    assert "5,000 records" in made.stdout
    done = checked(
        "replay",
        "-c",
        ACCEPTANCE / "monitor.toml",
        "--source",
        f"archive:{tmp_path / 'logs'}",
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert json.loads(done.stdout)["records"] == 5000
    again = edgewatch("generate", "--to", tmp_path / "logs", "--hours", "0.5", "--records", "5000")
    assert again.returncode == 1
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_what_silence_commands_and_generate_print_is_json_alone_where_it_is_asked_for(tmp_path):
    def printed(*arguments):
        return json.loads(checked(*arguments, "--json").stdout)

    where = ["-c", ACCEPTANCE / "monitor.toml", "--state", tmp_path]
    about = ["rule=slow_responses", "--for", "2h", "--reason", "a test"]
    assert printed("silence", "add", *where, *about, "--dry-run")["id"] is None
    added = printed("silence", "add", *where, *about)
    assert [each["id"] for each in printed("silence", "list", *where)] == [added["id"]]
    assert printed("silence", "expire", *where, added["id"]) == [{"id": added["id"], "ended": True, "matches": []}]
    made = printed("generate", "--to", tmp_path / "logs", "--hours", "0.2", "--records", "500")
    assert (made["records"], made["incidents"][0].keys()) == (500, {"incident", "rule", "key"})


def test_the_list_of_commands_is_there_without_what_they_need():
    code = "import sys\nfrom flows.cli import app\ntry:\n    app(['--help'])\nfinally:\n    print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    commands, _, modules = done.stdout.rpartition("\n[")
    assert {"  replay ", "  silence ", "  run "} <= set(re.findall(r"^  [a-z]+ ", commands, flags=re.MULTILINE))
    assert [each for each in ("numpy", "bytewax", "httpx", "sentry_sdk", "flows.config") if f"'{each}'" in modules] == []


def test_every_command_that_is_imported_when_it_runs_is_there():
    for name, later in cli._LATER.items():
        command = later.loaded(name)
        assert command.name == name
        assert command.help, name
