"""Rows by step that are remembered are those that a single question over the whole range gives."""

import random
import re
from collections import Counter

import pytest

from flows.dashboard_queries import Remembered
from flows.dashboard_steps import Grid, Steps
from flows.report_source import Range

MINUTE = 60_000


class Tables:
    """Windows of a minute, each with its number as value: sums by step, as the SQL of a range gives them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.there = range(1000)

    def query(self, sql: str) -> list[dict[str, float]]:
        self.asked.append(sql)
        step, phase = (int(each) for each in re.findall(r"step (\d+) phase (-?\d+)", sql)[0])
        sums: Counter[int] = Counter()
        for first, last in re.findall(r"\[(\d+),(\d+)\)", sql):
            for window in self.there:
                if int(first) <= window * MINUTE < int(last):
                    sums[Grid(step, phase).floor(window * MINUTE) // 1000] += window + 1
        return [{"second": second, "value": value} for second, value in sorted(sums.items())]


def sql_of(grid):
    return lambda parts: f"step {grid.step} phase {grid.phase} " + " ".join(f"[{each.start},{each.end})" for each in parts)


def test_what_is_put_together_is_what_one_question_gives_whatever_was_asked_before():
    chosen, tables = random.Random(7), Tables()
    steps = Steps(tables.query)
    for _ in range(300):
        grid = Grid(chosen.choice([1, 3, 7, 60]) * MINUTE, chosen.choice([0, 0, MINUTE]))
        start = chosen.randrange(900)
        over = Range(start * MINUTE, chosen.randrange(start + 1, 1001) * MINUTE)
        want = tables.query(sql_of(grid)([over]))
        assert steps.rows(sql_of(grid), over, grid, chosen.choice([0, 500, 990]) * MINUTE) == want


def test_of_a_range_that_moves_on_only_what_is_new_is_asked_for():
    tables, grid = Tables(), Grid(60 * MINUTE)
    steps = Steps(tables.query)
    steps.rows(sql_of(grid), Range(0, 900 * MINUTE), grid, 899 * MINUTE)
    steps.rows(sql_of(grid), Range(5 * MINUTE, 905 * MINUTE), grid, 904 * MINUTE)
    head, tail = f"[{5 * MINUTE},{60 * MINUTE})", f"[{840 * MINUTE},{905 * MINUTE})"
    assert tables.asked[1:] == [f"step {grid.step} phase 0 {head} {tail}"]


def test_steps_without_rows_are_asked_for_again():
    tables, grid = Tables(), Grid(60 * MINUTE)
    steps = Steps(tables.query)
    over, tables.there = Range(0, 300 * MINUTE), range(120, 300)
    assert len(steps.rows(sql_of(grid), over, grid, over.end)) == 3
    tables.there = range(300)
    assert len(steps.rows(sql_of(grid), over, grid, over.end)) == 5


def test_what_somebody_asked_for_is_asked_again_before_it_gets_old_and_readers_have_the_new():
    tables, grid = Tables(), Grid(60 * MINUTE)
    steps, over = Steps(tables.query), Range(0, 600 * MINUTE)
    before = steps.rows(sql_of(grid), over, grid, over.end)
    tables.there = range(300, 1000)
    assert steps.rows(sql_of(grid), over, grid, over.end) == before
    steps.renew(after_s=0)
    asked = list(tables.asked)
    assert [row["second"] for row in steps.rows(sql_of(grid), over, grid, over.end)] == [
        60 * each for each in range(300, 600, 60)
    ]
    assert tables.asked[: len(asked)] == asked


def test_what_nobody_asked_for_meanwhile_is_not_asked_again():
    tables, grid = Tables(), Grid(60 * MINUTE)
    steps, over = Steps(tables.query), Range(0, 600 * MINUTE)
    steps.rows(sql_of(grid), over, grid, over.end)
    steps.renew(after_s=0)
    steps.renew(after_s=0)
    assert len(tables.asked) == 2
    steps.renew(after_s=3600)
    assert len(tables.asked) == 2


@pytest.mark.parametrize("lasting", [False, True])
def test_a_window_that_closes_makes_old_what_does_not_last(lasting):
    made, kept = [], Remembered(None, database="edgewatch")
    for _ in range(2):
        kept.once("name", lambda: made.append(1), lasting=lasting)
    kept.forget()
    kept.once("name", lambda: made.append(1), lasting=lasting)
    assert len(made) == (1 if lasting else 2)
