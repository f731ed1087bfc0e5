"""Dashboard door: who may look at the dashboard, who may write, and the headers that keep a page to itself.

On this machine's own address nobody is asked; then only names of this machine are answered, or a page elsewhere could make a
browser read it under a name of its own (DNS rebinding). Elsewhere a token, sent as a bearer or exchanged for a cookie, or
the header of a proxy that has signed its users in. A write also needs the page's own secret in a header, which no other site
can send.
"""

import asyncio
import hmac
import html
import re
import secrets
import time
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from flows.dashboard_options import DashboardOptions

COOKIE = "edgewatch"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OPEN = frozenset({"/livez", "/readyz", "/login", "/app/dashboard.css", "/app/page.css"})  # hold nothing of anybody
_STAYS_S = 12 * 3600
_LONGEST_FORM = 4096
_WRONG_S = 0.5  # a wrong token costs this long
_VIEW = re.compile(r"[a-z]+(\?[^\s\\]*)?")  # of our own page: no scheme, no host
_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in: edgewatch</title><link rel="icon" href="data:,"><link rel="stylesheet" href="app/page.css">
<link rel="stylesheet" href="app/dashboard.css"></head>
<body><main class="login card"><h1>edgewatch</h1>SAID
<form method="post" action="login"><input type="hidden" name="next" value="NEXT">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autofocus autocomplete="current-password">
<button type="submit">Sign in</button></form></main></body></html>
"""
_ANYBODY = "somebody at this machine"


class Refused(Exception):
    """A request that is not answered; `status` and why."""

    def __init__(self, status: int, words: str) -> None:
        """Take both."""
        super().__init__(words)
        self.status = status
        self.words = words


class Door:
    """Decides who may do what; knows the options and a secret of this process."""

    def __init__(self, options: DashboardOptions) -> None:
        """Take the options, whose token is the secret itself."""
        self._options = options
        self._proxies = [ip_network(each, strict=False) for each in options.proxies]
        self._wrong = asyncio.Lock()
        self.page_secret = secrets.token_urlsafe(24)
        self.read_only = options.read_only
        self.names_nobody = not options.user_header  # so who writes says who they are

    def user(self, request: Request) -> str:
        """Give who asks; raises Refused where they may not."""
        options = self._options
        if options.user_header and self._from_proxy(request):
            named = request.headers.get(options.user_header, "").strip()
            if named:
                return named
            if not options.token:
                raise Refused(403, f"the proxy did not name a user in {options.user_header}")
        if options.token:
            if self._has_token(request):
                return "token"
            raise Refused(401, "give the token of [dashboard]: Authorization: Bearer TOKEN, or sign in at /login")
        if options.user_header:
            raise Refused(403, "only the proxies of [dashboard].proxies may ask")
        if (request.url.hostname or "") not in options.hosts:
            asked = request.url.hostname
            raise Refused(403, f"{asked} is no name of this machine; set [dashboard].url to the one that is used")
        return _ANYBODY

    def may_write(self, request: Request) -> None:
        """Raise Refused where a write does not come from our own page."""
        if self.read_only:
            raise Refused(403, "this dashboard is read-only ([dashboard].read_only)")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise Refused(403, "a write comes from the dashboard's own page only")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Refused(403, "a write comes from the dashboard's own page only")
        if not hmac.compare_digest(request.headers.get("x-edgewatch-page", "").encode(), self.page_secret.encode()):
            raise Refused(403, "the page is of an earlier start of the dashboard: load it again")

    def login_page(self, then: str, *, wrong: bool = False) -> Response:
        """Give the page that asks for the token; `then` is the view to come back to."""
        said = '<p role="alert" class="critical">That is not the token.</p>' if wrong else ""
        page = _LOGIN.replace("SAID", said).replace("NEXT", html.escape(then if _VIEW.fullmatch(then) else "", quote=True))
        return HTMLResponse(page, 401 if wrong else 200)

    async def login(self, request: Request) -> Response:
        """Exchange the token for a cookie."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LONGEST_FORM:
                return PlainTextResponse("too long\n", 413)
        fields = parse_qs(body.decode("utf-8", "replace"))
        given, then = (fields.get(name, [""])[0] for name in ("token", "next"))
        token = self._options.token
        if not token or not hmac.compare_digest(given.encode(), token.encode()):
            async with self._wrong:  # one wrong guess at a time
                await asyncio.sleep(_WRONG_S)
            return self.login_page(then, wrong=True)
        answer = RedirectResponse(then if _VIEW.fullmatch(then) else "./", 303)
        until = str(int(time.time()) + _STAYS_S)
        secure = request.url.scheme == "https" or self._options.url.startswith("https:")
        cookie = f"{until}.{self._signed(until)}"
        answer.set_cookie(COOKIE, cookie, max_age=_STAYS_S, httponly=True, samesite="lax", secure=secure)
        return answer

    def _has_token(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), self._options.token.encode())
        until, _, signed = request.cookies.get(COOKIE, "").partition(".")
        fresh = until.isascii() and until.isdigit() and int(until) > time.time()
        return fresh and hmac.compare_digest(signed.encode(), self._signed(until).encode())

    def _signed(self, until: str) -> str:
        return hmac.new(self._options.token.encode(), f"dashboard {until}".encode(), "sha256").hexdigest()

    def _from_proxy(self, request: Request) -> bool:
        try:
            peer = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)


class Guarded:
    """An application behind a door; puts the headers of a page that keeps to itself on every answer."""

    def __init__(self, application: Any, door: Door) -> None:
        """Take the application that is guarded."""
        self._application = application
        self._door = door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], *_HEADERS]}
            await send(message)

        await self._chosen(scope)(scope, receive, with_headers)

    def _chosen(self, scope: Any) -> Any:
        request = Request(scope)
        if scope["path"] in _OPEN:
            return self._application
        try:
            scope.setdefault("state", {})["user"] = self._door.user(request)
            if scope["method"] not in ("GET", "HEAD"):
                self._door.may_write(request)
        except Refused as refused:
            if refused.status == 401 and "text/html" in request.headers.get("accept", ""):  # noqa: PLR2004 (a person)
                asked = f"{scope['path'].lstrip('/')}?{scope['query_string'].decode('ascii', 'replace')}".rstrip("?")
                return RedirectResponse(f"login?next={quote(asked)}", 303)
            return JSONResponse({"problem": refused.words}, refused.status)
        return self._application
