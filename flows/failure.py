"""Failure: errors of the outside world as one clear line; anything else is a bug and shows its traceback."""

import contextlib
import sys
from collections.abc import Iterator

from connectors.source import SourceError
from flows.controls import ControlsBroken
from flows.engine import PeerLost
from flows.recovery_store import StoreBroken
from flows.run_folder import FolderInUse
from flows.sealed import SchemaUnknown
from flows.supervisor import ProcessDied
from sinks.notification import DeliveryError
from sinks.spool import SpoolBroken, SpoolFull

_OUTSIDE = (
    *(SourceError, SpoolBroken, SpoolFull, DeliveryError),
    *(FolderInUse, ProcessDied, PeerLost, ControlsBroken, SchemaUnknown, StoreBroken),
)
# Of commands that a process of a run does without: what was not imported raised nothing.
_OF_COMMANDS = {
    "flows.history": "HistoryError",
    "flows.recovery_file": "ArchiveRefused",
    "flows.report_source": "ReportError",
}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Print an outside error as one line on standard error and swallow it; the engine may have wrapped it."""
    try:
        yield
    except Exception as error:
        cause = outside_cause(error)
        if cause is None:
            raise
        if "sentry_sdk" in sys.modules:  # where no project takes errors it was never imported
            sys.modules["sentry_sdk"].capture_exception(cause)
        sys.stderr.write(f"edgewatch: {cause}\n")


def outside_cause(error: BaseException | None) -> BaseException | None:
    """Find the outside error in a chain of causes."""
    seen: set[int] = set()
    outside = (*_OUTSIDE, *(getattr(sys.modules[m], name) for m, name in _OF_COMMANDS.items() if m in sys.modules))
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, outside) or (isinstance(error, OSError) and error.errno == 28):  # noqa: PLR2004 (ENOSPC)
            return error
        error = error.__cause__ or error.__context__
    return None
