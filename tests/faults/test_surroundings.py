"""Faults of what stands around a run, one after the other on one line under load: broker, ClickHouse, channel, garbage."""

import json

import pytest

from tests.faults import faults
from tests.faults.world import world

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    # Silence of a partition counts from 5 s on: an outage is longer, and must not be taken for one.
    with world(tmp_path_factory.mktemp("surroundings"), idle_after="5s") as found:
        yield found


def test_the_broker_is_killed_and_started_again(there):
    with there.fault("broker killed and restarted"):
        faults.kill_broker(there)


def test_the_broker_is_gone_for_a_while(there):
    with there.fault("broker gone"):
        faults.broker_gone(there)


def test_a_process_is_killed_while_the_broker_is_gone(there):
    with there.fault("kill -9 of one process while the broker is gone", repeats=1):
        faults.killed_without_broker(there)
    assert "given up" not in there.line.said()


def test_the_broker_is_frozen_for_a_while(there):
    with there.fault("broker frozen"):
        faults.freeze_broker(there)


def test_clickhouse_is_gone_for_a_while(there):
    with there.fault("ClickHouse gone"):
        faults.clickhouse_gone(there)


def test_clickhouse_takes_long_for_each_insert(there):
    with there.fault("ClickHouse slow"):
        faults.clickhouse_slow(there)


def test_clickhouse_refuses_rows_and_takes_them_when_they_are_tried_again(there):
    with there.fault("ClickHouse refusing rows"):
        faults.clickhouse_refuses(there)
    assert any("clickhouse" in title for title in there.account.own_words())


def test_the_channel_is_down_for_a_while(there):
    with there.fault("channel down", repeats=1):
        faults.channel_down(there)


def test_poison_at_every_stage_stops_nothing_and_is_a_dead_letter_where_it_cannot_be_read(there):
    with there.fault("poison"):
        faults.poison(there)
    reasons = there.account.client.query("SELECT reason, count() AS n FROM dead_letters FINAL GROUP BY reason")
    assert sum(int(each["n"]) for each in reasons) >= there.load.ledger.dead - there.load.rate
    assert len(reasons) >= 4
    said = {json.dumps(body["x_edgewatch"]["key"]) for body in there.hook.received.values()}
    assert sum(any(json.dumps(each["ClientRequestHost"]) in words for words in said) for each in faults.HOSTILE) >= 6
