"""SMTP for what leaves as mail: one mail a connection, TLS unless told otherwise, and errors that hold no secret.

Whether an answer is worth a retry is decided here: 4xx and trouble with the network or the certificate are (one that
expired gets renewed), 5xx and a server without STARTTLS are not. Steps and codes follow RFC 5321, 3207 and 4954.

Why not smtplib's `sendmail`: after a 421 it calls recipients accepted that never got the mail. Why not its `login`: it
offers a refused password again by each mechanism, and knows ASCII passwords only.
"""

import base64
import contextlib
import functools
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sinks.http import CONNECT_S, scrub
from sinks.notification import DeliveryError, one_line

PORTS = {"starttls": 587, "tls": 465, "none": 25}
_REPLIES = 5  # a conversation may last as long as this many of the slowest replies
_QUIT_S = 2.0
_SHOWN, _ANSWER = 4000, 200
_OK, _MORE = 250, 354
_SERVICE_ENDS = 421
_NO_UTF8 = 553


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail is handed in; `security` is a key of PORTS."""

    host: str
    port: int
    security: str
    user: str
    password: str = field(repr=False)
    ca_file: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered, as one line without secrets."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether it is a 2xx."""
        return self.code // 100 == _OK // 100

    @property
    def final(self) -> bool:
        """Whether it is a 5xx: asking again will not help."""
        return self.code // 100 == 5  # noqa: PLR2004  5xx

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class SmtpClient:
    """A client of one server: `name` opens every error; the password is blotted out of them in each form it is sent in."""

    def __init__(self, name: str, server: SmtpServer) -> None:
        """Open no connection yet."""
        self._name = name
        self._server = server
        login = (server.password, f"\0{server.user}\0{server.password}")
        self._secrets = tuple(form for each in login if server.password for form in (each, _encoded(each)))

    def error(self, problem: str, *, retryable: bool, code: str = "") -> DeliveryError:
        """Make the error of this server, without secrets."""
        place = f"{self._server.host}:{self._server.port}"
        # Cut after scrubbing: half a secret would not be found.
        text = f"{self._name}: {place}: {scrub(problem, self._secrets)[:_SHOWN]}"
        return DeliveryError(text, retryable=retryable, code=code)

    def deliver(self, sender: str, recipients: Sequence[str], mail: bytes, *, utf8: bool = False) -> dict[str, Reply]:
        """Send one mail; gives the answer for each recipient. Raises `DeliveryError` where it concerns all of them.

        `utf8` says that an address is not ASCII (RFC 6531).
        """
        step = _Step()
        with self._trouble(step), self._connected(step) as raw, _Line(raw, self._server, step) as line:
            if self._server.user:
                step.doing = "logging in"
                self._log_in(line)
            if utf8 and not line.has_extn("smtputf8"):
                return dict.fromkeys(recipients, Reply(_NO_UTF8, "the server takes ASCII addresses only (no SMTPUTF8)"))
            step.doing = "MAIL FROM"
            size = [f"SIZE={len(mail)}"] if line.has_extn("size") else []
            self._expect(_OK, line.mail(sender, [*size, "SMTPUTF8"] if utf8 else size))
            return self._hand_in(line, step, recipients, mail)

    def _hand_in(self, line: "_Line", step: "_Step", recipients: Sequence[str], mail: bytes) -> dict[str, Reply]:
        replies = {}
        for recipient in recipients:
            step.doing = f"RCPT TO {recipient}"
            replies[recipient] = self._reply(line.rcpt(recipient))
            if replies[recipient].code == _SERVICE_ENDS:
                raise smtplib.SMTPResponseException(_SERVICE_ENDS, replies[recipient].text)
        if any(reply.accepted for reply in replies.values()):
            step.doing = "DATA"
            self._expect(_MORE, line.docmd("DATA"))
            step.doing, step.sent = "the end of the mail", True
            self._expect(_OK, line.finish(mail))
        return replies

    def _log_in(self, line: "_Line") -> None:
        """Send the password once: to ask again by another mechanism would count as a second wrong attempt."""
        user, password = self._server.user, self._server.password
        offered = line.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            steps = [f"AUTH PLAIN {_encoded(f'{chr(0)}{user}{chr(0)}{password}')}"]
        elif "LOGIN" in offered:
            steps = ["AUTH LOGIN", _encoded(user), _encoded(password)]
        else:
            raise self.error("offers neither AUTH PLAIN nor AUTH LOGIN", retryable=False, code="auth")
        for last, step in enumerate(steps, 1 - len(steps)):
            self._expect(_MORE if last else _OK, line.docmd(step))

    def _expect(self, code: int, got: tuple[int, bytes]) -> None:
        if got[0] // 100 != code // 100:
            raise smtplib.SMTPResponseException(*got)

    def _reply(self, got: tuple[int, bytes | str]) -> Reply:
        code, said = got
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return Reply(code, scrub(one_line(text), self._secrets)[:_ANSWER])

    @contextlib.contextmanager
    def _connected(self, step: "_Step") -> Iterator[socket.socket]:
        server = self._server
        raw = socket.create_connection((server.host, server.port), min(CONNECT_S, server.timeout_s))
        raw.settimeout(server.timeout_s)
        with raw, _deadline(raw, _REPLIES * server.timeout_s, step):
            yield raw

    @contextlib.contextmanager
    def _trouble(self, step: "_Step") -> Iterator[None]:
        """Turn smtplib's and the system's errors into ours; `from None`, because theirs may hold what was sent."""
        try:
            yield
        except smtplib.SMTPNotSupportedError as error:
            raise self.error(str(error), retryable=False, code="starttls") from None
        except smtplib.SMTPResponseException as error:
            reply = self._reply((error.smtp_code, error.smtp_error))
            said = f"{step.doing}: {reply}" if reply.code > 0 else f"{step.doing}: the answer is not SMTP"
            raise self.error(said, retryable=not reply.final, code=str(reply.code)) from None
        except (smtplib.SMTPException, OSError) as error:
            problem, code = ("took too long", "timeout") if step.late else _reason(error)
            perhaps = ", so the mail may have arrived" if step.sent else ""
            raise self.error(f"{step.doing}: {problem}{perhaps}", retryable=True, code=code) from None


