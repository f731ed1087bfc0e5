"""Slack: an incoming webhook, or the Web API with a token (one message an episode, edited, with a thread).

Guarantee: at-least-once; an answer that got lost posts twice, Slack knows no idempotency key. Limits and
escaping follow Slack's reference of message payloads and of blocks.

Why no colour bar: it needs attachments, whose blocks cannot be edited alone; a coloured circle opens the
title instead.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.chat_words import context, evidence, facts, headline
from sinks.http import TOO_MANY_REQUESTS, Answer, HttpClient, retry_after, url_secrets
from sinks.notification import DeliveryError, Notification, Pace
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems, text_lines
from sinks.runbook import Runbook, dashboard_of, runbook_of

PACE = Pace(per_second=1.0, burst=5)
# 50 blocks, 10 000 characters over all: header, text, ten fields, evidence with the runbook, and context stay below.
_HEADER, _TEXT, _FIELD, _FIELDS, _EVIDENCE, _CONTEXT = 150, 3000, 450, 10, 1800, 300
_LINK, _STEPS = 600, 700
_FALLBACK = 3000
_COSTS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SEVERITIES = ("critical", "warning")
_QUIET = frozenset({"resolved", "forgotten", "rule_removed", "de-escalated"})
_CANNOT_EDIT = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long", "is_inactive"})
_NO_THREAD = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message"})
_PASSING = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_HINTS = {
    "channel_not_found": "no such channel, or the app is not in it",
    "not_in_channel": "invite the app to the channel",
    "is_archived": "the channel is archived",
    "channel_is_archived": "the channel is archived",
    "invalid_auth": "the token is refused",
    "token_revoked": "the token was revoked",
    "invalid_token": "the webhook is refused",
    "missing_scope": "the app needs the scope chat:write",
    "no_service": "the webhook was removed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackOptions:
    """Options of a Slack channel: a webhook or a token."""

    webhook_url: str = field(default="", repr=False, metadata={"secret": True, "help": "incoming webhook"})
    token: str = field(default="", repr=False, metadata={"secret": True, "help": "bot token with chat:write"})
    channels: dict[str, str] = field(
        default_factory=dict,
        metadata={"help": "channel by severity (critical, warning); a webhook has its own"},
    )
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    api_url: str = field(default="https://slack.com/api", metadata={"help": "Web API"})
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if bool(self.webhook_url) == bool(self.token):
            yield "webhook_url", "give either webhook_url or token"
        if self.webhook_url and not re.match(r"https?://[^/\s]", self.webhook_url):
            yield "webhook_url", "is not an http:// or https:// URL"
        if not re.match(r"https?://[^/\s]", self.api_url):
            yield "api_url", "is not an http:// or https:// URL"
        if self.token and not self.channels:
            yield (
                "channels",
                'a token needs channels, e.g. { critical = "#alerts-critical", warning = "#alerts" }',
            )
        for severity in self.channels:
            if severity not in _SEVERITIES:
                yield "channels", f"{severity!r} is not one of {', '.join(_SEVERITIES)}"
        yield from template_problems(self)


class SlackWebhook:
    """Every notification is a message of its own: a webhook gives nothing to edit."""

    def __init__(self, name: str, options: SlackOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._url = options.webhook_url
        self._words = OwnWords(name, options)
        self._http = HttpClient(name, secrets=url_secrets(options.webhook_url), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Post it."""
        content = orjson.dumps(message(self._words.reworded(notification)))
        answer = self._http.request("POST", self._url, content=content, headers=_JSON)
        said = answer.text
        if answer.ok and said == "ok":
            return memory
        if answer.ok:
            problem = f"HTTP {answer.status}, but the body is not ok: {said}"
            raise self._http.error(problem, retryable=False, code="not_ok")
        raise _refused(self._http, answer, said)


