"""Garbage of a process that folds: what deliveries leave behind is gone after a minute, not after a million objects."""

import gc
import weakref

import httpx
import pytest

from flows.garbage import Collector, settle
from sinks.http import HttpClient
from tests.fakes.scripted import ScriptedServer


@pytest.fixture
def settled():
    before = gc.get_threshold()
    settle()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Held:
    """Holds itself."""

    def __init__(self):
        self.me = self


def test_what_holds_itself_is_collected_once_a_minute(settled):
    clock = [0.0]
    collector = Collector(lambda: clock[0])
    held = weakref.ref(Held())
    for at, there in ((59.0, True), (60.0, False)):
        clock[0] = at
        collector.collect_if_due()
        assert (held() is not None) is there
    held = weakref.ref(Held())
    for at, there in ((119.0, True), (120.0, False)):
        clock[0] = at
        collector.collect_if_due()
        assert (held() is not None) is there


def test_requests_leave_nothing_that_outlasts_the_minute(settled):
    def responses():
        return sum(isinstance(each, httpx.Response) for each in gc.get_objects())

    clock = [0.0]
    collector = Collector(lambda: clock[0])
    with ScriptedServer() as server:
        client = HttpClient("hook", total=10.0)
        for _ in range(50):
            assert client.request("POST", server.url, content=b"{}").ok
        assert responses() >= 40, "httpx leaves no cycles any more: this module may have lost its reason"
        clock[0] = 60.0
        collector.collect_if_due()
        assert responses() <= 2
        client.close()
