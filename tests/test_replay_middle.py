"""A replay that starts in the middle, from outside: its files are the tail of the unbroken replay's."""

import json
from pathlib import Path

import pytest

from tests.runs import ACCEPTANCE, checked, edgewatch, make_logs

pytestmark = pytest.mark.slow

CONFIG = ACCEPTANCE / "monitor.toml"
MORE = """
[[rule]]
name = "slow_lately"
kind = "change"
metric = "response_time"
statistic = "p90"
above = { warning = 1.2, critical = 2.0 }
baseline = { windows = 6 }
keys = "all"

[[rule]]
name = "quiet"
kind = "absence"
metric = "requests"
keys = "all"
after = 1

[[slo]]
name = "availability"
metric = "error_rate"
objective = 0.95
"""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Give a folder with logs and the whole replay of them."""
    folder = tmp_path_factory.mktemp("whole")
    make_logs(folder / "logs", records=60_000)
    (folder / "monitor.toml").write_text(CONFIG.read_text() + MORE)
    checked("replay", "-c", folder / "monitor.toml", "--source", f"archive:{folder / 'logs'}", "--out", folder / "out")
    return folder


def tail(folder: Path, name: str, first: str) -> list[dict]:
    """Give the rows of a file from a window end on."""
    rows = [json.loads(line) for line in (folder / f"{name}.ndjson").read_bytes().splitlines()]
    return [row for row in rows if row.get("window_end", row.get("at")) >= first]


def blank(rows: list[dict], unknown: set[str]) -> list[dict]:
    """Take the contribution out of notifications: what was usual is not always known in the middle, and then it is null."""
    for row in rows:
        if row.get("id") in unknown:
            row["evidence"]["contribution"] = None
    return rows


@pytest.mark.parametrize("start", ["2025-12-01T00:25:00Z", "2025-12-01T01:35:00Z"])
def test_a_replay_from_the_middle_is_the_tail_of_the_unbroken_one(unbroken, tmp_path, start):
    source = f"archive:{unbroken / 'logs'}"
    options = ["-c", unbroken / "monitor.toml", "--source", source, "--from", start, "--alerts", unbroken / "out"]
    checked("replay", *options, "--out", tmp_path / "out", "--processes", 2)
    first = start.replace(":25:", ":30:").replace(":35:", ":40:")
    said = tail(tmp_path / "out", "notifications", first)
    unknown = {each["id"] for each in said if each["evidence"]["contribution"] is None}
    assert len(unknown) < len(said) or start > "2025-12-01T01"  # one begins early enough to know again
    for name in ("windows", "evaluations", "transitions", "notifications"):
        assert tail(tmp_path / "out", name, first) == blank(tail(unbroken / "out", name, first), unknown), name
        assert tail(tmp_path / "out", name, "") == tail(tmp_path / "out", name, first)
    doubts = json.loads((tmp_path / "out" / "summary.json").read_bytes())["doubts"]
    assert "slo:availability: looks further back than the stored windows go" in doubts


def test_alerts_before_need_a_beginning_and_a_folder_of_a_replay(unbroken, tmp_path):
    source = f"archive:{unbroken / 'logs'}"
    options = ["replay", "-c", unbroken / "monitor.toml", "--source", source, "--out", tmp_path / "out"]
    done = edgewatch(*options, "--alerts", "clickhouse")
    assert (done.returncode, "--alerts needs --from" in done.stderr) == (2, True)
    done = edgewatch(*options, "--from", "2025-12-01T00:25:00Z", "--alerts", tmp_path)
    assert (done.returncode, "has no evaluations.ndjson" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    done = edgewatch(*options, "--from", "2025-12-01T00:25:00Z", "--alerts", "clickhouse")
    assert (done.returncode, "has no [clickhouse]" in done.stderr) == (1, True)
