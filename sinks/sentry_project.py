"""Sentry's project: what a configuration says of one, checked without its SDK, which takes a sixth of a start to import.

Only who has a DSN needs the SDK; so what reads configurations knows this module, and what sends knows sentry_wire.
"""

import re

_ENVIRONMENT = 64


def environment_name(name: str) -> str:
    """Give an environment's name as Sentry allows it."""
    return re.sub(r"[\s/]+", "-", name)[:_ENVIRONMENT] or "production"


def dsn_problem(dsn: str) -> str | None:
    """Say what is wrong with a DSN, without showing it."""
    from sentry_sdk.utils import BadDsn, Dsn  # noqa: PLC0415  (there is a DSN)

    try:
        Dsn(dsn)
    except (BadDsn, ValueError):
        return "is not a DSN, as in https://KEY@HOST/PROJECT"
    return None
