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


def test_what_contributes_is_counted_apart_and_all_else_differs(tmp_path):
    said = run([rule()], rates(0.4, 0.0, 0.0, 0.0, 0.0))[2]
    assert len(said) == 2
    blamed = with_evidence(said[0], contribution=BLAMED)
    files = {"same": said[0], "blamed": blamed, "other": with_evidence(said[0], n=1), "none": b""}
    with Embedded(tmp_path / "chdb") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        client.insert("notifications", said[0])
        found = {}
        for name, line in files.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "notifications.ndjson").write_bytes(line)
            compared = compare(client, tmp_path / name, NOTIFICATIONS, START, START + 9 * LENGTH)
            found[name] = (compared.rows, len(compared.differences), compared.contribution)
        client.close()
    assert found == {"same": (1, 0, 0), "blamed": (1, 0, 1), "other": (1, 1, 0), "none": (1, 1, 0)}
