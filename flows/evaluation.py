"""Evaluation: the decision records of one rule and window, as columns over its known keys.

Why no object a record: 10 000 keys and 50 rules make half a million of them at every barrier.
"""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from flows.alert_state import SEVERITIES, STATES
from flows.output import canonical, rfc3339
from flows.rule import LEVELS

SUPPRESSORS = (None, "silence", "mute", "inhibit", "flap")
SILENCED, MUTED, INHIBITED, FLAPPING = range(1, 5)
_SHAPE = (len(LEVELS), len(STATES), len(STATES), len(SEVERITIES), len(SUPPRESSORS))


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Columns (k,) over the keys that the rule knows, sorted; level, states, severity and suppressor are codes."""

    window_end: int
    rule: str
    metric: str
    statistic: str
    keys: list[str]
    values: NDArray[np.float64]  # NaN where there was no row
    counts: NDArray[np.int64]
    level: NDArray[np.int8]
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    severity: NDArray[np.int8]
    whole: bool = False  # values are counts, written as integers
    suppressed: NDArray[np.int8] | None = None  # what keeps each quiet; None where nothing does

    def lines(self) -> bytes:
        """Give the lines of `evaluations.ndjson`: canonical JSON, one a key."""
        if not self.keys:
            return b""
        start, end = b'{"count":', b',"window_end":"%b"}\n' % rfc3339(self.window_end).encode()
        parts = [end + start, b"", b',"key":', b"", b"", b""] * len(self.keys)
        parts[0] = start
        parts[1::6] = _texts(self.counts)
        parts[3::6] = [key.encode() for key in self.keys]
        parts[4::6] = self._middles()
        parts[5::6] = self._values()
        parts.append(end)
        return b"".join(parts)

    def _values(self) -> list[bytes]:
        if not self.whole:
            return _texts(self.values)
        absent = np.isnan(self.values)
        texts = _texts(np.where(absent, 0, self.values).astype(np.int64))
        return [b"null" if gone else text for gone, text in zip(absent.tolist(), texts, strict=True)]

    def _middles(self) -> list[bytes]:
        """Give what stands between key and value: few combinations, each written once."""
        suppressed = np.zeros(1, np.int8) if self.suppressed is None else self.suppressed
        codes = np.ravel_multi_index((self.level, self.before, self.after, self.severity, suppressed), _SHAPE)
        found = np.flatnonzero(np.bincount(codes))
        texts = {code: self._middle(*np.unravel_index(code, _SHAPE)) for code in found.tolist()}
        return [texts[code] for code in codes.tolist()]

    def _middle(self, level: np.intp, before: np.intp, after: np.intp, *rest: np.intp) -> bytes:
        severity, suppressed = rest
        record = {
            "level": LEVELS[level],
            "metric": self.metric,
            "rule": self.rule,
            "severity": SEVERITIES[severity],
            "state_after": STATES[after],
            "state_before": STATES[before],
            "statistic": self.statistic,
            "suppressed_by": SUPPRESSORS[suppressed],
        }
        return b"," + canonical(record)[1:-1] + b',"value":'


def _texts(numbers: NDArray[np.float64] | NDArray[np.int64]) -> list[bytes]:
    """Give each number as JSON; NaN is null."""
    return orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
