"""What a live run stored against a replay's files: which differences count."""

import orjson
import pytest

from flows.output import canonical
from flows.verify import TABLES, compare
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.flows.history import LENGTH, START, rates, rule, run

pytestmark = pytest.mark.slow

(NOTIFICATIONS,) = [table for table in TABLES if table.name == "notifications"]
BLAMED = [{"dimension": "path", "value": "/a", "share": 0.7}]


def with_evidence(line, **evidence):
    row = orjson.loads(line)
    return canonical(row | {"evidence": row["evidence"] | evidence}) + b"\n"


def test_a_row_that_differs_anywhere_differs_but_for_a_contribution_that_the_replay_does_not_know(tmp_path):
    said = run([rule()], rates(0.4, 0.0, 0.0, 0.0, 0.0))[2]
    assert len(said) == 2
    stored = with_evidence(said[0], contribution=BLAMED)
    files = {
        "same": stored,
        "unknown": with_evidence(stored, contribution=None),
        "nothing": with_evidence(stored, contribution=[]),
        "blamed": with_evidence(stored, contribution=[BLAMED[0] | {"share": 0.71}]),
        "unknown-and-other": with_evidence(stored, contribution=None, n=1),
        "other": with_evidence(stored, n=1),
        "none": b"",
    }
    with Embedded(tmp_path / "chdb") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        client.insert("notifications", stored)
        found = {}
        for name, line in files.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "notifications.ndjson").write_bytes(line)
            compared = compare(client, tmp_path / name, NOTIFICATIONS, START, START + 9 * LENGTH)
            assert compared.rows == 1
            found[name] = (len(compared.differences), compared.unknown)
        client.close()
    assert found.pop("same") == (0, 0)
    assert found.pop("unknown") == (0, 1)
    assert set(found.values()) == {(1, 0)}
