"""What the tests of the sinks share: servers, a spool, a clock."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.fakes.smtp import Certificate, FakeSmtp, certificate
from tests.sinks.conformance.entry import Entry, There
from tests.sinks.places import Servers


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    """Give a Slack."""
    with FakeSlack() as server:
        yield server


@pytest.fixture
def pagerduty() -> Iterator[FakePagerDuty]:
    """Give a PagerDuty."""
    with FakePagerDuty() as server:
        yield server


@pytest.fixture(scope="session")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Give a certificate for localhost, and for that name only."""
    return certificate(tmp_path_factory.mktemp("certificate"), "localhost")


@pytest.fixture
def smtp(localhost: Certificate) -> Iterator[FakeSmtp]:
    """Give a mail server with STARTTLS."""
    with FakeSmtp(localhost) as server:
        yield server


@pytest.fixture
def servers(localhost: Certificate, capsys: pytest.CaptureFixture[str]) -> Iterator[Servers]:
    """Give the services behind the channels."""
    with ExitStack() as stack:
        yield Servers(stack, localhost, capsys)


@pytest.fixture
def there(entry: Entry, request: pytest.FixtureRequest) -> Iterator[There]:
    """Give the counterpart of the entry that the test asks, running."""
    with entry.open(request) as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands."""
    return ManualClock()


@pytest.fixture
def spool(tmp_path: Path, clock: ManualClock) -> Iterator[Spool]:
    """Give an empty spool that goes by the clock."""
    opened = Spool(tmp_path / "spool.sqlite", now=clock.now)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Give one embedded ClickHouse for all tests."""
    with Embedded(tmp_path_factory.mktemp("chdb")) as server:
        yield server


@pytest.fixture
def clickhouse(embedded: Embedded, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """Give a client with an own, migrated database."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:60]
    client = ClickHouse(ClickHouseOptions(url=embedded.url, database=f"t_{name}"))
    client.migrate()
    yield client
    client.close()
