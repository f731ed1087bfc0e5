"""Machines: Alertmanager, a webhook, PagerDuty, Sentry: what takes alerts as data."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from sinks.alertmanager import AlertmanagerOptions
from sinks.pagerduty import PagerDutyOptions
from sinks.sentry import SentryOptions
from sinks.webhook import WebhookOptions
from tests.fakes import sentry, webhook
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer, of_json
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There, Told, to
from tests.sinks.conformance.over_http import AWAY, PASSING, answers, breaks, echoes, serving, waits

_OTHER_KEY = "planted-other-routing-key-000000"
_TOKEN, _HEADER = "planted-bearer", "Basic planted-header"
_ENDED = {"resolved", "forgotten", "rule_removed"}
_AS_DATA = "strings of JSON reach it as data, and nothing of the logs goes into its headers"


def _alertmanager(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = FakeAlertmanager(authorization=f"Bearer {_TOKEN}")
    return serving(
        server,
        AlertmanagerOptions(urls=(f"{server.url}/prefix",), token=_TOKEN),
        told=lambda: [
            Told(each["labels"]["alertname"], _status_of(each), each["labels"].get("team", "")) for each in server.changed
        ],
        shown=lambda: "\n".join([*server.changed[-1]["labels"].values(), *server.changed[-1]["annotations"].values()]),
        wrong=lambda: server.wrong,
    )


def _status_of(alert: dict[str, Any]) -> str:
    return "resolved" if alert["annotations"]["reason"] in _ENDED else "firing"


def _webhook(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = webhook.FakeWebhook()
    return serving(
        server,
        WebhookOptions(url=server.hook_url, secrets=(webhook.SECRET,), headers={"Authorization": _HEADER}, allow_private=True),
        told=lambda: [Told(body["commonLabels"]["alertname"], body["status"]) for body in server.received.values()],
        shown=lambda: "\n".join(list(server.received.values())[-1]["commonAnnotations"].values()),
        wrong=lambda: server.wrong,
    )


def _pagerduty(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = FakePagerDuty()
    server.routing_keys.add(_OTHER_KEY)
    states = {"trigger": "firing", "resolve": "resolved"}
    return serving(
        server,
        PagerDutyOptions(routing_key=ROUTING_KEY, url=server.enqueue_url),
        told=lambda: [Told(dedup.split("/")[-2], states[action], key) for key, dedup, action in server.log],
        shown=lambda: str(server.seen[-1].json["payload"]),
        wrong=lambda: [f"dropped {each}" for each in server.dropped],
    )


def _sentry(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = sentry.FakeSentry()
    return serving(
        server,
        SentryOptions(dsn=server.dsn),
        told=lambda: [Told(each["tags"]["rule"], _of_level(each["level"])) for each in server.events.values()],
        shown=lambda: _event_text(list(server.events.values())[-1]),
        wrong=lambda: server.wrong,
    )


def _of_level(level: str) -> str:
    return "resolved" if level == "info" else "firing"


def _event_text(event: dict[str, Any]) -> str:
    rows = [value for each in event["contexts"].values() if isinstance(each, dict) for value in each.values()]
    return "\n".join(map(str, [event["message"], *event["tags"].values(), *rows]))


def _of_another_key(options: Any) -> Any:
    return replace(options, dsn=options.dsn.replace(sentry.KEY, "planted-wrong"))


ALERTMANAGER = Entry(
    name="alertmanager",
    kind="alertmanager",
    open=_alertmanager,
    secrets=(_TOKEN,),
    answers=answers(Case(name="another token", change=to(token="planted-wrong"), retried=False, words="HTTP 401")),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant("API v2 refuses a request as a whole, by the status of its answer"),
    echoes=echoes(_TOKEN),
    passing=PASSING,
    repeats=1,
    injections=("a-b\r\n", '{severity="none"}', "{{ .Labels }}", "<script>"),
    reads=("high_error_rate", "high_error_rate on api.example.com", "0.0731"),
    moved=NotMeant("who changes `urls` has another cluster, which never heard of the alert; in the old one it expires"),
)

WEBHOOK = Entry(
    name="webhook",
    kind="webhook",
    open=_webhook,
    secrets=(webhook.HOOK, webhook.SECRET, webhook.SECRET.removeprefix("whsec_"), _HEADER, "planted-header"),
    answers=answers(Case(name="another secret", change=to(secrets=(webhook.SECOND,)), retried=False, words="HTTP 401")),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant("any 2xx is success, whatever the body says: receivers differ"),
    echoes=echoes(webhook.HOOK, webhook.SECRET, webhook.SECRET.removeprefix("whsec_"), _HEADER),
    passing=PASSING,
    repeats=1,
    injections=("\r\nwebhook-id: forged", "\r\n\r\n{}", "{{ .Labels }}"),
    reads=("high_error_rate on api.example.com", "0.0731"),
    moved=to(secrets=(webhook.SECOND, webhook.SECRET)),
)

PAGERDUTY = Entry(
    name="pagerduty",
    kind="pagerduty",
    open=_pagerduty,
    secrets=(ROUTING_KEY,),
    answers=answers(
        Case(name="another key", change=to(routing_key="planted-wrong"), retried=False, words="HTTP 400"),
    ),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant("Events API v2 refuses by status; what it drops behind its door it tells nobody"),
    echoes=echoes(ROUTING_KEY),
    passing=PASSING,
    repeats=1,
    injections=NotMeant(_AS_DATA),
    reads=(
        "high_error_rate on api.example.com",
        "0.0731",
        "path /api/checkout contributes 71 %",
        "8f1a2b3c4d5e6f70",
    ),
    moved=to(routing_key=_OTHER_KEY),
)

SENTRY = Entry(
    name="sentry",
    kind="sentry",
    open=_sentry,
    secrets=(sentry.KEY,),
    answers=answers(
        Case(name="another key", change=_of_another_key, retried=False, words="bad sentry DSN public key"),
    ),
    waits=(
        *waits(),
        *(
            Case(name=name, fault=Answer(429, b"", {"X-Sentry-Rate-Limits": header}), retried=True, wait=wait)
            for name, header, wait in (
                ("a limit on errors", "30:error:organization", (25.0, 30.0)),
                ("two limits", "30:transaction;error:key:quota, 5:session:key", (25.0, 30.0)),
                ("a limit on all, of a day", "86400::organization", (900.0, 900.0)),
                ("a limit on something else", "30:transaction:key", None),
                ("rubbish", "rubbish,:error:,-1:error:key", None),
            )
        ),
    ),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant("Sentry's door refuses by status; what is filtered behind it is told to nobody"),
    echoes=(*echoes(sentry.KEY), Case(name="echo in words", fault=of_json(403, {"detail": sentry.KEY}), retried=False)),
    passing=PASSING,
    repeats=1,
    injections=("line\r\nbreak", "\x1b[31m", "%s {{}} {0}"),
    reads=(
        "high_error_rate on api.example.com",
        "0.0731",
        "path /api/checkout contributes 71 %",
        "8f1a2b3c4d5e6f70",
    ),
    moved=NotMeant("a DSN is a project: with another one the issue of the alert is elsewhere, which a person chose"),
)
