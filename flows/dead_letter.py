"""Dead letters as rows: where the record stands, why it was refused, and a scrubbed excerpt."""

import re

from connectors.batch import DeadLetter
from flows.output import Block, canonical

_SECRET = re.compile(
    r"(?i)((?:authorization|cookie|token|secret|password|passwd|api[_-]?key|signature)\"?\s*[:=]\s*\"?)"
    r"((?:bearer |basic )?[^\s\"&;,}]+)"
)


def dead_letter_block(letters: tuple[DeadLetter, ...]) -> Block:
    """Give one block with a line a dead letter."""
    lines = [
        canonical(
            {
                "dataset": letter.dataset,
                "topic": letter.topic,
                "partition": str(letter.partition),
                "offset": letter.offset,
                "index": letter.index,
                "reason": letter.reason,
                "payload": scrub(letter.payload),
            }
        )
        for letter in letters
    ]
    return Block("dead_letters", 0, letters[0].dataset, b"\n".join(lines) + b"\n")


def scrub(payload: bytes) -> str:
    """Give the excerpt as text without what looks like a secret."""
    return _SECRET.sub(r"\1***", payload.decode("utf-8", "replace"))
