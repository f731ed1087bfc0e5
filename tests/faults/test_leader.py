"""A leader that moves: the broker that leads partitions is killed, and others of its cluster lead them from then on."""

import contextlib
import time

import pytest

from tests.faults.account import length
from tests.faults.world import TOPIC, world
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.runs import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def test_a_leader_is_killed_and_others_lead(tmp_path):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Broker(tmp_path / "kafka-1"))
        others = [stack.enter_context(Broker(tmp_path / f"kafka-{n}", first=first, node=n)) for n in (2, 3)]
        with world(tmp_path, broker=first, copies=3) as there, there.fault("leader moved"):
            leads = set(topics.leaders(first.address, TOPIC).values())
            gone = next(each for each in others if each.node in leads)
            gone.kill()
            wait_until(lambda: gone.node not in topics.leaders(first.address, TOPIC).values(), what="another leader")
            time.sleep(length(60))
