"""Snippets: the fenced blocks of the documentation, what is to be done with each, and the commands in them.

A comment right above a block says what is not plain from its language: `<!-- file: NAME -->`, `<!-- fragment -->` (or
`fragment: NAME`), `<!-- run -->`, `<!-- with: CODE -->`, `<!-- step -->` (all steps of a page are one program),
`<!-- output -->` (of the step above), `<!-- not run: REASON -->`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from flows.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class Snippet:
    """One block: where it is, its language, its text, and what the comment above it says."""

    page: Path
    line: int
    language: str
    text: str
    marks: str

    @property
    def where(self) -> str:
        """Give page and line, as people name them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def mark(self, name: str) -> str | None:
        """Give what the comment says behind `name:`, "" where it is the name alone, None where it is something else."""
        if self.marks == name:
            return ""
        return self.marks.removeprefix(f"{name}: ") if self.marks.startswith(f"{name}: ") else None


@dataclass(frozen=True)
class Command:
    """One command of a console block, and the output shown under it."""

    words: tuple[str, ...]
    output: str


def snippets_of(page: Path) -> list[Snippet]:
    """Give the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, found.start(2)) + 1, found[2], found[3], found[1] or "")
        for found in _BLOCK.finditer(text)
    ]


def commands_of(snippet: Snippet) -> list[Command]:
    """Give the commands of a block: lines behind `$` of a console, every line of a script."""
    prompt = "$ " if snippet.language == "console" else ""
    found: list[tuple[list[str], list[str]]] = []
    goes_on = False
    for line in snippet.text.splitlines():
        if goes_on:
            found[-1][0].append(line)
        elif line.startswith(prompt) and (prompt or (line.strip() and not line.startswith("#"))):
            found.append(([line.removeprefix(prompt)], []))
        else:
            if found:
                found[-1][1].append(line)
            continue
        goes_on = line.endswith("\\")
    return [
        Command(tuple(shlex.split(" ".join(each.removesuffix("\\") for each in lines), comments=True)), "\n".join(output))
        for lines, output in found
    ]


def parsed(words: tuple[str, ...]) -> str:
    """Parse a command line of edgewatch as the program does, without running it; gives the command's name."""
    command: Any = typer.main.get_command(app)
    rest, parent, name = list(words[1:]), None, "edgewatch"
    path: list[str] = []
    while True:
        context = command.make_context(name, rest, parent)
        if not hasattr(command, "resolve_command"):
            return " ".join(path)
        parent, (name, command, rest) = context, command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)


def slug(heading: str) -> str:
    """Give the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
