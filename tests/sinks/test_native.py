"""Columns as ClickHouse sends them, from the embedded server; and what is cut or of another kind is refused."""

import numpy as np
import pytest

from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.native import Coded, blocks
from sinks.notification import DeliveryError
from tests.fakes.scripted import Answer, ScriptedServer

ROWS = 70_000  # two blocks, and codes of two bytes
SELECT = f"""
SELECT toUInt8(number % 7) AS small, toUInt32(number) AS whole, number / 3 AS part, toLowCardinality(number * 5) AS many,
    toLowCardinality(concat('é', toString(number % 3))) AS text FROM numbers({ROWS}) ORDER BY number
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Embedded(tmp_path_factory.mktemp("chdb")) as server:
        found = ClickHouse(ClickHouseOptions(url=server.url, database="native"))
        found.migrate()
        yield found
        found.close()


def plain(column):
    return column.values[column.codes] if isinstance(column, Coded) else column


@pytest.mark.slow
def test_columns_are_those_that_were_selected(client):
    found = list(client.columns(SELECT))
    columns = {name: np.concatenate([plain(block[name]) for block in found]) for name in found[0]}
    numbers = np.arange(ROWS)
    assert columns["small"].tolist() == (numbers % 7).tolist()
    assert columns["whole"].tolist() == numbers.tolist()
    assert columns["part"].tolist() == (numbers / 3).tolist()
    assert columns["many"].tolist() == (numbers * 5).tolist()
    assert columns["text"].tolist() == [f"é{number % 3}" for number in range(ROWS)]
    assert list(client.columns(f"{SELECT} LIMIT 0")) == []


def test_a_kind_of_column_that_is_not_known_is_an_error_with_its_name(client):
    with pytest.raises(DeliveryError, match=r"cannot be read: a column of Array\(UInt8\)"):
        list(client.columns("SELECT [toUInt8(1)] AS list"))


def test_an_answer_that_is_cut_anywhere_is_an_error(client):
    short = "SELECT number, toLowCardinality(toString(number)) AS text, toLowCardinality(number) AS few FROM numbers(3)"
    whole = client._ask(f"{short} FORMAT Native", {}).body
    assert len(list(blocks(whole))) == 1
    for size in range(1, len(whole)):
        with pytest.raises(ValueError, match=r"cut|missing|a column of|LowCardinality with"):
            list(blocks(whole[:size]))


def test_what_is_no_answer_of_columns_is_an_error():
    with ScriptedServer() as server:
        server.script = [Answer(body=b"<html>hello</html>")]
        client = ClickHouse(ClickHouseOptions(url=server.url))
        with pytest.raises(DeliveryError, match="cannot be read"):
            list(client.columns("SELECT 1"))
        client.close()
