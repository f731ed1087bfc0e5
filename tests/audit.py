"""Audit: asks for known vulnerabilities of what constraints.txt pins, by pip-audit, and says whether that was possible.

Usage: python -m tests.audit PIP_AUDIT      (exit code 1 where a vulnerability is known, else 0, also where nobody was asked)

Why not pip-audit's own exit code: it is 0 where the service knows none of the packages, and 1 where it cannot be reached.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "constraints.txt"
_LIMIT_S = 120.0


def ask(program: str) -> tuple[list[dict[str, Any]], str]:
    """Give the packages with what is known of them, and what went wrong where there are none."""
    command = [program, "-r", str(PINS), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return [], said[-1][:200] if said else f"exit code {done.returncode}"
    return found, ""


def verdict(found: list[dict[str, Any]], trouble: str) -> tuple[int, list[str]]:
    """Give the exit code and the lines to say."""
    asked = [each for each in found if "vulns" in each]
    known = [f"{each['name']} {each['version']}: {vulnerability['id']}" for each in asked for vulnerability in each["vulns"]]
    if known:
        return 1, [f"audit: {len(known)} known vulnerabilities", *known]
    if not asked:
        why = trouble or (found[0].get("skip_reason", "") if found else "no packages")
        return 0, [f"audit: NOT DONE, no vulnerability service could be asked ({why})"]
    left = f"; {len(found) - len(asked)} could not be asked about" if len(asked) < len(found) else ""
    return 0, [f"audit: no known vulnerability in {len(asked)} packages{left}"]


def main() -> int:
    """Ask, and say."""
    code, lines = verdict(*ask(sys.argv[1]))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
