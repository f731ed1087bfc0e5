"""The documentation: configurations load, commands parse or run and say what is shown, code and SQL run, links lead somewhere.

What is not run says why: a block by the comment above it, a command in `NOT_RUN`.
"""

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.scenario import host_names
from connectors.script import read_script
from flows.config import built_in_text, load
from flows.rule_test_options import read_tests
from tests.runs import edgewatch
from tests.snippets import PAGES, ROOT, Snippet, commands_of, parsed, slug, snippets_of

pytestmark = pytest.mark.slow

SNIPPETS = [each for page in PAGES for each in snippets_of(page)]
# Commands that no page runs: they need services, people or minutes; the tests that run them instead.
NOT_RUN = {
    "clickhouse": "tests/sinks/test_embedded.py",
    "dashboard": "tests/test_dashboard_browser.py",
    "dead-letters list": "tests/flows/test_dead_letters.py",
    "dead-letters replay": "tests/flows/test_dead_letters.py",
    "dead-letters show": "tests/flows/test_dead_letters.py",
    "demo": "tests/test_demo.py",
    "drill": "tests/flows/test_drill.py",
    "errors": "tests/flows/test_app_errors.py",
    "import prometheus-rules": "tests/flows/test_import.py",
    "ingest": "tests/flows/test_ingest.py",
    "probe": "tests/flows/test_probe.py",
    "receive": "tests/connectors/test_upload.py",
    "recovery export": "tests/flows/test_recovery.py",
    "recovery import": "tests/flows/test_recovery.py",
    "recovery reset": "tests/flows/test_recovery.py",
    "recovery show": "tests/flows/test_recovery.py",
    "report": "tests/flows/test_report.py",
    "run": "tests/test_live.py",
    "silence add": "tests/flows/test_silence.py",
    "silence expire": "tests/flows/test_silence.py",
    "silence list": "tests/flows/test_silence.py",
    "status approve": "tests/flows/test_statuspage_cli.py",
    "status list": "tests/flows/test_statuspage_cli.py",
    "status-page": "tests/flows/test_status_page.py",
    "top": "tests/test_live.py",
    "verify": "tests/flows/test_verify.py",
}
# What a fragment is put over where its page has no monitor.toml: the first configuration of README.md, with the built-in pack.
BASE = tomllib.loads(next(each.text for each in SNIPPETS if each.language == "toml") + built_in_text())


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def merged(base: Any, more: Any) -> Any:
    """Put a fragment over a configuration: tables are joined, arrays of tables too, by name."""
    if isinstance(base, dict) and isinstance(more, dict):
        return base | {key: merged(base[key], value) if key in base else value for key, value in more.items()}
    if isinstance(base, list) and isinstance(more, list) and all(isinstance(each, dict) for each in (*base, *more)):
        names = {each.get("name") for each in more} - {None}
        return [*(each for each in base if each.get("name") not in names), *more]
    return more


def written(value: Any) -> str:
    """Write a value as TOML; tables on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {written(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def check_toml(snippet: Snippet, folder: Path) -> None:
    """Load a configuration, the tests of the one before, or a scenario; `fragment: NAME` is kept under that name."""
    given = tomllib.loads(snippet.text)
    fragment = snippet.mark("fragment")
    path = folder / (snippet.mark("file") or fragment or "fragment.toml")
    path.write_text(snippet.text if fragment is None else put_together(snippet, given), encoding="utf-8")
    last = folder / "last"
    if "test" in given:
        read_tests(path, load(last.resolve(), secrets=False))
    elif "incident" in given:
        read_script(path, start_ms=0, span_ms=8 * 3_600_000, hosts=host_names(3))
    else:
        load(path, secrets=False)
        last.unlink(missing_ok=True)
        last.symlink_to(path)


def put_together(snippet: Snippet, given: dict[str, Any]) -> str:
    """Give a fragment over the page's monitor.toml, or where it shows none over `BASE`."""
    whole = next((each for each in snippets_of(snippet.page) if each.mark("file") == "monitor.toml"), None)
    base = BASE if whole is None else tomllib.loads(whole.text)
    return "".join(f"{json.dumps(key)} = {written(value)}\n" for key, value in merged(base, given).items())


def run_python(snippet: Snippet) -> None:
    code = f"{snippet.mark('with') or ''}\n{snippet.text}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{snippet.where}: {done.stderr}"


def check_commands(snippet: Snippet, folder: Path) -> None:
    """Parse each command, and run those of a block that says so: what it shows is what they print, `...` is anything."""
    for command in commands_of(snippet):
        words = command.words
        if words[0] == "edgewatch":
            parsed(words)
            if snippet.mark("run") is not None:
                done = edgewatch(*words[1:], directory=folder, COLUMNS="200")
                assert done.returncode in (0, 1), f"{snippet.where}: {done.stderr}"
                assert fits(command.output, done.stdout), f"{snippet.where}: {done.stdout}{done.stderr}"
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), words
        elif words[:2] == ("python", "-m"):
            assert importlib.util.find_spec(words[2]), words
        elif words[0] == "cp":
            if snippet.mark("run") is not None:
                shutil.copy(folder / words[1], folder / words[2])
        else:
            assert snippet.mark("not run"), f"{snippet.where}: {words[0]} is not run, and no comment says why"


