"""Templates: Jinja in a sandbox that ends.

Why more than Jinja's sandbox: that one keeps a template from the process, but lets it count to 10^10 or write a gigabyte.
Here what can grow or repeat is counted, and what else could (macros, `**`, `center`, `format`) is left out.
"""

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from sinks import notification as words
from sinks.notification import one_line

_SOURCE, _TEXT, _PAGE = 10_000, 5000, 500_000
_ITEMS, _ROUNDS, _SECONDS, _LARGEST = 1000, 10_000, 1.0, 1e18
_FILE = "<template>"  # as Jinja calls what is no file
_BUDGET = " budget"  # with a space: no template can name it
_METHODS = frozenset({"cycle", "endswith", "get", "items", "keys", "lower", "split", "startswith", "strip", "upper", "values"})
_TAKEN_OVER = """abs capitalize count d default dictsort first float int last length list lower map max min sort sum
title trim truncate unique upper"""
_NODES = (
    *(nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Concat),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)


class TemplateError(Exception):
    """What is wrong with a template, for people."""


class AbsentError(TemplateError):
    """A template asked for an entry that is not there this time."""


def rendered(source: str, told: Mapping[str, Any], *, limit: int) -> str:
    """Render a plain text of at most `limit` characters; raises `TemplateError`."""
    return _run(compiled(source, tuple(told)), told, limit).strip()


def page(source: str, told: Mapping[str, Any]) -> str:
    """Render HTML: every value is escaped. Raises `TemplateError`."""
    return _run(compiled(source, tuple(told), html=True), told, _PAGE)


def _run(template: jinja2.Template, told: Mapping[str, Any], limit: int) -> str:
    try:
        return "".join(_within(limit, template.generate({**told, _BUDGET: _Budget()})))
    except Exception as error:  # a template is foreign code: whatever it raises, the alert goes out
        kind = AbsentError if isinstance(error, jinja2.UndefinedError) else TemplateError
        raise kind(f"{_place(error)}{error or type(error).__name__}") from error


def _place(error: Exception) -> str:
    """Name the line of the template, where there is one: Jinja has a traceback speak of it as of a file."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == _FILE]
    return f"line {lines[-1]}: " if lines else ""


def _within(limit: int, parts: Iterable[str]) -> Iterator[str]:
    room = limit
    for part in parts:
        room -= len(part)
        if room < 0:
            raise TemplateError(f"it gives more than {limit} characters")
        yield part


@lru_cache(64)
def compiled(source: str, names: tuple[str, ...], *, html: bool = False) -> jinja2.Template:
    """Compile a template that knows these names; raises `TemplateError`."""
    sandbox = _HTML if html else _PLAIN
    if len(source) > _SOURCE:
        raise TemplateError(f"it is longer than {_SOURCE} characters")
    try:
        tree = sandbox.parse(source)
        unknown = sorted(meta.find_undeclared_variables(tree) - {"range", *names})
        made = sandbox.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from error
    except Exception as error:  # Python's own limits: what is nested too deeply, or a number with too many digits
        raise TemplateError(f"it is too complicated ({type(error).__name__})") from error
    if unknown:
        line = min((node.lineno for node in tree.find_all(nodes.Name) if node.name == unknown[0]), default=1)
        raise TemplateError(f"line {line}: {_unknown(unknown[0], names)}")
    return made


def _unknown(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f"unknown name {name!r}; did you mean {near[0]!r}?" if near else f"unknown name {name!r}; known: {', '.join(names)}"


def absent(name: str) -> jinja2.Undefined:
    """Give what a template gets for an entry that is not there."""
    return jinja2.StrictUndefined(name=name)


def cleaned(value: Any) -> Any:
    """Take control characters out of all strings: only the template itself breaks lines."""
    if isinstance(value, str):
        return one_line(value[:_TEXT])
    if isinstance(value, Mapping):
        return {one_line(str(key)): cleaned(item) for key, item in value.items()}
    return [cleaned(item) for item in value[:_ITEMS]] if isinstance(value, list | tuple) else value


class _Budget:
    """The rounds of all loops of one rendering, and its time."""

    def __init__(self) -> None:
        self._rounds = 0
        self._until = time.thread_time() + _SECONDS

    def spend(self) -> None:
        self._rounds += 1
        if self._rounds > _ROUNDS or time.thread_time() > self._until:
            raise TemplateError(f"its loops go round more than {_ROUNDS} times or {_SECONDS:g} s")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, of which only that is left which cannot run away."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(
            autoescape=html, undefined=jinja2.StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
        )
        self.globals = {"range": _range}
        self.filters = {name: FILTERS[name] for name in _TAKEN_OVER.split()} | _FILTERS

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all(nodes.Node):
            self._check(node)
        _Counting().visit(tree)
        tree.set_environment(self)
        return tree

    def _check(self, node: nodes.Node) -> None:
        problem = ""
        if not isinstance(node, _NODES) or getattr(node, "recursive", False):
            problem = f"{type(node).__name__} is not available in templates"
        elif isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            problem = f"access to {node.attr!r} is not allowed"
        elif isinstance(node, nodes.List | nodes.Tuple) and getattr(node, "ctx", "load") == "load":
            problem = "" if all(isinstance(item, nodes.Const) for item in node.items) else "a list holds constants only"
        if problem:
            raise jinja2.TemplateSyntaxError(problem, node.lineno or 1)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Let only those methods through that neither change nor blow up anything."""
        return super().is_safe_attribute(obj, attr, value) and (not callable(value) or attr in _METHODS)

    def wrap_str_format(self, value: Any) -> None:
        """Know no `format`: it writes as wide as it is told."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Add and multiply up to a size; `*` and `%` are for numbers."""
        if isinstance(left, int | float) and isinstance(right, int | float):
            result = super().call_binop(context, operator, left, right)
            return _small(result)
        if operator != "+":
            raise TemplateError(f"{operator} is for numbers")
        return _short(super().call_binop(context, operator, left, right))


