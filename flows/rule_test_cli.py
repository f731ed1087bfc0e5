"""Rule test command: `edgewatch test`: plays series through the rules of a configuration and compares what comes of it."""

from pathlib import Path
from typing import Annotated

import typer

from flows.as_json import print_json
from flows.config import load
from flows.rule_test import Failure, Record, plain, run_test
from flows.rule_test_options import offset, read_tests

_FAILED = 1


def run_tests(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration whose rules are tested.")],
    files: Annotated[list[Path], typer.Argument(help="Files of tests (TOML).")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Test rules: series in, expected states, notifications and channels out; nothing is sent and no service is asked.

    Example: edgewatch test -c monitor.toml tests.toml
    """
    settings = load(config, secrets=False)
    tests = [test for path in files for test in read_tests(path, settings)]
    outcomes = []
    for test in tests:
        outcome = run_test(test, settings)
        outcomes.append(outcome)
        if not as_json:
            print(f"{'FAIL' if outcome.failures else 'ok  '} {outcome.name}")
            for failure in outcome.failures:
                print("\n".join(f"     {line}".rstrip() for line in _lines(failure)))
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    if as_json:
        rows = [outcome.as_dict() for outcome in outcomes]
        print_json(rows)
    else:
        print(f"{len(outcomes)} test{'' if len(outcomes) == 1 else 's'}, {failed} failed")
    if failed:
        raise typer.Exit(_FAILED)


def _lines(failure: Failure) -> list[str]:
    """Say what failed, over the evaluations around it; the one that it is about is marked."""
    head = [
        f"at {offset(failure.at)}, {failure.about}" if failure.about else f"at {offset(failure.at)}",
        f"  {failure.problem}",
    ]
    titles = ("at", "ends", "value", "records", "level", "state", "severity", "suppressed by")
    rows = [titles, *map(_cells, failure.near)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(titles))]
    marks = [" ", *(">" if record["at"] == failure.at else " " for record in failure.near)]
    table = [
        f"  {mark} {'  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True))}"
        for mark, row in zip(marks, rows, strict=True)
    ]
    return head + (table if failure.near else [])


def _cells(record: Record) -> tuple[str, ...]:
    before, after = record["state_before"], record["state_after"]
    moved = after if before == after else f"{before} -> {after}"
    facts = (record["value"], record["count"], record["level"], moved, record["severity"], record["suppressed_by"])
    return (offset(record["at"]), record["window_end"], *map(plain, facts))