@dataclass(slots=True)
class _Step:
    """How far a conversation is."""

    doing: str = "connecting"
    sent: bool = False
    late: bool = False


class _Line(smtplib.SMTP):
    """A conversation over a socket that is there already, up to the encryption; smtplib's own cannot be broken in time."""

    def __init__(self, raw: socket.socket, server: SmtpServer, step: _Step) -> None:
        self._raw = raw
        step.doing = f"reading {server.ca_file or 'certificates'}"
        context = None if server.security == "none" else _tls(server.ca_file)
        if server.security == "tls" and context is not None:
            step.doing = "TLS"
            self._raw = context.wrap_socket(raw, server_hostname=server.host)
        step.doing = "the greeting"
        super().__init__(server.host, server.port, timeout=server.timeout_s)
        try:
            self._greet(step, context if server.security == "starttls" else None)
        except BaseException:
            self.close()
            raise

    def _greet(self, step: _Step, context: ssl.SSLContext | None) -> None:
        step.doing = "EHLO"
        self.ehlo_or_helo_if_needed()
        if context is None:
            return
        if not self.has_extn("starttls"):
            message = "the server does not offer STARTTLS, and nothing is sent unencrypted"
            raise smtplib.SMTPNotSupportedError(f'{message}; for TLS from the start: security = "tls"')
        step.doing = "STARTTLS"
        self.starttls(context=context)
        step.doing = "EHLO"
        self.ehlo_or_helo_if_needed()

    def finish(self, mail: bytes) -> tuple[int, bytes]:
        """Send the mail itself and what ends it; lines that begin with a dot get another (RFC 5321 4.5.2)."""
        self.send(b"\r\n".join(b"." + line if line.startswith(b".") else line for line in mail.split(b"\r\n")))
        self.send(b".\r\n" if mail.endswith(b"\r\n") else b"\r\n.\r\n")
        return self.getreply()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._raw

    def __exit__(self, *error: object) -> None:
        """Take leave where all went well; what was accepted stays so, whatever the server says to that."""
        if self.sock is not None and error[0] is None:
            self.sock.settimeout(_QUIT_S)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self.quit()
        self.close()


@contextlib.contextmanager
def _deadline(raw: socket.socket, seconds: float, step: _Step) -> Iterator[None]:
    """Break the connection after `seconds`: each read has a time limit, but a server may send byte by byte."""
    twin = raw.dup()  # still the same connection once TLS has taken over the first socket
    timer = threading.Timer(seconds, _break, (twin, step))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        twin.close()


def _break(twin: socket.socket, step: _Step) -> None:
    step.late = True
    with contextlib.suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)


@functools.lru_cache(8)
def _tls(ca_file: str) -> ssl.SSLContext:
    """Read the certificates once: that takes longer than many a mail."""
    return ssl.create_default_context(cafile=ca_file or None)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _reason(error: BaseException) -> tuple[str, str]:
    """Say what happened, and in one word. smtplib hides the system's error behind its own."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, OSError):
        error = error.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}", "certificate"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'the connection broke'})", "tls"
    if isinstance(error, TimeoutError):
        return "timed out", "timeout"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the server closed the connection", "network"
    said = error.strerror if isinstance(error, OSError) else None
    return one_line(said or type(error).__name__), "network"
