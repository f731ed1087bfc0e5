"""Contribution: what the bad records behind an alert have in common: a path, a colo, a country, a status, a host.

excess(v) = B * share(v) - B0 * share0(v), over B - B0: B bad records now and B0 in the last window in which the key was ok, the
shares from samples of both. A value contributes where its share of the bad records has risen by a tenth, and by more than
chance, and where it stands for a tenth of the excess. So what all traffic has (the only host, the usual country) explains
nothing. Where nothing is known of before, or there are not more bad records than before, it is the share of the bad records,
and says so.

It says what they have in common, not what caused them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from flows.amount import amount
from flows.bad_records import BadSample
from flows.metric import Beyond
from flows.rule import Rule, RuleOptions

MOST = 3
_LEAST = 0.1
_CHANCE = 2.0  # standard errors of the difference of two shares
_DIGITS = 4
_LIMITED = frozenset({"threshold", "budget", "change"})
_MEASURED = frozenset({"mean", "min", "max", "p50", "p90", "p95", "p99", "p999"})

Contribution = dict[str, Any]


class _Value(NamedTuple):
    """One value of a dimension among a key's bad records; `part` is its share of `total` records."""

    key: int
    dimension: str
    code: int
    part: float
    total: int
    is_excess: bool


def beyond_of(rules: Iterable[RuleOptions]) -> dict[str, Beyond]:
    """Give which values of each distribution are bad: those beyond the mildest limit of its rules (of those above, if any)."""
    out: dict[str, Beyond] = {}
    for options in rules:
        if options.kind not in ("threshold", "budget") or options.statistic not in _MEASURED:
            continue
        side, sign = ("below", -1) if options.below else ("above", 1)
        tables = [options.thresholds, *(getattr(override, side) for override in options.overrides)]
        limits = [limit for table in tables if table is not None and (limit := table.mild) is not None]
        known = out.get(options.metric)
        if known is not None and known.sign == sign:
            limits.append(known.limit)
        if limits and (known is None or sign >= known.sign):
            out[options.metric] = Beyond(sign, min(limits) if sign > 0 else max(limits))
    return out


def blames(rule: Rule, beyond: Mapping[str, Beyond]) -> bool:
    """Tell whether what a rule alerts of is that many records are bad."""
    options, metric = rule.options, rule.metric
    if metric.kind == "ratio":
        counted = options.statistic == "ratio" or (options.statistic == "bad" and bool(metric.bad))
        return options.kind == "slo" or (options.kind in _LIMITED and counted and rule.sign == (1 if metric.bad else -1))
    known = beyond.get(metric.name)
    return known is not None and options.kind in _LIMITED and options.statistic in _MEASURED and rule.sign == known.sign


def called(rule: Rule, beyond: Mapping[str, Beyond]) -> str:
    """Give the word for a rule's bad records, in the plural."""
    metric = rule.metric
    if metric.kind == "ratio":
        return "errors" if metric.bad and "error" in metric.name else "misses" if "hit" in metric.name else "bad records"
    limit = beyond[metric.name]
    return f"records {'above' if limit.sign > 0 else 'below'} {amount(limit.limit, 'value', metric.unit)}"


def contributions(now: BadSample, before: BadSample | None, what: str) -> dict[str, list[Contribution]]:
    """Give for each key of `now` the values that contribute most, MOST at most; `before` has the same keys.

    Each is {dimension, value, share, count, total, of, sample}: its `share` of the `total` records that `of` names (`what` in
    the plural), and that in records. `sample` is from how many of the bad records it is known, null where from all.
    """
    out: dict[str, list[Contribution]] = {key: [] for key in now.keys}
    sizes = now.sizes.tolist()
    own = [frozenset(orjson.loads(key)) for key in now.keys]
    for value in _values(now, before):
        word = now.words[value.code]
        if word is None or not own[value.key].isdisjoint((value.dimension, *now.dimensions[value.dimension])):
            continue  # what an alert is about is no news
        seen, bad = sizes[value.key], int(now.counts[value.key])
        out[now.keys[value.key]].append(
            {
                "dimension": value.dimension,
                "value": word,
                "share": round(value.part, _DIGITS),
                "count": round(value.part * value.total),
                "total": value.total,
                "of": f"excess {what}" if value.is_excess else what,
                "sample": seen if seen < bad else None,
            }
        )
    order = {name: place for place, name in enumerate(now.dimensions)}
    for found in out.values():
        found.sort(key=lambda each: (-each["share"], order[each["dimension"]], each["value"]))
        del found[MOST:]
    return out


def _values(now: BadSample, before: BadSample | None) -> Iterator[_Value]:
    """Give the values that contribute."""
    sizes, bad = now.sizes, now.counts
    sizes0 = np.zeros_like(sizes) if before is None else before.sizes
    bad0 = np.zeros_like(bad) if before is None else before.counts
    known, excess = sizes0 > 0, np.maximum(bad - bad0, 0)
    for number, name in enumerate(now.dimensions):
        key, code, count = _tally(now, number)
        share = count / sizes[key]
        count0 = np.zeros(len(key)) if before is None else _looked_up(now, before, number, key, code)
        share0 = count0 / np.maximum(sizes0[key], 1)
        by_excess = known[key] & (excess[key] > 0)
        total = np.where(by_excess, excess[key], bad[key])
        part = np.where(by_excess, (bad[key] * share - bad0[key] * share0) / np.maximum(total, 1), share)
        chosen = (part >= _LEAST) & (~known[key] | _rose(count, sizes[key], count0, sizes0[key]))
        columns = (key, code, np.minimum(part, 1.0), total, by_excess)
        for place, word, each, whole, is_excess in zip(*(column[chosen].tolist() for column in columns), strict=True):
            yield _Value(place, name, word, each, whole, is_excess)


def _tally(sample: BadSample, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give (key, code, count) of the values of a dimension that are not rare among a key's records."""
    width = max(len(sample.words), 1)
    codes, counts = np.unique(sample.key.astype(np.int64) * width + sample.said[:, number], return_counts=True)
    common = counts >= _LEAST * sample.sizes[codes // width]
    return codes[common] // width, codes[common] % width, counts[common]


def _looked_up(
    now: BadSample, before: BadSample, number: int, key: NDArray[np.int64], code: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the records of `before` that say what `now` calls `code` (m,), of the keys `key` (m,)."""
    known = {word: place for place, word in enumerate(before.words)}
    width = len(before.words) + 1
    there, counts = np.unique(before.key.astype(np.int64) * width + before.said[:, number], return_counts=True)
    renamed = np.array([known.get(word, width - 1) for word in now.words], np.int64)
    sought = key * width + renamed[code]
    places = np.searchsorted(there, sought)
    found = np.concatenate((there, [-1]))[places] == sought
    return np.where(found, np.concatenate((counts, [0]))[places], 0)


def _rose(
    count: NDArray[np.int64], size: NDArray[np.int64], count0: NDArray[Any], size0: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which shares have risen by a tenth or more, and by more than two standard errors of such a difference."""
    size0 = np.maximum(size0, 1)
    pooled = (count + count0) / (size + size0)
    error = np.sqrt(pooled * (1 - pooled) * (1 / size + 1 / size0))
    rise = count / size - count0 / size0
    rose: NDArray[np.bool_] = (rise >= _LEAST) & (rise > _CHANCE * error)
    return rose
