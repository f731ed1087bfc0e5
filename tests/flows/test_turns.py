"""The order in which windows are judged, whatever the order in which shards and datasets close them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.batch import DONE, UNHEARD
from flows.turns import ENDLESS, Turn, Turns

PANES = {"a": 10, "b": 10, "c": 10}


def loud(dataset):
    return False


def quiet(dataset):
    return dataset == "a"


class GivenUp:
    """Has given up (or gives up when asked) what it was told."""

    def __init__(self, **ends):
        self.ends = ends
        self.asked = []

    def gave_up(self, dataset, end):
        return end in self.ends.get(dataset, ())

    def gives_up(self, dataset, closed, end):
        self.asked.append((dataset, closed, end))
        return self.gave_up(dataset, end)

    def begins(self, dataset, end):
        return end


def judged(turns, closings, ends, silence=loud):
    """Close datasets step by step; gives the turns in the order they come."""
    pending = {name: set(ends.get(name, ())) for name in PANES}
    out = []
    for dataset, low in closings:
        turns.low[dataset] = max(turns.low[dataset], low)
        for turn in turns.due(dataset, pending, silence)[0]:
            pending[turn.dataset].discard(turn.end)
            out.append(turn)
    return out


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12).map(lambda n: n * 10)), max_size=40)
ENDS = st.fixed_dictionaries({name: st.sets(st.integers(1, 12).map(lambda n: n * 10)) for name in PANES})


@given(STEPS, ENDS, st.booleans())
def test_bonded_datasets_go_in_step_and_every_window_is_judged_once(steps, ends, listens):
    silence = quiet if listens else loud
    turns = Turns(PANES, [("b", "a")], ENDLESS)
    got = judged(turns, [*steps, *((name, DONE) for name in PANES)], ends, silence)
    bonded = [(turn.end, "ba".index(turn.dataset)) for turn in got if turn.dataset in "ab"]
    assert bonded == sorted(set(bonded))
    found = {name: {turn.end for turn in got if turn.dataset == name} for name in PANES}
    assert all(found[name] >= ends[name] for name in PANES)
    assert all(found[name] == ends[name] for name in "bc")
    assert {turn.beside for turn in got if turn.dataset == "a"} <= {("b",)}
    assert {turn.beside for turn in got if turn.dataset == "c"} <= {()}


@given(STEPS, STEPS, ENDS)
def test_the_order_within_a_bond_does_not_depend_on_who_closed_first(one, other, ends):
    done = [(name, DONE) for name in PANES]
    first, second = (judged(Turns(PANES, [("a", "b")], ENDLESS), [*steps, *done], ends) for steps in (one, other))
    assert [t for t in first if t.dataset in "ab"] == [t for t in second if t.dataset in "ab"]


def test_a_window_waits_for_the_datasets_it_is_bonded_to_alone():
    turns = Turns(PANES, [("a", "b")], ENDLESS)
    assert judged(turns, [("a", 20), ("c", 20)], {"a": {10, 20}, "c": {10}}) == [Turn("c", 10, ())]
    assert [t.end for t in judged(turns, [("b", 10)], {"a": {10, 20}})] == [10]


def test_what_was_given_up_is_judged_apart_and_the_rest_in_step_again():
    patience = GivenUp(b={20})
    turns = Turns(PANES, [("a", "b")], patience)
    ends = {"a": {10, 20, 30}, "b": {10}}
    assert judged(turns, [("a", 40), ("b", 10)], ends) == [Turn("a", 10, ("b",)), Turn("b", 10, ("a",)), Turn("a", 20, ())]
    assert patience.asked == [("b", UNHEARD, 10), ("b", 10, 20), ("b", 10, 30)]
    assert judged(turns, [("b", 40)], {"a": {30}, "b": {20, 30}}) == [
        Turn("b", 20, ()),
        Turn("a", 30, ("b",)),
        Turn("b", 30, ("a",)),
    ]


@pytest.mark.parametrize(("low", "want"), [(50, [20, 30, 40, 50]), (DONE, [20, 30, 40])])
def test_windows_without_records_are_judged_where_rules_hear_silence_but_not_after_the_end_of_the_input(low, want):
    turns = Turns(PANES, [], ENDLESS)
    assert [t.end for t in judged(turns, [("a", low)], {"a": {20, 40}}, quiet)] == want


def test_silence_is_judged_also_where_the_input_ended_before_that_of_the_others():
    ends = {"a": {20, 70}, "b": {10, 40, 80}}
    orders = (
        [("a", DONE), ("b", 40), ("b", 60), ("b", DONE)],
        [("b", DONE), ("a", 30), ("a", DONE)],
        [("a", 70), ("b", DONE)],
    )
    for closings in orders:
        turns = Turns(PANES, [("a", "b")], ENDLESS)
        got = judged(turns, [*closings, ("a", DONE)], ends, lambda name: name == "a")
        assert [turn.end for turn in got if turn.dataset == "a"] == [20, 30, 40, 50, 60, 70], closings


def test_silence_is_judged_as_far_as_the_clock_had_moved_an_input_that_ended():
    turns = Turns(PANES, [("a", "b")], ENDLESS)
    turns.rest["a"] = 50
    got = judged(turns, [("a", 50), ("a", DONE), ("b", 30), ("b", DONE)], {"a": {20}}, lambda name: name == "a")
    assert [turn.end for turn in got if turn.dataset == "a"] == [20, 30, 40, 50]


def test_a_source_that_is_silent_from_the_start_is_judged_from_its_first_closed_window_on():
    turns = Turns(PANES, [], ENDLESS)
    assert [t.end for t in judged(turns, [("a", 50), ("a", 70)], {}, quiet)] == [50, 60, 70]