class SlackApi:
    """One message an episode and channel: repeats and the resolve edit it and reply in its thread."""

    def __init__(self, name: str, options: SlackOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._options = options
        self._words = OwnWords(name, options)
        self._headers = {**_JSON, "Authorization": f"Bearer {options.token}"}
        self._http = HttpClient(name, secrets=(options.token,), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Post, or edit and reply; progress goes into `memory` call by call, so that a retry repeats none."""
        notification = self._words.reworded(notification)
        known = [name.removesuffix("|ts") for name in memory if name.endswith("|ts")]
        target = self._target(notification.severity)
        if not known or (target not in known and notification.reason not in _QUIET):
            self._post(target, notification, memory)
        for each in known:
            if memory.get(f"{each}|said") != notification.id:
                self._follow(each, notification, memory)
        return memory

    def _target(self, severity: str) -> str:
        channels = self._options.channels
        return channels.get(severity) or next(channels[each] for each in _SEVERITIES if each in channels)

    def _post(self, target: str, notification: Notification, memory: dict[str, str]) -> None:
        posted = self._call("chat.postMessage", {"channel": target, **message(notification)})
        memory[f"{target}|channel"] = str(posted.get("channel") or target)
        memory[f"{target}|ts"] = str(posted.get("ts", ""))
        memory[f"{target}|said"] = notification.id

    def _follow(self, target: str, notification: Notification, memory: dict[str, str]) -> None:
        place = {"channel": memory[f"{target}|channel"]}
        edited = memory.get(f"{target}|edited", "")
        if notification.id not in edited:
            edited = memory[f"{target}|edited"] = self._edit(place, memory[f"{target}|ts"], notification)
        body = message(notification) if edited.startswith("!") else reply(notification)
        loud = notification.severity == "critical" and notification.reason in {"escalated", "resolved"}
        thread = {"thread_ts": memory[f"{target}|ts"], "reply_broadcast": loud}
        try:
            self._call("chat.postMessage", {**place, **body, **thread})
        except DeliveryError as error:
            if error.code not in _NO_THREAD:
                raise
            self._post(target, notification, memory)
        memory[f"{target}|said"] = notification.id

    def _edit(self, place: dict[str, str], ts: str, notification: Notification) -> str:
        """Edit the message; gives the notification's id, behind a `!` where Slack does not let us edit."""
        try:
            self._call("chat.update", {**place, **message(notification), "ts": ts})
        except DeliveryError as error:
            if error.code not in _CANNOT_EDIT:
                raise
            return f"!{notification.id}"
        return notification.id

    def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._options.api_url.rstrip('/')}/{method}"
        answer = self._http.request("POST", url, content=orjson.dumps(body), headers=self._headers)
        said = answer.fields
        if answer.ok and said.get("ok") is True:
            return said
        code = str(said.get("error", ""))
        if not answer.ok:
            raise _refused(self._http, answer, code)
        if not code:
            raise self._http.error(f"{method}: the answer is not Slack's", retryable=True, code="no_json")
        wait = retry_after(answer.headers.get("retry-after"), time.time())
        problem = f"{method}: {_hinted(code)}"
        raise self._http.error(problem, retryable=code in _PASSING, retry_after=wait, code=code)


_JSON = {"Content-Type": "application/json; charset=utf-8"}


def build(name: str, options: SlackOptions) -> SlackWebhook | SlackApi:
    """Make the channel."""
    return SlackApi(name, options) if options.token else SlackWebhook(name, options)


def message(notification: Notification) -> dict[str, Any]:
    """Give the message: blocks, and the text that phones and screen readers show."""
    title = headline(notification)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(title, _HEADER)}]
    fields = [f"{name}\n{value}" for name, value in facts(notification).items()][:_FIELDS]
    text = "\n".join(text_lines(notification.text))
    if text:
        blocks.append({"type": "section", "text": _plain(text, _TEXT)})
    guide = [*_runbook(runbook_of(notification)), *_link("Dashboard", dashboard_of(notification))]
    blocks += guide
    blocks.append({"type": "section", "fields": [_plain(each, _FIELD) for each in fields]})
    shown, room = "\n".join(evidence(notification)), _EVIDENCE - sum(len(each["text"]["text"]) for each in guide)
    if shown:
        blocks.append({"type": "section", "text": _plain(shown, room)})
    blocks.append({"type": "context", "elements": [_plain(context(notification), _CONTEXT)]})
    return {"blocks": blocks, **_text(title)}


def _runbook(runbook: Runbook | None) -> Iterator[dict[str, Any]]:
    """Give the link and the steps."""
    if runbook is None:
        return
    link = list(_link("Runbook", runbook.address))
    yield from link or [{"type": "section", "text": _plain(f"Runbook: {runbook.link}", _LINK)}]
    if runbook.steps:
        yield {"type": "section", "text": _plain("\n".join(("First steps", *runbook.numbered())), _STEPS)}


def _link(name: str, address: str) -> Iterator[dict[str, Any]]:
    """Give a link, the one thing here that is markup, where there is an address of no great length."""
    escaped = _escape(address)
    if 0 < len(escaped) <= _LINK:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": f"<{escaped}|{name}>", "verbatim": True}}


def reply(notification: Notification) -> dict[str, Any]:
    """Give the short message for the thread."""
    said = notification.reason
    return _text(headline(notification) if said in ("resolved", "fired and resolved") else f"{headline(notification)} ({said})")


def fit(text: str, limit: int) -> str:
    """Cut a text to have at most `limit` characters once escaped, and escape it; entities stay whole."""
    size, cut = 0, len(text)
    room = limit - 1  # for the ellipsis
    for place, character in enumerate(text):
        size += len(_COSTS.get(character, character))
        if size <= room:
            cut = place + 1
        if size > limit:
            return _escape(text[:cut]) + "\N{HORIZONTAL ELLIPSIS}"
    return _escape(text)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": fit(text, limit), "emoji": False}


def _text(title: str) -> dict[str, Any]:
    return {"text": fit(title, _FALLBACK), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _refused(http: HttpClient, answer: Answer, code: str) -> DeliveryError:
    error = http.refused(answer, _hinted(code) if code else "", code=code)
    if answer.status == TOO_MANY_REQUESTS and error.retry_after is None:
        error.retry_after = retry_after(str(answer.fields.get("retry_after", "")), time.time())
    return error


def _hinted(code: str) -> str:
    return f"{code} ({_HINTS[code]})" if code in _HINTS else code
