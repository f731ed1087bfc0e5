"""Component status: the worst of what alerts call for, and never over a person's word."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.component_status import OPERATIONAL, STATUSES, ComponentBoard, Want, worst

DEGRADED, PARTIAL, MAJOR = STATUSES[1:]
HOUR = 3600.0


class Page:
    """One component of a page, and a board that follows it."""

    def __init__(self, shown: str = OPERATIONAL) -> None:
        self.shown = shown
        self.board = ComponentBoard({})

    def sync(self, *, arrives: bool = True, known: bool = True) -> str | None:
        component = self.board["api"]
        goal = component.change(self.shown)
        self.board = ComponentBoard(self.board.content())
        if goal is not None:
            if arrives:
                self.shown = goal
            if known:
                self.board["api"].settle(goal)
        return goal

    def fire(self, episode: str, status: str) -> None:
        self.board.want(episode, "api", Want(status), 0)
        self.sync()

    def over(self, episode: str) -> None:
        self.board.release(episode)
        self.sync()


def test_a_component_shows_the_worst_of_its_alerts() -> None:
    page, shown = Page(), []
    for step in (
        lambda: page.fire("a", DEGRADED),
        lambda: page.fire("b", MAJOR),
        lambda: page.fire("c", PARTIAL),
        lambda: page.over("b"),
        lambda: page.over("a"),
        lambda: page.over("c"),
    ):
        step()
        shown.append(page.shown)
    assert (shown, page.board.content()) == ([DEGRADED, MAJOR, MAJOR, PARTIAL, PARTIAL, OPERATIONAL], {})


@pytest.mark.parametrize(
    ("wants", "keys", "status"),
    [
        ([], 4, OPERATIONAL),
        ([(DEGRADED, "a")], 4, DEGRADED),
        ([(MAJOR, "a")], 0, MAJOR),
        ([(MAJOR, "a")], 4, PARTIAL),
        ([(MAJOR, "a"), (MAJOR, "a")], 4, PARTIAL),
        ([(MAJOR, "a"), (MAJOR, "b"), (DEGRADED, "c")], 4, MAJOR),
        ([(MAJOR, "a"), (MAJOR, "")], 9, MAJOR),
        ([(MAJOR, "a")], 1, MAJOR),
    ],
)
def test_an_outage_of_less_than_half_of_the_keys_is_a_partial_one(wants: list[tuple[str, str]], keys: int, status: str) -> None:
    assert worst([Want(*each, "slow") for each in wants], {"slow": keys}) == status
    assert worst([Want(*each, "slow") for each in wants], {"slow": 100}, keys) == (status if keys or not wants else PARTIAL)


def test_each_rule_counts_the_keys_of_its_own_sort() -> None:
    hosts, paths = [Want(MAJOR, host, "hosts") for host in "ab"], [Want(MAJOR, path, "paths") for path in "vwxyz"]
    heard = {"hosts": 4, "paths": 1000}
    assert [worst(wants, heard) for wants in (hosts[:1], paths, hosts[:1] + paths, hosts)] == [PARTIAL, PARTIAL, PARTIAL, MAJOR]
    assert worst([*paths, Want(MAJOR, "k", "of which nothing is known")], heard) == MAJOR


def test_how_many_keys_were_heard_is_remembered_while_an_alert_of_the_rule_is_open() -> None:
    board = ComponentBoard({})
    board.want("e", "api", Want(MAJOR, "a", "hosts"), 0, 9)
    board = ComponentBoard(board.content())
    assert board["api"].goal() == PARTIAL
    board.want("f", "api", Want(MAJOR, "b", "hosts"), 0, 4)
    assert ComponentBoard(board.content())["api"].goal() == MAJOR


def test_what_was_written_down_before_keys_were_is_read() -> None:
    old = ComponentBoard({"component/api": '{"ours":[],"person":false,"wants":{"e":["major_outage",1]}}'}, {"api": 9})
    assert old["api"].goal() == MAJOR
    keyed = '{"ours":[],"person":false,"wants":{"e":["major_outage",1,"a"]}}'
    assert [ComponentBoard({"component/api": keyed}, keys)["api"].goal() for keys in ({"api": 9}, {})] == [PARTIAL, MAJOR]


@pytest.mark.parametrize("word", [DEGRADED, PARTIAL, MAJOR, "under_maintenance"])
def test_what_a_person_set_before_an_alert_is_left_alone_throughout(word: str) -> None:
    page = Page(word)
    page.fire("a", MAJOR)
    page.fire("a", DEGRADED)
    page.over("a")
    assert (page.shown, page.board.content()) == (word, {})


@pytest.mark.parametrize("word", [OPERATIONAL, DEGRADED, "under_maintenance"])
def test_what_a_person_set_during_an_alert_stays_until_all_alerts_are_over(word: str) -> None:
    page, shown = Page(), []
    page.fire("a", MAJOR)
    page.shown = word
    for step in (lambda: page.fire("a", MAJOR), lambda: page.fire("b", MAJOR), lambda: page.over("a"), lambda: page.over("b")):
        step()
        shown.append(page.shown)
    page.shown = OPERATIONAL
    page.fire("c", PARTIAL)
    assert (shown, page.shown) == ([word] * 4, PARTIAL)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_change_whose_answer_was_lost_is_still_ours(arrives: bool) -> None:  # noqa: FBT001
    page = Page()
    page.board.want("a", "api", Want(MAJOR), 0)
    page.sync(arrives=arrives, known=False)
    page.sync()
    assert (page.shown, page.board["api"].person, page.board.unsettled()) == (MAJOR, False, [])
    page.over("a")
    assert page.shown == OPERATIONAL


def test_a_component_whose_change_did_not_come_through_is_unsettled() -> None:
    page = Page()
    page.board.want("a", "api", Want(MAJOR), 0)
    before = page.board.unsettled()
    page.sync()
    settled = page.board.unsettled()
    page.board.release("a")
    assert (before, settled, page.board.unsettled()) == (["api"], [], ["api"])


def test_an_alert_unheard_of_for_a_week_is_taken_for_over() -> None:
    board = ComponentBoard({})
    board.want("a", "api", Want(MAJOR), 0)
    board.want("b", "api", Want(DEGRADED), 7 * 86_400_000 + 1)
    assert (board.held("a"), board["api"].goal()) == ([], DEGRADED)


def test_changes_are_counted_by_the_hour() -> None:
    board = ComponentBoard({"proposal/a": "{}"})
    spent = [board.spend(at, 2) for at in (0.0, 10.0, 20.0, HOUR + 1, HOUR + 2, HOUR + 11)]
    assert spent == [True, True, False, True, False, True]
    assert ComponentBoard(board.content()).others["proposal/a"] == "{}"


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_only_operational_or_our_own_last_word_is_ever_overwritten(seed: int, steps: int) -> None:
    draw, page = random.Random(seed), Page()
    ours: set[str] = set()
    person = False
    for _ in range(steps):
        match draw.randrange(4):
            case 0:
                page.board.want(draw.choice("abc"), "api", Want(draw.choice(STATUSES[1:])), 0)
            case 1:
                page.board.release(draw.choice("abc"))
            case 2:
                page.shown, person = draw.choice([*STATUSES, "under_maintenance"]), True
            case _:
                before = page.shown
                goal = page.sync(arrives=draw.random() < 0.7, known=False)
                if goal is not None:
                    assert before in ours | {OPERATIONAL}
                    ours, person = {before, goal}, False
    for episode in "abc":
        page.board.release(episode)
    page.sync()
    assert page.shown == OPERATIONAL or person
