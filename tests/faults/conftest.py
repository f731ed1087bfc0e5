"""Faults are printed at the end, a line of figures each."""

import pytest

from tests.faults.account import LINES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    for line in LINES:
        terminalreporter.write_line(line)
