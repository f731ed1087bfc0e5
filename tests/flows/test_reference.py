"""docs/configuration.md: what the option classes say, of every option, and examples that the classes take."""

import dataclasses
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from connectors.dataset import DATASETS
from flows.config import _TABLES
from flows.example import GENERAL, TABLES
from flows.metric import KINDS as METRICS
from flows.options import ConfigError, Reader, toml_key
from flows.reference import example_of, reference_text, sections
from flows.rule import KINDS as RULES

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS = dict(sections())
NO_EXAMPLE = {"clickhouse": {"cluster"}}  # not yet
OF_THE_VALUE = re.compile(
    r"(?!must be given)(must be|unknown key|'.*' is not|is not|cannot)"
)  # other problems are of keys that go together


def columns() -> list[tuple[str, type[Any], "dataclasses.Field[Any]"]]:
    return [(name, kind, column) for name, kind in SECTIONS.items() for column in dataclasses.fields(kind)]


def test_the_page_is_what_the_option_classes_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_text(), "run: python -m flows.reference > docs/configuration.md"


def test_every_table_and_key_of_a_configuration_is_there() -> None:
    named = {name.strip("[]").split(".")[0] for name, _ in TABLES} | {key for key, *_ in GENERAL}
    assert named == set(_TABLES)


def test_every_option_says_what_it_means_and_numbers_say_of_what() -> None:
    assert [f"{name} {column.name}" for name, _, column in columns() if not column.metadata.get("help", "").strip()] == []
    numbers = {int, float}
    bare = []
    for name, kind, column in columns():
        hint = typing.get_type_hints(kind)[column.name]
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        found = {*arguments, hint} - ({str} if origin is dict else set())
        any_value = origin is dict and str in arguments[1:] + typing.get_args(arguments[1])
        if found & numbers and not any_value and not column.metadata.get("duration") and "unit" not in column.metadata:
            bare.append(f"{name} {column.name}")
    assert bare == []


def test_every_option_has_an_example_but_those_that_do_nothing_yet() -> None:
    bare = {(name, toml_key(column)) for name, _, column in columns() if not example_of(name, column)}
    assert bare == {(name, key) for name, keys in NO_EXAMPLE.items() for key in keys}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_example_is_taken(name: str) -> None:
    kind = SECTIONS[name]
    made = {toml_key(column): (column, example_of(name, column)) for column in dataclasses.fields(kind)}
    needed = [key for key, (column, _) in made.items() if required(column)]
    for key, (_, text) in made.items():
        given = tomllib.loads("\n".join(f"{each} = {made[each][1]}" for each in dict.fromkeys((*needed, key)) if made[each][1]))
        problems: list[ConfigError] = []
        Reader(problems, Path(), secrets=False).table(kind, given, "")
        bad = [
            str(each) for each in problems if re.match(rf"{re.escape(key)}\b", each.key) and OF_THE_VALUE.match(each.problem)
        ]
        assert bad == [], text


def required(column: "dataclasses.Field[Any]") -> bool:
    return column.default is dataclasses.MISSING and column.default_factory is dataclasses.MISSING


def test_keys_of_a_choice_name_all_that_may_be_chosen() -> None:
    said = {name: {toml_key(c): c.metadata["help"] for c in dataclasses.fields(kind)} for name, kind in SECTIONS.items()}
    kinds = said["[dataset]"]["kind"], said["[metric]"]["kind"], said["[rule]"]["kind"]
    choices: list[list[str]] = [list(DATASETS), list(METRICS), list(RULES)]
    for text, allowed in zip(kinds, choices, strict=True):
        assert [each for each in allowed if not re.search(rf"\b{each}\b", text)] == []
