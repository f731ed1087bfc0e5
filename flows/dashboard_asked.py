"""Dashboard asked: what the address of a request says, checked: a range, a key, a metric; a wrong word is refused by name."""

from collections.abc import Mapping, Sequence

import orjson

from flows.metric import TOTAL, MetricOptions
from flows.moment import duration, moment
from flows.options import no_such
from flows.output import canonical
from flows.report_source import Range

_SPAN_MS = 6 * 3_600_000
_LONGEST_MS = 800 * 86_400_000
_LATEST_MS = 2**32 * 1000 - 86_400_000


class BadQuestion(ValueError):
    """A request that cannot be meant; the sentence says what is allowed."""


class Given:
    """The words of a request."""

    def __init__(self, words: Mapping[str, str], now: float) -> None:
        """Take them; `now` (seconds) is what a relative time counts from."""
        self._words = words
        self._now = now

    def text(self, name: str, otherwise: str = "") -> str:
        """Give a word."""
        return self._words.get(name, otherwise)

    def chosen(self, name: str, allowed: Sequence[str], otherwise: str) -> str:
        """Give a word out of some."""
        found = self._words.get(name, otherwise)
        if found not in allowed:
            raise BadQuestion(f"{name}: {no_such(name, found, dict.fromkeys(allowed))}")
        return found

    def time(self, name: str) -> int | None:
        """Give a time (ms): a number of ms, RFC 3339, or so long ago."""
        text = self._words.get(name, "")
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return min(int(text[:15]), _LATEST_MS)
        try:
            return max(min(moment(text, self._now), _LATEST_MS), 0)
        except (ValueError, OverflowError) as error:
            raise BadQuestion(f"{name}: {error}") from None

    def length(self, name: str, otherwise: int) -> int:
        """Give a length of time (ms)."""
        text = self._words.get(name, "")
        if not text:
            return otherwise
        try:
            return min(duration(text), _LONGEST_MS)
        except (ValueError, OverflowError) as error:
            raise BadQuestion(f"{name}: {error}") from None

    def over(self, until: int, length: int) -> Range:
        """Give the range of whole windows asked for: `from` and `to`, or `span` up to the end of the data (ms)."""
        end = self.time("to")
        end = until if end is None else end
        start = self.time("from")
        start = end - self.length("span", _SPAN_MS) if start is None else start
        start, end = -(-max(start, 0) // length) * length, -(-end // length) * length
        if start >= end:
            raise BadQuestion("from must be before to, by a window at least")
        return Range(max(start, end - _LONGEST_MS // length * length), end)

    def key(self) -> str:
        """Give a key as canonical JSON; the total where none is given."""
        text = self._words.get("key", "") or TOTAL
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            raise BadQuestion('key: give an object of strings such as {"ClientRequestHost":"api.example.com"}')
        return canonical(found).decode()

    def metric(self, metrics: Sequence[MetricOptions]) -> MetricOptions:
        """Give the metric named."""
        known = {metric.name: metric for metric in metrics}
        name = self._words.get("metric", "")
        if name not in known:
            raise BadQuestion(f"metric: {no_such('metric', name, known)}")
        return known[name]
