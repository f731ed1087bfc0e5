"""Logpush: the HTTP destination of Logpush jobs as an ASGI application: an upload in, Kafka messages out, one answer.

Guarantee: at least once. 200 is said only when Kafka has confirmed every line of the upload, as a record or as a dead letter.
Everything else makes the upload come again: a killed receiver loses nothing that it said 200 for, and repeats what it had
sent on without saying so. Logpush cannot be told which line is bad, so a bad line never refuses an upload.

Source: Cloudflare's documentation of HTTP destinations; what it leaves open (which answers are retried, the spelling of the
validation upload) as receivers in the wild read it.
"""

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from connectors.dead_letters import WHOLE
from connectors.forward import Forwarder, NotTaken, Receipt
from connectors.receive_options import ReceiveOptions
from connectors.sorted_lines import BadLine, LineSorter
from connectors.upload import Upload, UploadRefused
from connectors.upload_counts import CONTENT_TYPE, UploadCounts

PREFIX = "/logpush/"

_log = logging.getLogger(__name__)
_SHOWN_PATH = 80  # characters of a path that is none of ours
_WELL, _WRONG_METHOD, _TOO_SLOW, _GONE = 200, 405, 408, 499  # 499 is never sent: nobody is there to hear it


class ClientGone(Exception):
    """The client went away in the middle of its upload."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the uploads of one dataset go."""

    dataset: str
    topic: str
    sorter: LineSorter


