"""All benchmarks, one after the other, each line with the figures of the run before beside the new ones.

Usage: python -m benchmarks [--kept FOLDER] [NAME ...] [OPTION ...]           (`make bench`; ARGS has the options)

Prints the JSON lines that they print, with `before`: what was another number in the last run with the same options. That is
kept in `.cache/bench`, and only of a benchmark that came to its end. The same code differs by a tenth from run to run, by half
in a noisy hour; benchmarks/README.md says what was measured when.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ALL = (
    "backtest",
    "barrier",
    "dashboard",
    "decode",
    "keys",
    "line",
    "memory",
    "receive",
    "replay",
    "scaling",
    "storm",
    "sweep",
)
KEPT = Path(".cache") / "bench"

Line = dict[str, Any]


def beside(now: Line, before: Line | None) -> Line:
    """Give a line with the numbers of the line before that were different; without them where it is of another case."""
    if before is None or now.keys() != before.keys() or any(now[key] != before[key] for key in now if _names(now[key])):
        return now
    return now | {"before": {key: before[key] for key in now if now[key] != before[key]}}


def _names(value: object) -> bool:
    return isinstance(value, str | bool)


def run(name: str, options: Sequence[str]) -> Iterator[Line]:
    """Run one benchmark; gives its lines as they come. Raises subprocess.CalledProcessError where it fails."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def last(path: Path, options: Sequence[str]) -> list[Line]:
    """Give the lines of the last run; none where it had other options."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    return list(kept["lines"]) if kept["options"] == list(options) else []


def main() -> int:
    """Run them; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of the figures of the last run [.cache/bench]")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    chosen, options = parser.parse_known_args()
    chosen.kept.mkdir(parents=True, exist_ok=True)
    for name in chosen.names or ALL:
        if name not in ALL:
            parser.error(f"{name} is none of {', '.join(ALL)}")
        path, lines = chosen.kept / f"{name}.json", []
        known = last(path, options)
        print(f"benchmarks.{name} {' '.join(options)}", file=sys.stderr, flush=True)
        try:
            for place, line in enumerate(run(name, options)):
                lines.append(line)
                print(json.dumps(beside(line, known[place] if place < len(known) else None)), flush=True)
        except subprocess.CalledProcessError as error:
            print(f"benchmarks.{name} ended with exit code {error.returncode}", file=sys.stderr)
            return 1
        path.write_text(json.dumps({"options": options, "lines": lines}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
