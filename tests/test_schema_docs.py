"""docs/schema.md: its tables are those that ClickHouse has, its queries find something in rows of the synthetic traffic."""

import gzip
import re
from collections.abc import Iterator

import pytest

from flows.alert_state import MOVES, STATES
from flows.evaluation import SUPPRESSORS
from flows.removed import REASON
from flows.rule import LEVELS
from flows.withhold import REASONS
from sinks.clickhouse import ClickHouse, ClickHouseOptions, tables
from tests.runs import ROOT, checked
from tests.snippets import Snippet, snippets_of

PAGE = ROOT / "docs" / "schema.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUERIES = [each for each in snippets_of(PAGE) if each.language == "sql"]
TABLES = [*tables(), "schema_version"]
COMMON = "In every table but"
# What a key is said to be, where that is not the name of a column.
SAID = {"window": {"window_start", "window_end"}, "time": {"at"}, "record": {"partition", "offset", "index"}}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """Give the tables with four hours of traffic and a line that is no record, as a live run and as the run `stricter`."""
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    from sinks.embedded import Embedded

    folder = tmp_path_factory.mktemp("schema")
    checked("generate", "--to", folder / "logs", "--records", "60000")
    spoilt = min((folder / "logs" / "http_requests").rglob("*.gz"))
    spoilt.write_bytes(spoilt.read_bytes() + gzip.compress(b"{no record\n"))
    with Embedded(folder / "clickhouse") as server:
        config = folder / "monitor.toml"
        config.write_text((ROOT / "flows" / "demo.toml").read_text() + f'\n[clickhouse]\nurl = "{server.url}"\n')
        given = ("-c", config, "--source", f"archive:{folder / 'logs'}", "--out", folder / "out")
        checked("replay", *given, "--into-clickhouse", "--run", "stricter")
        client = ClickHouse(ClickHouseOptions(url=server.url))
        for table in tables():  # the live run measured one request less
            less = ", if(metric = 'requests', value - 1, value) AS value" if table == "window_metrics" else ""
            client.execute(f"INSERT INTO {table} SELECT * REPLACE('' AS run{less}) FROM {table}")
        yield client
        client.close()


def section(name: str) -> str:
    return re.split(r"^## ", TEXT.partition(f"## {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def shown(text: str) -> dict[str, str]:
    """Give column -> type of the tables in a text."""
    rows = re.findall(r"^\| ((?:`\w+` ?)+) \| `([^|]+)` \|", text, re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}


def test_every_table_has_a_section() -> None:
    assert [name for name in TABLES if not section(name)] == []


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_those_of_the_table(stored: ClickHouse, table: str) -> None:
    found = stored.query(f"SELECT name, type FROM system.columns WHERE database = 'edgewatch' AND table = '{table}'")
    common = shown(TEXT.partition(COMMON)[2].partition("\n## ")[0]) if table != "schema_version" else {}
    own = shown(section(table).partition("The view")[0])
    assert common | own == {str(each["name"]): each["type"] for each in found}


def test_columns_of_the_view_are_those_that_it_has(stored: ClickHouse) -> None:
    found = stored.query("SELECT name, type FROM system.columns WHERE database = 'edgewatch' AND table = 'hour_percentiles'")
    assert shown(section("window_histograms").partition("The view")[2]) == {str(each["name"]): each["type"] for each in found}


@pytest.mark.parametrize("table", tables())
def test_a_row_is_one_per_what_is_said(stored: ClickHouse, table: str) -> None:
    (found,) = stored.query(f"SELECT sorting_key, engine FROM system.tables WHERE database = 'edgewatch' AND name = '{table}'")
    key = set(re.sub(r"toJSONString\((\w+)\)|`", r"\1", str(found["sorting_key"])).split(", "))
    (words,) = re.findall(r"One row per\s([^.]*?)(?:,\sfor every[^.]*)?\.", section(table))
    said = set()
    for word in re.split(r",\s|\sand\s", words):
        said |= SAID.get(word, {word}) & (key | {word})
    assert (said, found["engine"]) == (key, "ReplacingMergeTree")


def test_values_of_a_choice_are_all_named() -> None:
    states, decisions, told = section("transitions"), section("evaluations"), section("notifications")
    wanted = [
        (decisions, (*LEVELS, *STATES, *filter(None, SUPPRESSORS))),
        (states, (*MOVES[1:], REASON)),
        (told, (*REASONS[1:], REASON)),
    ]
    assert [value for text, values in wanted for value in values if f"`{value}`" not in text] == []


@pytest.mark.parametrize("query", QUERIES, ids=lambda each: each.where)
def test_a_query_finds_something(stored: ClickHouse, query: Snippet) -> None:
    r = stored.query(query.text)
    print(query.where, len(r), r[:3])
    assert stored.query(query.text)


def test_columns_said_to_be_empty_are(stored: ClickHouse) -> None:
    assert stored.query("SELECT 1 AS n FROM window_metrics WHERE notEmpty(labels) LIMIT 1") == []
    assert stored.query("SELECT 1 AS n FROM pipeline_events WHERE notEmpty(labels) OR notEmpty(text) LIMIT 1") == []
    assert stored.query("SELECT 1 AS n FROM health_checks LIMIT 1") == []
