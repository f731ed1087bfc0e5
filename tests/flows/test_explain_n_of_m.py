"""What is explained of `for` as "n of m": the counts are those of the state machine, and the words say them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.decision_log import FolderLog
from flows.hold import Hold
from flows.output import canonical
from tests.flows.history import Settings, histories, rates, results_of, rule
from tests.flows.test_explain import Remembered, cases, words_at, write


@pytest.mark.slow
@settings(max_examples=25)
@given(histories(), st.sampled_from(["2 of 3", "3 of 5", Hold(warning="2 of 4", critical="2 of 5"), Hold(critical="2 of 3")]))
def test_what_counts_among_the_last_is_what_the_state_machine_counts(tmp_path_factory, history, hold):
    folder, results = tmp_path_factory.mktemp("files"), results_of(history)
    chosen = rule(for_=hold, keys="all")
    config, _ = write(folder, results, [chosen])
    alerting = Alerting(Settings((chosen,)))
    remembered: dict[tuple[int, str], int] = {}
    for result in results:
        alerting.evaluate(result)
        book = alerting._books[0]
        remembered |= {(result.end, key): int(each) for key, each in zip(book._keys, book._columns.recent, strict=True)}
    for case in cases(Remembered(FolderLog(folder)), config):
        recent = remembered[case.end, canonical(case.key).decode()]
        for code, (name, needed) in enumerate(chosen.hold.needed().items(), 1):
            levels = recent >> 2 * np.arange(needed.among) & 3
            assert case.counted(name) == np.count_nonzero(levels >= code)


def test_it_is_said_how_many_of_the_last_were_bad_and_what_it_takes(tmp_path):
    config, _ = write(tmp_path, results_of(()) + rates(0.02, 0.0, 0.02), [rule(for_=Hold(warning="2 of 3"))])
    states = [words_at(tmp_path, config, n)[1]["state"] for n in range(3)]
    waits = "It fires after 1 critical in a row or 2 at warning or worse among the last 3 (for)."
    assert states == [
        f"From inactive to pending: 1 of the last 3 evaluations at warning or worse. {waits}",
        f"Stays pending: 1 of the last 3 evaluations at warning or worse. {waits}",
        "From pending to firing (warning): 2 of the last 3 evaluations at warning or worse.",
    ]
