"""The browser of the tests itself: it reports what a page asks for and complains of, and shows it as asked."""

import http.server
import threading
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.slow

PAGE = """<!doctype html>
<title>A page</title>
<style>
  body { background: rgb(255, 255, 255) }
  @media (prefers-color-scheme: dark) { body { background: rgb(0, 0, 0) } }
  @media (max-width: 500px) { p { display: none } }
</style>
<p>wide</p>
"""
BAD = """<!doctype html>
<img src="http://elsewhere.example/pixel.png">
<link rel="icon" href="data:,">
<script>console.warn("only a warning"); console.error("it went wrong"); nowhere()</script>
"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@contextmanager
def served(pages):
    """Serve pages on this machine, by path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_page_that_stands_alone_is_shown_in_light_and_dark_wide_and_narrow(browser, tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    visit = browser.open(tmp_path / "page.html")
    assert (visit.page.title(), visit.page.inner_text("p")) == ("A page", "wide")
    assert visit.page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    visit.colours("dark")
    assert visit.page.evaluate(BACKGROUND) == "rgb(0, 0, 0)"
    visit.resize(400, 300)
    assert visit.page.locator("p").is_visible() is False
    shot = visit.screenshot(tmp_path / "page.png", whole=False).read_bytes()
    assert (shot[:8], shot[16:24]) == (b"\x89PNG\r\n\x1a\n", (400).to_bytes(4) + (300).to_bytes(4))
    assert (visit.requests, visit.elsewhere, visit.errors) == ([(tmp_path / "page.html").as_uri()], [], [])


def test_what_a_page_asks_of_others_and_what_goes_wrong_in_it_is_told(browser):
    with served({"/": BAD}) as address:
        visit = browser.open(address + "/", scheme="dark")
        assert visit.requests[:2] == [address + "/", "http://elsewhere.example/pixel.png"]
        assert visit.elsewhere == ["http://elsewhere.example/pixel.png"]
        away = "Failed to load resource: net::ERR_NAME_NOT_RESOLVED"
        assert sorted(visit.errors) == [away, "it went wrong", "nowhere is not defined"]


def test_a_page_knows_nothing_of_the_one_before(browser):
    with served({"/": PAGE}) as address:
        first = browser.open(address)
        first.page.evaluate("document.cookie = 'seen=1'")
        assert first.page.evaluate("document.cookie") == "seen=1"
        assert browser.open(address).page.evaluate("document.cookie") == ""