def fits(shown: str, output: str) -> bool:
    """Tell whether output is as shown: a line `...` stands for any lines, spaces at ends of lines do not count."""
    shown, output = ("\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n" for text in (shown, output))
    pieces = re.split(r"^\.\.\.$\n?", shown, flags=re.MULTILINE)
    return re.fullmatch(r"(?s:.*?)".join(map(re.escape, pieces)), output) is not None


def check_data(snippet: Snippet, _: Path) -> None:
    """Read JSON, YAML or CSV."""
    if snippet.language == "csv":
        assert len({len(row) for row in csv.reader(snippet.text.splitlines())}) == 1
    else:
        assert yaml.safe_load(snippet.text) if snippet.language == "yaml" else json.loads(snippet.text)


def check_code(snippet: Snippet, _: Path) -> None:
    """Run Python, unless a comment says why not; what is in another language needs such a comment."""
    if snippet.mark("not run") is None and snippet.mark("step") is None:
        assert snippet.language == "python", f"{snippet.language} is not run, and no comment says why"
        run_python(snippet)


def nothing(_: Snippet, __: Path) -> None:
    """Text is for people; SQL runs in a test of its own, on one server for all pages."""


CHECKS = {
    **dict.fromkeys(("csv", "json", "yaml"), check_data),
    **dict.fromkeys(("console", "sh"), check_commands),
    **dict.fromkeys(("js", "python"), check_code),
    **dict.fromkeys(("sql", "text"), nothing),
    "toml": check_toml,
}


@pytest.mark.parametrize(
    "page",
    [pytest.param(each, marks=[pytest.mark.slow] if each.stem in ("cookbook", "quick-start") else []) for each in PAGES],
    ids=ids,
)
def test_the_snippets_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    found = snippets_of(page)
    for snippet in reversed(found):  # a page may show what a command prints before it shows the files
        if name := snippet.mark("file"):
            (tmp_path / name).write_text(snippet.text, encoding="utf-8")
    for snippet in found:
        if name := snippet.mark("file"):
            (tmp_path / name).write_text(snippet.text, encoding="utf-8")
        try:
            CHECKS[snippet.language](snippet, tmp_path)
        except Exception as error:  # noqa: BLE001 (whatever it is, the place is wanted)
            pytest.fail(f"{snippet.where}: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    "line",
    ["edgewatch run", "edgewatch run -c x --processes many", "edgewatch silence ad -c x", "edgewatch check -c x --onlin"],
)
def test_a_command_that_edgewatch_does_not_have_is_refused(line: str) -> None:
    with pytest.raises(Exception, match=r"Missing parameter|should be a valid|No such"):
        parsed(tuple(line.split()))


def test_output_is_as_shown_where_only_points_stand_for_more() -> None:
    same = [("a\nb", "a\nb\n"), ("a\n...\nc", "a\nb\nb\nc\n"), ("a\n...", "a\nb")]
    other = [("a", "a\nb"), ("a\n...\nc", "a\nc\nd"), ("a.c", "abc")]
    assert [fits(*each) for each in (*same, *other)] == [True] * 3 + [False] * 3


def test_every_command_is_run_on_a_page_or_by_a_test_that_is_there() -> None:
    named, run = set(), set()
    for snippet in SNIPPETS:
        if snippet.language in ("console", "sh"):
            found = {parsed(each.words) for each in commands_of(snippet) if each.words[0] == "edgewatch"}
            named |= found
            run |= found if snippet.mark("run") is not None else set()
    assert named - run == NOT_RUN.keys(), "run it on a page (see tests/snippets.py), or name in NOT_RUN the test that runs it"
    assert [name for name in NOT_RUN.values() if not (ROOT / name).exists()] == []


def test_what_is_not_run_says_why() -> None:
    for snippet in SNIPPETS:
        reason = snippet.mark("not run")
        if reason is not None:
            assert len(reason) > 10, snippet.where
            assert [name for name in re.findall(r"tests/[\w/]+\.py", reason) if not (ROOT / name).exists()] == [], snippet.where
        else:
            kinds = ("file", "fragment", "run", "with", "step", "output")
            assert snippet.marks == "" or any(snippet.mark(kind) is not None for kind in kinds), (
                f"{snippet.where}: {snippet.marks}"
            )


def test_the_sql_of_every_page_runs(tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    from sinks.clickhouse import ClickHouse, ClickHouseOptions
    from sinks.embedded import Embedded

    asked = [each for each in SNIPPETS if each.language == "sql"]
    with Embedded(tmp_path / "clickhouse") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        for snippet in asked:
            client.query(snippet.text)
        client.close()
    assert len(asked) > 20


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_of_a_page_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


def test_the_list_of_pages_names_all() -> None:
    listed = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.name for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "README.md"]
    assert [name for name in pages if f"]({name})" not in listed] == []


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(re.sub(r"[`*]", "", each)) for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
