"""How long windows wait for other datasets, and that what was given up is given up again."""

import logging

import pytest

from flows.controls import Controls
from flows.patience import Limited, Recorded
from tests.fakes.clock import ManualClock

WAIT_MS = 60_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "controls.ndjson"


def test_a_dataset_is_given_up_for_the_windows_that_waited_too_long(path, caplog):
    clock = ManualClock()
    patience = Limited(Controls(path), WAIT_MS, clock.now)
    with caplog.at_level(logging.WARNING):
        assert not patience.gives_up("b", 10, 20)
        clock.at += 30
        assert not patience.gives_up("b", 10, 30)
        clock.at += 30
        assert patience.gives_up("b", 10, 20)
    assert "b: not waited for any longer" in caplog.text
    assert [patience.gave_up("b", end) for end in (10, 20, 30)] == [False, True, False]
    assert not patience.gives_up("b", 10, 30)
    clock.at += 30
    assert patience.gives_up("b", 10, 30)
    assert not patience.gave_up("a", 20)


def test_a_resume_and_a_replay_give_up_what_was_given_up_and_nothing_more(path):
    clock = ManualClock()
    first = Limited(Controls(path), WAIT_MS, clock.now)
    first.gives_up("b", 10, 20)
    clock.at += 60
    assert first.gives_up("b", 10, 20)
    for again in (Recorded(Controls(path)), Limited(Controls(path), WAIT_MS, clock.now)):
        assert [again.gives_up("b", 10, end) for end in (20, 30)] == [True, False]
        assert [again.gave_up("b", end) for end in (10, 20, 30)] == [False, True, False]


def test_silences_are_read_beside_what_was_given_up(path):
    controls = Controls(path)
    controls.give_up("b", -(2**63), 20)
    assert list(Controls(path).at("a", 20)) == []
    assert Controls(path).gave_up("b", -5)