class _Counting(NodeTransformer):
    """Puts loops and `~` under the rules: of the rest, filters and operators look after themselves."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  the visitor's word
        """Count the rounds."""
        self.generic_visit(node)
        node.iter = _filter("counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802  as visit_For
        """Join up to a size."""
        self.generic_visit(node)
        return _filter("join", nodes.List(node.nodes, lineno=node.lineno))


def _filter(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


@jinja2.pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget = context.resolve(_BUDGET)
    for item in items:
        budget.spend()
        yield item


def _range(*bounds: int) -> range:
    return range(*bounds)[:_ITEMS]


def _join(items: Iterable[Any], by: str = "") -> str:
    texts = [str(_shown(item)) for item in islice(items, _ITEMS)]
    if sum(map(len, texts)) + len(by) * len(texts) > _TEXT:
        raise TemplateError(f"a text grows beyond {_TEXT} characters")
    return by.join(texts)


def _shown(value: Any) -> Any:
    """Let single values be written; a list or a table is not for people."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str | int | jinja2.Undefined):
        return value
    raise TemplateError("a list or table cannot be written: name one entry, or join them")


def _short(value: Any) -> Any:
    if len(value) > (_TEXT if isinstance(value, str) else _ITEMS):
        raise TemplateError("a text, list or range is too long")
    return value


def _small(value: float) -> float:
    if abs(value) > _LARGEST:
        raise TemplateError("a number is too large")
    return value


def _percent(value: float | None) -> str:
    """Write a ratio: 0.0731 is `7.31 %`."""
    return "-" if value is None else f"{words.number(round(value * 100, 12))} %"


def _duration(ms: float | None) -> str:
    """Write milliseconds by their two largest units; below a second as they are."""
    if ms is None:
        return "-"
    return f"{words.number(ms)} ms" if abs(ms) < 1000 else words.duration(round(ms))  # noqa: PLR2004  a second


_FILTERS = {
    "counted": _counted,
    "duration": _duration,
    "join": _join,
    "number": words.number,
    "percent": _percent,
    "rfc3339": words.rfc3339,
}
_PLAIN, _HTML = _Sandbox(html=False), _Sandbox(html=True)