@dataclass(frozen=True, slots=True)
class Taken:
    """What an upload held."""

    records: int = 0
    dead_letters: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a client; `retry` tells it to come again later."""

    status: int
    words: str
    retry: bool = False


@dataclass(slots=True)
class _Visit:
    """One request, as the access log shows it."""

    dataset: str = ""
    body: int = 0
    inflated: int = 0
    reserved: int = 0


class Logpush:
    """The application. `letter` makes the value of a dead letter's message of (dataset, topic, bad line)."""

    def __init__(
        self,
        doors: Mapping[str, Door],
        forwarder: Forwarder,
        options: ReceiveOptions,
        letter: Callable[[Door, BadLine], bytes],
    ) -> None:
        """Take dataset -> door; the forwarder is its owner's to close."""
        self._doors = doors
        self._forwarder = forwarder
        self._options = options
        self._letter = letter
        self._secrets = [secret.encode() for secret in options.secrets]
        self._threads = ThreadPoolExecutor(options.threads, thread_name_prefix="upload")
        self._uploads = self._in_flight = 0
        self._counts = UploadCounts()
        self._seen: OrderedDict[tuple[str, bytes], asyncio.Future[Taken]] = OrderedDict()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] in ("/livez", "/readyz"):
            health = self._health(scope["path"])
            await JSONResponse({"message": health.words}, health.status)(scope, receive, send)
            return
        if scope["path"] == "/metrics" and self._stranger(Headers(scope=scope)) is None:
            await Response(self._counts.text(self._uploads), media_type=CONTENT_TYPE)(scope, receive, send)
            return
        began = time.monotonic()
        visit = _Visit()
        headers = Headers(scope=scope)
        taken = Taken()
        try:
            refusal = self._refusal(scope, headers, visit)
            if refusal is None:
                taken = await self._take(headers, receive, visit)
                answer = Answer(_WELL, taken.note or "taken")
            else:
                answer = refusal  # the server reads what is still coming and forgets it, so that the client hears why
        except UploadRefused as error:
            answer = Answer(error.status, error.reason)
        except NotTaken as error:
            answer = Answer(503, str(error), retry=True)
        except OSError as error:
            answer = Answer(503, f"the upload cannot be kept on the disk: {error.strerror}", retry=True)
        except ClientGone:
            answer = Answer(_GONE, "the client went away")
        self._counts.answered(
            visit.dataset, answer.status, size=visit.body, records=taken.records, dead_letters=taken.dead_letters
        )
        self._log_visit(scope, visit, taken, answer, time.monotonic() - began)
        if answer.status != _GONE:
            await self._response(answer, taken)(scope, receive, send)

    # ---- what is refused before a byte is read ----

    def _refusal(self, scope: Scope, headers: Headers, visit: _Visit) -> Answer | None:
        """Give why a request is turned away, or None; one that is let in is counted."""
        if not scope["path"].startswith(PREFIX):
            return Answer(404, f"nothing is here; uploads go to {PREFIX}DATASET")
        if stranger := self._stranger(headers):
            return stranger
        dataset = scope["path"].removeprefix(PREFIX).rstrip("/")
        if dataset not in self._doors:
            return Answer(404, f"no such dataset; there are: {', '.join(sorted(self._doors))}")
        visit.dataset = dataset
        if scope["method"] != "POST":
            return Answer(_WRONG_METHOD, "uploads are POSTed")
        return self._pressure(headers, visit)

    def _pressure(self, headers: Headers, visit: _Visit) -> Answer | None:
        """Give why there is no room for an upload, or None."""
        declared = headers.get("content-length", "0")
        size = int(declared) if declared.isdecimal() else 0
        answer = None
        if size > self._options.max_body:
            answer = Answer(413, f"an upload has at most {self._options.max_body} bytes")
        elif self.stopping:
            answer = Answer(503, "the receiver is stopping", retry=True)
        elif self._forwarder.away:
            answer = Answer(503, "Kafka cannot be reached", retry=True)
        elif self._uploads >= self._options.max_uploads or self._in_flight + size > self._options.max_in_flight:
            answer = Answer(429, "too many uploads at a time", retry=True)
        visit.reserved = size
        return answer

    def _stranger(self, headers: Headers) -> Answer | None:
        if not self._secrets:
            return None
        given = headers.get(self._options.header)
        if given is None:
            return Answer(401, f"the header {self._options.header} is missing")
        found = [hmac.compare_digest(given.encode("latin-1", "replace"), secret) for secret in self._secrets]
        return None if any(found) else Answer(403, f"the header {self._options.header} holds another secret")

    # ---- an upload ----

    async def _take(self, headers: Headers, receive: Receive, visit: _Visit) -> Taken:
        """Take one upload; it is counted as in flight until Kafka has it. Raises UploadRefused, NotTaken, ClientGone."""
        self._uploads += 1
        self._in_flight += visit.reserved
        upload = None
        try:
            encoding = headers.get("content-encoding", "").strip().lower()
            upload = Upload(encoding, max_inflated=self._options.max_inflated, max_ratio=self._options.max_ratio)
            await self._read(receive, upload, visit)
            return await self._accept(upload, self._doors[visit.dataset], visit)
        finally:
            self._uploads -= 1
            self._in_flight -= visit.reserved
            if upload is not None:
                upload.close()

    async def _read(self, receive: Receive, upload: Upload, visit: _Visit) -> None:
        """Spool the body, as long as it comes fast enough."""
        began, idle_s = time.monotonic(), self._options.idle_timeout_ms / 1000
        more = True
        while more:
            try:
                message = await asyncio.wait_for(receive(), idle_s)
            except TimeoutError:
                raise UploadRefused(_TOO_SLOW, f"nothing came for {idle_s:g} s") from None
            if message["type"] != "http.request":
                raise ClientGone
            data, more = message.get("body", b""), message.get("more_body", False)
            upload.write(data)
            visit.body = upload.size
            if upload.size > self._options.max_body:
                raise UploadRefused(413, f"an upload has at most {self._options.max_body} bytes")
            if upload.size > visit.reserved:
                self._in_flight += upload.size - visit.reserved
                visit.reserved = upload.size
                if self._in_flight > self._options.max_in_flight:
                    raise NotTaken("too many bytes are in flight")
            waited = time.monotonic() - began
            if more and waited > idle_s and upload.size < self._options.min_rate * waited:
                raise UploadRefused(_TOO_SLOW, f"slower than {self._options.min_rate} bytes a second")

    async def _accept(self, upload: Upload, door: Door, visit: _Visit) -> Taken:
        """Send on a body that is all here, unless it is a validation upload or a repeat."""
        loop = asyncio.get_running_loop()
        is_validation = await loop.run_in_executor(self._threads, upload.verify)
        visit.inflated = upload.inflated
        if is_validation:
            return Taken(note="validation")
        if not self._options.remember:
            return await self._send_on(upload, door)
        identity = (door.dataset, upload.digest)
        known = self._seen.get(identity)
        if known is not None:
            taken = await asyncio.shield(known)
            return Taken(taken.records, taken.dead_letters, note="repeat")
        return await self._send_once(identity, upload, door)

    async def _send_once(self, identity: tuple[str, bytes], upload: Upload, door: Door) -> Taken:
        """Send on and remember it; a repeat that comes meanwhile waits for the same end."""
        outcome: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._seen[identity] = outcome
        try:
            taken = await self._send_on(upload, door)
        except BaseException as error:
            self._seen.pop(identity, None)
            outcome.set_exception(error if isinstance(error, NotTaken) else NotTaken("the first of two alike was not taken"))
            outcome.exception()  # it may be that nobody waits
            raise
        outcome.set_result(taken)
        while len(self._seen) > self._options.remember:
            self._seen.popitem(last=False)
        return taken

    async def _send_on(self, upload: Upload, door: Door) -> Taken:
        receipt = Receipt()
        taken = await asyncio.get_running_loop().run_in_executor(self._threads, self._forward, upload, door, receipt)
        try:
            await asyncio.wait_for(asyncio.wrap_future(receipt.confirmed), 2 * self._options.ack_timeout_ms / 1000)
        except TimeoutError:
            raise NotTaken("Kafka did not confirm the upload in time") from None
        return taken

    def _forward(self, upload: Upload, door: Door, receipt: Receipt) -> Taken:
        """Queue all lines of an upload; runs in a thread."""
        lines = records = dead = 0
        for block in upload.blocks(self._options.message_bytes):
            found = door.sorter.sort(block, lines)
            lines += found.lines
            if found.value:
                self._forwarder.send(receipt, door.topic, found.value, found.key)
            for bad in found.bad:
                kept = [(WHOLE, bad.whole)] if bad.whole and self._options.keep_whole else []
                self._forwarder.send(receipt, self._options.dead_letters, self._letter(door, bad), found.key, headers=kept)
            records += found.records
            dead += len(found.bad)
        receipt.end()
        return Taken(records, dead)

    # ---- what is said ----

    def _health(self, path: str) -> Answer:
        if path == "/livez":
            return Answer(_WELL, "alive")
        if self.stopping:
            return Answer(503, "stopping")
        return Answer(503, "Kafka cannot be reached") if self._forwarder.away else Answer(_WELL, "ready")

    def _response(self, answer: Answer, taken: Taken) -> JSONResponse:
        if answer.status == _WELL:
            words = {"message": answer.words, "records": taken.records, "dead_letters": taken.dead_letters}
            return JSONResponse(words, _WELL)
        fields = {"retry-after": str(self._options.retry_after_ms // 1000)} if answer.retry else {}
        if answer.status == _WRONG_METHOD:
            fields["allow"] = "POST"
        if answer.status == _TOO_SLOW:  # the rest of its body is not waited for
            fields["connection"] = "close"
        return JSONResponse({"message": answer.words}, answer.status, headers=fields)

    def _log_visit(self, scope: Scope, visit: _Visit, taken: Taken, answer: Answer, took_s: float) -> None:
        """Write one line; no query and no header, where secrets are; of a path that is none of ours only the start."""
        client = (scope.get("client") or ("unknown", 0))[0]
        path = PREFIX + visit.dataset if visit.dataset else ascii(scope["path"][:_SHOWN_PATH])
        _log.log(
            logging.INFO if answer.status == _WELL else logging.WARNING,
            "%s %s %s %d bytes=%d inflated=%d records=%d dead_letters=%d ms=%d: %s",
            client,
            ascii(scope["method"])[1:-1],
            path,
            answer.status,
            visit.body,
            visit.inflated,
            taken.records,
            taken.dead_letters,
            took_s * 1000,
            answer.words,
        )
