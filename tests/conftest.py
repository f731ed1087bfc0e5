"""What holds for all tests: fixtures on Kafka, and what a skipped test means."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
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


# `make check` tries a part of the random examples, for every commit; `make test` tries them all.
_SHARE = int(os.environ.get("EDGEWATCH_EXAMPLES_SHARE", "1"))
_KAFKA = {"broker", "brokers", "topic", "own_broker"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what asks for a broker; in a parallel run what takes long begins, so that no process waits for it at the end."""
    for item in items:
        if _KAFKA & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
        if _SHARE > 1 and isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            _try_fewer(item.function)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (item.get_closest_marker("slow") is None, not schedule.shares(item.path)))


def _try_fewer(test: Any) -> None:
    """Try a part of a test's examples, ten at least; what a test's own settings say is out of a profile's reach."""
    if getattr(test, "fewer", False):
        return
    whole = test._hypothesis_internal_use_settings
    fewer = min(whole.max_examples, max(10, whole.max_examples // _SHARE))
    test._hypothesis_internal_use_settings = settings(whole, max_examples=fewer)
    test.fewer = True


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
