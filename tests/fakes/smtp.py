"""A real mail server on this machine, with TLS, whose every answer can be scripted."""

import asyncio
import email
import email.policy
import socket
import ssl
import struct
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.ports import free_port

USER, PASSWORD = "alerts@example.com", "planted-pässword"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close sends RST
_BYTE_S = 0.05
_HANG_UPS = 1000  # a second and more
_TAKEN = "taken, "


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key and its certificate, which is its own authority."""

    key: Path
    file: Path

    def context(self) -> ssl.SSLContext:
        """Give the server's side."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file, self.key)
        return context


def certificate(folder: Path, host: str) -> Certificate:
    """Make a certificate for a host name."""
    made = Certificate(folder / f"{host}.key", folder / f"{host}.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@dataclass(frozen=True, slots=True)
class Received:
    """A mail as it was taken."""

    sender: str
    to: tuple[str, ...]
    raw: bytes

    @property
    def mail(self) -> EmailMessage:
        """The mail, read."""
        read = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(read, EmailMessage)
        return read

    def part(self, kind: str) -> str:
        """Give the text of the part `plain` or `html`."""
        body = self.mail.get_body((kind,))
        assert body is not None
        content: str = body.get_content()
        return content


class FakeSmtp:
    """Takes mail. `script` holds answers by step, taken one a time while they last.

    A step is a verb, with its argument or without: "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT bob@example.com",
    "DATA", "end" (of the mail), "QUIT". Behind a 421 the server hangs up. Instead of an answer there may be a fault: "silent",
    "close", "reset", or "drip" for an answer that never ends. At the end of a mail "taken, FAULT" takes the mail first.
    """

    def __init__(
        self,
        known: Certificate,
        *,
        security: str = "starttls",
        utf8: bool = True,
        size: int = 1 << 20,
        login: str = "PLAIN LOGIN",
    ) -> None:
        """Serve on a free port of 127.0.0.1."""
        self.script: dict[str, list[str]] = {}
        self.received: list[Received] = []
        self.heard: list[str] = []
        self.talking: set[_Conversation] = set()
        context = known.context()
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            server_hostname="mail.test",
            data_size_limit=size,
            enable_SMTPUTF8=utf8,
            tls_context=context if security == "starttls" else None,
            ssl_context=context if security == "tls" else None,
            auth_require_tls=security == "starttls",
            authenticator=_login,
            auth_exclude_mechanism={"PLAIN", "LOGIN"} - set(login.split()),
        )
        self.port = int(self._controller.port)

    def __enter__(self) -> Self:
        """Serve."""
        self._controller.start()
        self.heard.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Hang up on everybody, and stop serving."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._controller.loop).result(10)
        self._controller.stop()

    async def _hang_up(self) -> None:
        # Who is cut off within a TLS handshake hears nothing of it from asyncio, and is in `talking` for good.
        rounds = iter(range(_HANG_UPS))
        while self.talking and next(rounds, None) is not None:
            for each in tuple(self.talking):
                each.hang_up()
            await asyncio.sleep(0.001)

    def answer(self, step: str, argument: str) -> str | None:
        """Give what the script says to a step, if anything."""
        for key in (f"{step} {argument}".strip(), step):
            if self.script.get(key):
                return self.script[key].pop(0)
        return None

    async def handle_DATA(self, server: "_Conversation", session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's
        """Take a mail, as scripted."""
        del session
        said = self.answer("end", "")
        assert isinstance(envelope.original_content, bytes)
        if said is None or said.startswith(_TAKEN):
            self.received.append(Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.original_content))
        if said is None:
            return "250 OK"
        await server.say(said.removeprefix(_TAKEN))
        await asyncio.sleep(3600)
        return ""


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Conversation(self.handler, **self.SMTP_kwargs)


class _Conversation(SMTP):
    """Asks the script before each answer."""

    def __init__(self, fake: FakeSmtp, **options: Any) -> None:
        self._fake = fake
        super().__init__(fake, **options)
        self._smtp_methods = {verb: self._scripted(verb, method) for verb, method in self._smtp_methods.items()}

    def _scripted(self, verb: str, method: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def reply(argument: str | None) -> None:
            self._fake.heard.append(f"{verb} {argument or ''}".strip())
            said = self._fake.answer(verb, _address(argument or ""))
            await (method(argument) if said is None else self.say(said))

        return reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._fake.talking.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._fake.talking.discard(self)

    def hang_up(self) -> None:
        for each in (self.transport, self._original_transport):
            if isinstance(each, asyncio.Transport):
                each.abort()

    async def push(self, status: Any) -> None:
        said = self._fake.answer("greeting", "") if str(status).startswith("220 mail.test") else None
        if said is None:
            await super().push(status)
        else:
            await self.say(said)

    async def say(self, said: str) -> None:
        """Answer, or break the conversation."""
        assert isinstance(self.transport, asyncio.Transport)
        if said == "silent":
            await asyncio.sleep(3600)
        elif said == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        elif said == "close":
            self.transport.close()
        elif said == "drip":
            while self.transport is not None:
                self.transport.write(b"2")
                await asyncio.sleep(_BYTE_S)
        else:
            await super().push(said)
            if said.startswith("421"):
                self.transport.close()


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    del server, session, envelope, mechanism
    right = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


def _address(argument: str) -> str:
    """Give the address of `TO:<a@example.com> SIZE=1`, else nothing: scripts name recipients only."""
    return argument.partition("<")[2].partition(">")[0]
