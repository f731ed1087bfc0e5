"""Faults are printed at the end, a line of figures each; what only full lengths are worth is left out without them."""

import os

import pytest

from tests.faults.account import LINES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full_length` where EDGEWATCH_FAULT_SECONDS is not set."""
    left = [] if "EDGEWATCH_FAULT_SECONDS" in os.environ else [each for each in items if each.get_closest_marker("full_length")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [each for each in items if each not in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    for line in LINES:
        terminalreporter.write_line(line)
