"""Series: values of windows one after the other, written short, as in `0.01x5 0.2x3 _x2 0+10x4`.

An item is a value (`0.2`), no row (`_`), or a value with a step (`0+10`, `100-5`); `xN` says it N times, with a step each so
much further than the one before.
"""

import re

Values = list[float | None]

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_ITEM = re.compile(rf"(?:_|({_NUMBER})(?:([+-])(\d+(?:\.\d+)?))?)(?:x(\d+))?")
_LONGEST = 100_000


class SeriesError(ValueError):
    """A series that cannot be read; the message says where and what is allowed."""


def parse_series(text: str) -> Values:
    """Give the values in order, None where there is no row; raises SeriesError."""
    out: Values = []
    for word in text.split():
        found = _ITEM.fullmatch(word)
        if found is None:
            raise SeriesError(f"{word!r} is not a value such as 0.2, 0.2x3, 10+5x3 or _x2")
        value, sign, step, times = found.groups()
        count = 1 if times is None else int(times)
        if len(out) + count > _LONGEST:
            raise SeriesError(f"{word!r} makes it longer than {_LONGEST} values")
        if value is None:
            out += [None] * count
        else:
            further = 0.0 if step is None else float(f"{sign}{step}")
            out += [round(float(value) + further * place, 12) for place in range(count)]
    if not out:
        raise SeriesError("is empty")
    return out
