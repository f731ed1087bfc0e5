"""What is installed: exactly what constraints.txt pins, under licences that are known and allowed."""

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from tests.audit import verdict

PINS = Path(__file__).parents[1] / "constraints.txt"
NOT_OURS = {"edgewatch", "pip"}  # pip comes with Python
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Zlib"),
    # as classifiers and older metadata write them
    *(
        "3-Clause BSD License",
        "Apache",
        "Apache License 2.0",
        "Apache Software License",
        "BSD License",
        "ISC License (ISCL)",
        "MIT License",
    ),
    "Mozilla Public License 2.0 (MPL 2.0)",
}
# They say it in their licence files alone.
NOT_SAID = {"axe-playwright-python": "MIT", "bytewax": "Apache-2.0", "promql-parser": "MIT"}


def installed() -> dict[str, Distribution]:
    """Give what is installed, by name as pins write it."""
    found = {canonical(each.name): each for each in distributions()}
    return {name: each for name, each in found.items() if name not in NOT_OURS}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licences(found: Distribution) -> list[str]:
    """Give the licences that a package names, all of them."""
    known: Any = found.metadata
    classes = [each.rsplit(" :: ", 1)[1] for each in known.get_all("Classifier", []) if each.startswith("License :: ")]
    said = known.get("License-Expression") or " AND ".join(each for each in classes if each != "OSI Approved")
    said = said or (known.get("License") or NOT_SAID.get(canonical(found.name), "none named"))
    return [each.strip("() ") if "(" not in each.strip("() ") else each for each in re.split(r" AND | OR ", said)]


def test_exactly_what_is_pinned_is_installed() -> None:
    pinned = dict(line.split("==") for line in PINS.read_text().splitlines() if line)
    assert {name: each.version for name, each in installed().items()} == {canonical(name): at for name, at in pinned.items()}


def test_every_licence_is_known_and_allowed() -> None:
    found = {name: licences(each) for name, each in installed().items()}
    assert {name: said for name, said in found.items() if not {*said} <= ALLOWED} == {}


@pytest.mark.parametrize(
    ("found", "trouble", "expected"),
    [
        ([{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}], "", (1, "audit: 1 known vulnerabilities")),
        ([{"name": "a", "version": "1", "vulns": []}], "", (0, "audit: no known vulnerability in 1 packages")),
        (
            [{"name": "a", "skip_reason": "not found"}],
            "",
            (0, "audit: NOT DONE, no vulnerability service could be asked (not found)"),
        ),
        ([], "unreachable", (0, "audit: NOT DONE, no vulnerability service could be asked (unreachable)")),
    ],
)
def test_an_audit_that_could_not_be_done_is_not_called_one(found, trouble, expected) -> None:
    code, lines = verdict(found, trouble)
    assert (code, lines[0]) == expected
