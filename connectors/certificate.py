"""Certificate: when one ends, read from its bytes.

Why by hand: Python's `ssl` tells the end of certificates that it trusts alone, and the ones to be warned of are those it no
longer does. Source: RFC 5280, 4.1 (the order of fields) and 4.1.2.5 (times); X.690 (lengths).
"""

import datetime

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG = 0x80
_THIS_CENTURY = 50  # a two-digit year below it is 20xx


def expiry_ms(der: bytes) -> int:
    """Give the time (ms UTC) after which a certificate (X.509, DER) is not valid; raises ValueError."""
    try:
        certificate, _ = _inside(der, 0, _SEQUENCE)
        body, _ = _inside(certificate, 0, _SEQUENCE)
        place = _after(body, 0) if body[0] == _VERSION else 0
        for _ in range(3):  # serial number, algorithm, issuer
            place = _after(body, place)
        validity, _ = _inside(body, place, _SEQUENCE)
        return _time_ms(validity, _after(validity, 0))
    except IndexError as error:
        raise ValueError("the certificate ends early") from error


def _time_ms(data: bytes, place: int) -> int:
    kind = data[place]
    content, _ = _inside(data, place, kind)
    text = content.decode("ascii")
    if kind == _UTC_TIME:
        text = ("20" if int(text[:2]) < _THIS_CENTURY else "19") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("the certificate has no time where its end stands")
    at = datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
    return round(at.timestamp() * 1000)


def _inside(data: bytes, place: int, kind: int) -> tuple[bytes, int]:
    """Give the content of the element at a place, and where the next one is."""
    if data[place] != kind:
        raise ValueError(f"the certificate has {data[place]:#x} where {kind:#x} is expected")
    length = data[place + 1]
    start = place + 2
    if length >= _LONG:
        digits = length - _LONG
        length, start = int.from_bytes(data[start : start + digits]), start + digits
    if start + length > len(data):
        raise IndexError
    return data[start : start + length], start + length


def _after(data: bytes, place: int) -> int:
    return _inside(data, place, data[place])[1]
