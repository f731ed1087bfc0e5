"""Mail: a server that speaks SMTP over TLS, with its replies of three digits at each step of the conversation."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sinks.email import EmailOptions
from tests.fakes.smtp import PASSWORD, USER, FakeSmtp, Received
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There, Told, to

ANN, BOB = "ann@example.com", "bob@example.com"
_STEPS = ("greeting", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "end")
_LATER = (421, 432, 450, 451, 452, 454, 455, 499)
_NEVER = (500, 501, 502, 503, 521, 530, 535, 550, 552, 554, 571)
_HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "List-Id", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "X-Edgewatch-Rule", "X-Edgewatch-Severity", "X-Edgewatch-Status", "Importance"),
    *("MIME-Version", "Content-Type"),
}


@contextmanager
def _opened(request: pytest.FixtureRequest) -> Iterator[There]:
    certificate = request.getfixturevalue("localhost")
    server = FakeSmtp(certificate)
    options = EmailOptions(
        host="localhost",
        port=server.port,
        user=USER,
        password=PASSWORD,
        ca_file=str(certificate.file),
        from_="edgewatch <alerts@example.com>",
        to=(ANN, BOB),
    )

    def meet(fault: dict[str, str] | None) -> None:
        # Each of the two recipients is refused.
        server.script = {step: [said] * (2 if step == "RCPT" else 1) for step, said in (fault or {}).items()}

    with ExitStack() as stack:
        stack.enter_context(server)
        yield There(
            options=options,
            meet=meet,
            mend=lambda: meet(None),
            leave=stack.close,
            told=lambda: [_told(each) for each in _apart(server.received)],
            shown=lambda: server.received[-1].part("plain") + server.received[-1].part("html"),
            wrong=lambda: [problem for each in server.received for problem in _wrong(each)],
        )


def _apart(received: list[Received]) -> list[Received]:
    """Leave out repeats: what comes again has the Message-ID that it had."""
    return list({each.mail["Message-ID"]: each for each in reversed(received)}.values())[::-1]


def _told(received: Received) -> Told:
    mail = received.mail
    return Told(mail["X-Edgewatch-Rule"], mail["X-Edgewatch-Status"], ", ".join(received.to))


def _wrong(received: Received) -> Iterator[str]:
    """Find headers that are not ours, tags that the page does not have by itself, and control characters."""
    mail = received.mail
    yield from (name for name, value in mail.items() if name not in _HEADERS or not str(value).isprintable())
    html, plain = received.part("html"), received.part("plain")
    yield from (tag for tag in ("<script", '<a href="https://evil', "<img", 'onerror="') if tag in html)
    yield from (f"a control character: {c!r}" for c in set(html + plain) if not c.isprintable() and c not in "\r\n")
    yield from (line for line in plain.splitlines() if line.startswith("Rule ") and not line.endswith(mail["X-Edgewatch-Rule"]))


def _answers() -> Iterator[Case]:
    yield Case(name="another password", change=to(password="planted-wrong"), retried=False, code="535")
    yield Case(name="no TLS", change=to(ca_file=""), retried=True, code="certificate")
    for step in _STEPS:
        for code in (*_LATER, *_NEVER):
            reply = f"{code} 4.7.1 because"
            refused = "refused" if step == "RCPT" and code != 421 else str(code)
            yield Case(name=f"{step} {code}", fault={step: reply}, retried=code in _LATER, code=refused, words=reply)
    yield Case(name="not SMTP", fault={"greeting": "HTTP/1.1 400 Bad Request"}, retried=True, words="not SMTP")


def _breaks() -> Iterator[Case]:
    codes = {"silent": "timeout", "close": "network", "reset": "network"}
    for step in (*_STEPS, "EHLO"):
        for fault, code in codes.items():
            yield Case(name=f"{fault} at {step}", fault={step: fault}, retried=True, code=code, slow=fault == "silent")
    for fault, code in codes.items():
        taken = {"end": f"taken, {fault}"}
        words, slow = "may have arrived", fault == "silent"
        yield Case(name=f"{fault} after the mail", fault=taken, retried=True, code=code, words=words, slow=slow)
    yield Case(name="drip", fault={"MAIL": "drip"}, retried=True, code="timeout", words="took too long", slow=True)


EMAIL = Entry(
    name="email",
    kind="email",
    open=_opened,
    secrets=(PASSWORD,),
    answers=tuple(_answers()),
    waits=NotMeant("no reply of SMTP says when to come again: the back-off decides"),
    breaks=tuple(_breaks()),
    away=(Case(name="nobody listens", retried=True, code="network", words="connecting: Connection refused"),),
    false_success=NotMeant("the code of three digits is the answer, whatever the words behind it say"),
    echoes=tuple(
        Case(name=f"echo at {step}", fault={step: f"{code} wrong: {PASSWORD} {'x' * 150} {PASSWORD}"}, retried=code < 500)
        for step in ("AUTH", "MAIL", "RCPT", "end")
        for code in (454, 535)
    ),
    passing={"MAIL": "451 later"},
    repeats=1,
    injections=(
        *("\r\nBcc: evil@example.com", "\r\n.\r\nQUIT", "=?utf-8?q?=0D=0ABcc:_evil@example.com?=", "\nRule  forged"),
        *("<script>alert(1)</script>", '<a href="https://evil.example">log in</a>', '" onerror="x', "<img src=x>"),
    ),
    reads=(
        "high_error_rate on api.example.com",
        "0.0731",
        "path /api/checkout contributes 71 %",
        "8f1a2b3c4d5e6f70",
    ),
    moved=to(to=("cat@example.com",)),
    patience_ms=300,
)
