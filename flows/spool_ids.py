"""Spool ids: under which id output waits in the spool: that of the notification and its channel, or what the rows are.

An id is made of what is said, so what a resume says again is recognised; a trace knows by it what became of a window's output.
"""

import hashlib

from flows.output import Block


def said_id(notification: str, channel: str) -> str:
    """Give the id of a notification to a channel."""
    return f"{notification}/{channel}"


def rows_id(block: Block) -> str:
    """Give the id of rows."""
    return f"{block.kind}/{block.at}/{hashlib.sha256(block.data).hexdigest()[:32]}"
