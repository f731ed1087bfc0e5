"""What holds for all tests: fixtures on Kafka, and what a skipped test means."""

import logging
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from tests import runs, schedule, services

pytest_plugins = ["tests.browser", "tests.kafka.fixtures"]

# A busy machine is slow; that is no finding. Random examples find more over time; CI judges the same code by the same ones.
settings.register_profile("edgewatch", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", settings.get_profile("edgewatch"), derandomize=True)
settings.load_profile("ci" if services.in_ci() else "edgewatch")


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """End the processes that a test started and did not end."""
    yield
    runs.stop_all()


@pytest.fixture(autouse=True)
def _the_log_is_left_as_it_was() -> Iterator[None]:
    """Take away the handlers that a command set up: what it printed to is closed by now. Those of pytest are its own."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for each in root.handlers[:]:
        if each not in before and not type(each).__module__.startswith("_pytest"):
            root.removeHandler(each)
    root.setLevel(level)


_KAFKA = {"broker", "brokers", "topic", "own_broker"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what asks for a broker; in a parallel run what takes long begins, so that no process waits for it at the end.

    First come those with a broker, which mostly wait: faults are not to happen while the others want all processors.
    """
    for item in items:
        if _KAFKA & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
    if hasattr(config, "workerinput"):
        asked = ("kafka", "slow")
        items.sort(
            key=lambda item: (*(item.get_closest_marker(each) is None for each in asked), not schedule.shares(item.path))
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> schedule.ByModule:
    """Keep what shares a fixture together."""
    return schedule.ByModule(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what asks for the embedded ClickHouse where chDB is not installed."""
    if "embedded" in getattr(item, "fixturenames", ()) and find_spec("chdb") is None:
        services.missing("chdb")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where every test has to run."""
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a file that skips itself whole."""
    report = yield
    _judge(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which services were missing."""
    skipped = Counter(services.service_of(_reason(each)) for each in terminalreporter.stats.get("skipped", []))
    for service in services.SERVICES:
        if skipped[service]:
            terminalreporter.write_line(
                f"missing service: {service}, {skipped[service]} tests skipped; get it: {services.SERVICES[service]}",
                yellow=True,
            )


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or services.may_skip(_reason(report)):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped where every test has to run: {_reason(report)}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
