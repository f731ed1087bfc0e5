"""The rules of the house: who may import whom, what is pure, how large things are, which words are not used."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("connectors", "flows", "sinks")
CODE = (*ROOMS, "tests", "benchmarks")
KEPT_TO_THE_LETTER = ROOT / "tests" / "acceptance"

# What flows computes with: neither engine nor clock nor anything outside the process.
NOUNS = {
    "acknowledge",
    "alert",
    "alert_state",
    "backtest",
    "backtest_statistics",
    "barrier",
    "book",
    "chunk_levels",
    "distinct",
    "early",
    "early_word",
    "event",
    "event_counts",
    "exact_sum",
    "exemplar",
    "expression",
    "flap",
    "evaluation",
    "group",
    "grouping",
    "health",
    "health_words",
    "history",
    "hold",
    "inhibit",
    "judged",
    "labels",
    "matcher",
    "measure",
    "metric",
    "mute",
    "notify",
    "partial",
    "path",
    "policy",
    "removed",
    "resting",
    "route",
    "rule",
    "samples",
    "second_route",
    "silence",
    "silent_source",
    "spells",
    "transition",
    "window",
    "withhold",
    "zone_path",
}
ENGINE = {"engine", "monitor", "cli"}
OUTSIDE = {
    "asyncio",
    "confluent_kafka",
    "http",
    "httpx",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
CLOCKS = {"now", "utcnow", "today"}
SAYS_NOTHING = {"utils", "common", "helpers", "types", "base", "core", "manager", "handler", "processor"}
SAYS_NOTHING |= {"util", "helper"}

MAX_FILE = 500
MAX_FUNCTION = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if KEPT_TO_THE_LETTER not in path.parents)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """Give the full names of the modules a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def nouns() -> list[Path]:
    return [ROOT / "flows" / f"{name}.py" for name in sorted(NOUNS)]


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)}


def written() -> Iterator[tuple[str, str]]:
    """Give (name, text) of every text file of the project."""
    kinds = {".py", ".toml", ".md", ".txt", ".yml", ".yaml", ".xml", ".sql", ".html", ".js", ".sh", ""}
    places = [*CODE, "docs", "deploy", ".ci"]
    found = [path for place in places for path in (ROOT / place).rglob("*")] + list(ROOT.iterdir())
    for path in found:  # in a second working tree of git, .git is a file that says where the first is
        if path.is_file() and path.suffix in kinds and ".cache" not in path.parts and path.name != ".git":
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace")


def test_the_rooms_are_there() -> None:
    assert [room for room in ROOMS if not files(room)] == []


@pytest.mark.parametrize("room", ["connectors", "sinks"])
def test_the_ends_import_nobody_of_ours(room: str) -> None:
    foreign = set(CODE) - {room}
    assert names([path for path in files(room) if tops(path) & foreign]) == []


def test_flows_imports_the_ends_and_neither_tests_nor_benchmarks() -> None:
    assert names([path for path in files("flows") if tops(path) & {"tests", "benchmarks"}]) == []


def test_the_engine_is_imported_in_few_files() -> None:
    engine = [path for path in files(*ROOMS) if "bytewax" in tops(path)]
    assert [name for name in names(engine) if name not in {f"flows/{each}.py" for each in ENGINE}] == []


def test_the_nouns_touch_nothing_outside_the_process() -> None:
    outside = {str(path.relative_to(ROOT)): tops(path) & (OUTSIDE | {"bytewax"}) for path in nouns()}
    assert {name: used for name, used in outside.items() if used} == {}


def test_the_nouns_have_no_clock() -> None:
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in nouns()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and isinstance(node.value, ast.Name | ast.Attribute)
        if ast.unparse(node.value).split(".")[-1] in {"datetime", "date"}
    ]
    assert calls == []


def test_the_nouns_import_only_nouns_of_flows_that_are_pure() -> None:
    modules = {path.stem for path in files("flows")}
    for path in nouns():
        used = {name.split(".")[1] for name in imported(path) if name.startswith("flows.")} & modules
        impure = {each for each in used if tops(ROOT / "flows" / f"{each}.py") & (OUTSIDE | {"bytewax"})}
        assert (path.stem, impure) == (path.stem, set())


def test_every_module_opens_with_what_it_holds() -> None:
    assert names([path for path in files(*CODE) if not ast.get_docstring(tree(path))]) == []


def test_a_package_holds_a_docstring_only() -> None:
    packages = [path for path in files(*CODE) if path.name == "__init__.py"]
    assert names([path for path in packages if len(tree(path).body) != 1]) == []


def test_no_file_is_too_long() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files(*CODE)}
    assert {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > MAX_FILE} == {}


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{each.lineno} {each.name}"
        for path in files(*CODE)
        for each in functions(path)
        if (each.end_lineno or 0) - each.lineno + 1 > MAX_FUNCTION
    ]
    assert long == []


def test_no_file_class_or_function_has_a_name_that_says_nothing() -> None:
    empty = [str(path.relative_to(ROOT)) for path in files(*CODE) if words(path.stem) & SAYS_NOTHING]
    for path in files(*ROOMS):
        defined = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef | Function)]
        empty += [f"{path.relative_to(ROOT)} {each.name}" for each in defined if words(each.name) & SAYS_NOTHING]
    assert empty == []


def test_nothing_is_left_to_be_done_in_comments() -> None:
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
    assert [name for name, text in written() if marks.search(text)] == []


def test_no_file_names_a_package_registry_or_a_place_on_a_machine() -> None:
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("maven", "org"), ("maven", "apache", "org"), ("npmjs", "org")]
    hosts += [("crates", "io"), ("deb", "debian", "org"), ("proxy", "golang", "org"), ("docker", "io")]
    sought = [".".join(host) for host in hosts] + ["/" + "work/", "/" + "root/"]
    assert [(name, each) for name, text in written() for each in sought if each in text] == []
