"""Commands that are imported when they run: `--help` answers at once, and a command does not wait for what others need."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.hollow import outlined


@dataclass(frozen=True, slots=True)
class Later:
    """Where a command is: a function or a group of commands in a module; `words` stand in the list of commands."""

    module: str
    holds: str
    words: str

    def loaded(self, name: str, *, to_run: bool = True) -> Any:
        """Import the command; not `to_run`, its options alone are there."""
        held = getattr(import_module(self.module) if to_run else outlined(self.module), self.holds)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        if isinstance(held, typer.Typer):
            alone.add_typer(held, name=name)
            group = typer.main.get_group(alone)
            return group.commands[name]
        alone.command(name)(held)
        return typer.main.get_command(alone)


def with_later(table: dict[str, Later]) -> type[TyperGroup]:
    """Give a group of commands that has those of a table besides its own, in the table's order."""

    class Commands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*super().list_commands(ctx), *table]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Give a command, of the table's only its name and words."""
            later = table.get(cmd_name)
            return super().get_command(ctx, cmd_name) if later is None else TyperCommand(cmd_name, help=later.words)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            completes = ctx.resilient_parsing
            return name, table[name].loaded(name, to_run=not completes) if name in table else command, rest

    return Commands
