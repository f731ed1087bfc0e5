"""Over HTTP: the faults that all services share which are spoken to by HTTP, and what is to come of each."""

import email.utils
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, of_json
from tests.sinks.conformance.entry import Case, There, Told

TOO_MANY = 429
_ELSEWHERE = {"Location": "http://127.0.0.1:1/elsewhere"}
_CODES = {"reset": "network", "lost": "network"}


@contextmanager
def serving(
    server: ScriptedServer,
    options: Any,
    *,
    told: Callable[[], list[Told]],
    shown: Callable[[], str],
    wrong: Callable[[], list[str]],
) -> Iterator[There]:
    """Run a service. A fault is an `Answer` or what makes one, behind as many calls as it leaves alone: (2, Answer(...))."""

    def meet(fault: Any) -> None:
        calls, answer = fault if isinstance(fault, tuple) else (0, fault)
        server.script = [*([None] * calls), answer() if callable(answer) else answer]

    with server:
        yield There(
            options=options,
            meet=meet,
            mend=lambda: server.script.clear(),  # noqa: PLW0108  `meet` puts another list there
            leave=lambda: server.__exit__(None, None, None),
            told=told,
            shown=shown,
            wrong=wrong,
        )


def answers(*refused: Case, retried: Iterable[int] = (), calls: int = 1) -> tuple[Case, ...]:
    """Give every status but success, at the first call, some at the others; `refused` are options that it refuses."""
    again = {TOO_MANY, *range(500, 600), *retried}
    few = (401, 404, TOO_MANY, 503)
    statuses = [(0, status) for status in range(300, 600)] + [(call, status) for call in range(1, calls) for status in few]
    return (*refused, *(_answered(call, status, retried=status in again) for call, status in statuses))


def _answered(call: int, status: int, *, retried: bool) -> Case:
    # A redirect is no success and is not followed, wherever it leads.
    answer = Answer(status, b"" if status == 304 else b"no", _ELSEWHERE)
    name = f"{status}" if call == 0 else f"{status} at call {call + 1}"
    return Case(name=name, fault=(call, answer), retried=retried, words=f"HTTP {status}")


def waits(*statuses: int) -> tuple[Case, ...]:
    """Give the forms of Retry-After, at 429 and whatever else asks to wait."""
    headers: list[tuple[str, str, tuple[float, float] | None]] = [
        ("seconds", "7", (7.0, 7.0)),
        ("fraction", "1.5", (1.5, 1.5)),
        ("at once", "0", (0.0, 0.0)),
        ("a day", "86400", (900.0, 900.0)),
        ("a word", "soon", None),
        ("below zero", "-5", None),
        ("exponent", "1e9", None),
        ("empty", "", None),
        ("broken date", "Mon, 99 Foo 2026", None),
        ("huge", "9" * 400, None),
    ]
    found = [
        Case(name=f"{status} {name}", fault=Answer(status, b"", {"rEtRy-AfTeR": value}), retried=True, wait=wait)
        for status in (TOO_MANY, *statuses)
        for name, value, wait in headers
    ]
    dates = [("a date", 600.0, (500.0, 600.0)), ("a far date", 1e6, (900.0, 900.0)), ("a date that was", -100.0, (0.0, 0.0))]
    found += [
        Case(name=f"{status} {name}", fault=partial(_dated, status, seconds), retried=True, wait=wait)
        for status in (TOO_MANY, *statuses)
        for name, seconds, wait in dates
    ]
    return (*found, Case(name="nothing", fault=Answer(TOO_MANY), retried=True))


def _dated(status: int, seconds: float) -> Answer:
    return Answer(status, b"", {"Retry-After": email.utils.formatdate(time.time() + seconds, usegmt=True)})


def breaks(calls: int = 1) -> tuple[Case, ...]:
    """Give time-outs before the request is read, before the answer and within it, and connections that break."""
    faults = ("deaf", "silent", "stall", "reset", "late", "lost")
    return tuple(
        Case(
            name=f"{fault} at call {call + 1}" if call else fault,
            fault=(call, Answer(202, b"{}" * 10, fault=fault)),
            retried=True,
            code=_CODES.get(fault, "timeout"),
            slow=fault not in _CODES,
        )
        for fault in faults
        for call in range(calls)
    )


AWAY = (Case(name="nobody listens", retried=True, code="network", words="cannot connect"),)


def echoes(*secrets: str) -> tuple[Case, ...]:
    """Give answers that hold what was sent."""
    planted = " ".join(secrets)
    found = [
        Answer(400, f"Authorization: Bearer {planted}".encode()),
        Answer(500, f"{planted} {'x' * 390} {planted}".encode()),
        Answer(429, b"", {"Retry-After": planted, "Location": planted}),
        of_json(400, {"message": f"bad key {planted}", "error": planted, "errors": [*secrets]}),
        of_json(401, {"ok": False, "error": f"bad {planted}", "code": planted}),
        of_json(503, {"ok": False, "error": {"message": planted}}),
        Answer(302, b"", {"Location": f"http://127.0.0.1:1/{planted}"}),
        Answer(fault="reset"),
    ]
    retried = (False, True, True, False, False, True, False, True)
    return tuple(
        Case(name=f"echo {place}", fault=answer, retried=again)
        for place, (answer, again) in enumerate(zip(found, retried, strict=True))
    )


PASSING = Answer(503, b"later")
