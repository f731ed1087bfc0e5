"""A workflow of Power Automate that posts adaptive cards to Teams, with the checks of both."""

import json
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

HOOK = "/workflows/planted-workflow-id/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers&sig=planted-signature"
_LIMIT = 28_000
_COLOURS = {"Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"}
_RUN = {"type", "text", "size", "weight", "color", "isSubtle", "fontType"}
_BLOCK = {"type", "inlines", "spacing"}


class FakeTeams(ScriptedServer):
    """Keeps the cards; `wrong` lists what no client should send."""

    def __init__(self, port: int = 0) -> None:
        """Start without cards."""
        super().__init__(port)
        self.cards: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    @property
    def webhook_url(self) -> str:
        """The secret URL of the workflow."""
        return f"{self.url}{HOOK}"

    def reply(self, seen: Seen) -> Answer:
        """Answer as a workflow does: 202 before anything is posted."""
        if seen.path != HOOK:
            return of_json(401, {"error": {"code": "AuthorizationFailed"}})
        try:
            body = seen.json
        except json.JSONDecodeError:
            return of_json(400, {"error": {"code": "InvalidRequestContent"}})
        problems = _problems(body, seen.body)
        self.wrong += problems
        if problems:
            return of_json(400, {"error": {"code": "TriggerInputSchemaMismatch", "message": "; ".join(problems)}})
        self.cards.append(body["attachments"][0]["content"])
        return Answer(202)


def shown(card: dict[str, Any]) -> str:
    """Give a card as people see it, a block a line, buttons at the end."""
    lines = ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]
    return "\n".join([*lines, *(f"[{each['title']}] {each['url']}" for each in card.get("actions", []))])


def _problems(body: dict[str, Any], raw: bytes) -> list[str]:
    problems = [] if len(raw) <= _LIMIT else [f"{len(raw)} bytes"]
    attachments = body.get("attachments", [])
    if set(body) != {"type", "attachments"} or body["type"] != "message" or len(attachments) != 1:
        return ["no message with one attachment"]
    (attachment,) = attachments
    if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" or attachment["contentUrl"] is not None:
        problems.append("no card")
    card = attachment["content"]
    if (card["type"], card["version"], card["$schema"]) != (
        *("AdaptiveCard", "1.4"),
        "http://adaptivecards.io/schemas/adaptive-card.json",
    ):
        problems.append("no adaptive card 1.4")
    actions = [(each["type"], each["url"].partition("://")[0]) for each in card.get("actions", [])]
    if len(actions) > 6 or not set(actions) <= {("Action.OpenUrl", "http"), ("Action.OpenUrl", "https")}:
        problems.append("too many actions, or one that opens no address")
    return [*problems, *(problem for block in card["body"] for problem in _of_block(block))]


def _of_block(block: dict[str, Any]) -> list[str]:
    """Check a block: text blocks and fact sets read Markdown, so only rich text is right."""
    problems = [] if block["type"] == "RichTextBlock" and set(block) <= _BLOCK else ["no rich text"]
    for run in block.get("inlines", []):
        if run["type"] != "TextRun" or not set(run) <= _RUN:
            problems.append("no text run")
        if not run["text"].strip() or not run["text"].isprintable():
            problems.append(f"empty or not printable: {run['text']!r}")
        if "{{" in run["text"]:
            problems.append("what cards compute")
        if run.get("color", "Default") not in _COLOURS:
            problems.append("no colour")
    return problems
