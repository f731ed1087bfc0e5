"""Hollow: imports a module of commands without what it works with, where only its options are asked for.

Why: a shell completes on each press of a key, and what a command computes with takes a second to import. A module of commands
uses it in the bodies of its functions alone, and they are not run. Made for a process that ends after its answer: what was
imported hollow stays so.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_REAL = sys.stdlib_module_names | {"typer", "flows"}
_COMMANDS = "_cli"  # how modules of commands end: they name each other's options


class _Empty(type):
    """The kind of what stands for anything: a class too, as annotations name classes, that holds nothing."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        return cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class _Nothing(metaclass=_Empty):
    """Stands for whatever a hollow module has; a class of what it holds may be made of it."""

    def __init_subclass__(cls, **_: Any) -> None:
        pass


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        return [] if name == "__path__" else _Nothing


class _Hollow(MetaPathFinder, Loader):
    """Finds hollow modules; those of commands, typer and Python's own are left to others."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        top, _, rest = fullname.partition(".")
        real = top.startswith("_") or (top in _REAL and (top != "flows" or not rest or fullname.endswith(_COMMANDS)))
        return None if real else ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def outlined(module: str) -> ModuleType:
    """Import a module of commands hollow."""
    hollow = _Hollow()
    sys.meta_path.insert(0, hollow)
    try:
        return import_module(module)
    finally:
        sys.meta_path.remove(hollow)
