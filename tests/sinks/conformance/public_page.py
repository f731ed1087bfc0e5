"""The public page: Statuspage, with incidents proposed and with incidents posted."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from sinks.statuspage import Statuspage, StatuspageOptions
from tests.fakes.clock import ManualClock
from tests.fakes.scripted import Answer, of_json
from tests.fakes.statuspage import API_KEY, COMPONENTS, PAGE, FakeStatuspage
from tests.sinks.conformance.entry import Case, Entry, There, Told, to
from tests.sinks.conformance.over_http import AWAY, PASSING, answers, breaks, echoes, serving, waits

_TOO_MANY = 420  # Statuspage's own
# The suite tells of these two rules alone.
_RULES = {COMPONENTS["api"]: "high_error_rate", COMPONENTS["database"]: "slow_database"}


def _opened(incidents: str) -> Callable[[pytest.FixtureRequest], AbstractContextManager[There]]:
    def opened(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
        del request
        page = FakeStatuspage()
        given = {"api_key": API_KEY, "page": PAGE, "components": COMPONENTS, "url": page.api_url}
        return serving(
            page,
            StatuspageOptions(**given, incidents=incidents, details=True),
            told=lambda: _components(page) if incidents == "propose" else _incidents(page),
            shown=lambda: _shown(page),
            wrong=lambda: _wrong(page, incidents),
        )

    return opened


def _components(page: FakeStatuspage) -> list[Told]:
    return [Told(_RULES[name], "resolved" if status == "operational" else "firing") for name, status in page.changes]


def _incidents(page: FakeStatuspage) -> list[Told]:
    about = {each["id"]: _RULES[each["component_ids"][0]] for each in page.incidents}
    return [Told(about[name], "resolved" if status == "resolved" else "firing") for name, status in page.posted]


def _shown(page: FakeStatuspage) -> str:
    words = [word for each in page.incidents for word in (each["name"], *each["updates"])]
    return "\n".join([*words, *(status for _, status in page.changes)])


def _wrong(page: FakeStatuspage, incidents: str) -> list[str]:
    """Find markup in public, mails to subscribers, and incidents that nobody asked for."""
    words = [word for each in page.incidents for word in (each["name"], *each["updates"])]
    found = [word for word in words if "<" in word or not word.replace("\n\n", "").isprintable()]
    if incidents == "propose" and page.incidents:
        found.append("posted by itself")
    return found + page.mailed


def _false_success() -> tuple[Case, ...]:
    bodies = (b"<html>proxy</html>", b"[]", b"{}", b'{"status": 7}', b"", b'{"ok": false}')
    return tuple(
        Case(name=body.decode() or "nothing", fault=Answer(200, body), retried=True, code="no_json") for body in bodies
    )


PROPOSING = Entry(
    name="statuspage proposing",
    kind="statuspage",
    open=_opened("propose"),
    secrets=(API_KEY,),
    answers=answers(
        Case(name="another key", change=to(api_key="planted-wrong"), retried=False, words="HTTP 401: the API key is refused"),
        Case(name="another page", change=to(page="gone"), retried=False, words="HTTP 404"),
        retried=(_TOO_MANY,),
        calls=2,
    ),
    waits=waits(_TOO_MANY),
    breaks=breaks(2),
    away=AWAY,
    false_success=_false_success(),
    echoes=(*echoes(API_KEY), Case(name="echo too many", fault=of_json(_TOO_MANY, {"error": API_KEY}), retried=True)),
    passing=PASSING,
    repeats=1,
    injections=("<script>alert(1)</script>", '<a href="https://evil.example">log in</a>', "\x1b[31m"),
    reads=("major_outage",),
    shows_logs=False,
    moved=to(map={"api": ("another_rule",)}, incidents="auto"),
    build=lambda name, options: Statuspage(name, options, ManualClock()),  # it keeps below 60 calls a minute by itself
)

POSTING = dataclasses.replace(
    PROPOSING,
    name="statuspage posting",
    open=_opened("auto"),
    answers=answers(retried=(_TOO_MANY,), calls=4),
    breaks=breaks(4),
    false_success=(
        *_false_success(),
        Case(name="no list of incidents", fault=(2, Answer(200, b'{"error": "no"}')), retried=True, code="no_json"),
    ),
    reads=("Problems with api", "high_error_rate on api.example.com", "0.0731", "major_outage"),
    shows_logs=True,
    moved=to(map={"api": ("another_rule",)}, incidents="propose"),
)
