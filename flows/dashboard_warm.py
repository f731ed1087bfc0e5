"""Dashboard warmth: asks what the views of the page ask at first, before anybody does: reading a year takes seconds.

It begins anew before what is remembered gets old, as long as somebody looks.
"""

import logging
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode

from starlette.requests import Request

from flows.dashboard_steps import LASTING_S
from flows.dashboard_views import Views
from sinks.notification import DeliveryError

SPANS = ("24h", "1h", "6h", "3d", "7d", "30d", "90d", "365d")  # the page's ranges, its default first
_AGAIN_S = LASTING_S / 2
_RETRY_S, _STOP_S = 5.0, 3.0
_log = logging.getLogger(__name__)


class Warmth:
    """A thread beside the server; `ready` once the first round is done."""

    def __init__(self, views: Views, looks: Callable[[], int]) -> None:
        """Take who answers, and who counts what people ask; nothing is asked before `start`."""
        self.ready = False
        self._views = views
        self._looks = looks
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="warmth", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask nothing more; a question that is under way is waited for a moment."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _loop(self) -> None:
        seen, wait = -1, _RETRY_S
        while not self._end.is_set():
            if self._looks() != seen:
                seen, wait = self._looks(), _AGAIN_S
                try:
                    self._round()
                except DeliveryError as error:
                    if self._end.is_set():
                        return
                    _log.warning("the past cannot be looked through: %s; again in %d s", error, _RETRY_S)
                    seen, wait = -1, _RETRY_S
                except Exception:  # noqa: BLE001 (what nobody has asked for yet must not end what somebody looks at)
                    if not self._end.is_set():
                        _log.exception("looking through the past failed, so views take longer")
                    self.ready = True
            self._end.wait(wait)

    def _round(self) -> None:
        began, views = time.monotonic(), self._views
        views.remembered.steps.renew()
        for words in ({"span": span} for span in SPANS):
            found = views.overview(question("overview", words))
            for chart in found["charts"]:
                if self._end.is_set():
                    return
                lines = ",".join(f"{metric}:{statistic}" for metric, statistic in chart["lines"])
                views.series(question("series", words | {"lines": lines}))
        views.slos(question("slos", {}))
        views.alerts(question("alerts", {"span": SPANS[0]}))
        views.pipeline(question("pipeline", {"span": SPANS[0]}))
        _log.info("looked through the past in %.1f s", time.monotonic() - began)
        self.ready = True


def question(name: str, words: dict[str, str]) -> Request:
    """Give a request as the page would send it."""
    scope = {"type": "http", "method": "GET", "path": f"/api/{name}", "headers": [], "server": ("127.0.0.1", 80)}
    return Request(scope | {"query_string": urlencode(words).encode()})
