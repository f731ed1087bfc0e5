"""JSON of commands: what `--json` prints, indented, so that people and programs read it alike."""

import sys
from typing import Any

import orjson


def print_json(value: Any) -> None:
    """Print a value of plain types as JSON."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
