"""Pace: the token bucket and the circuit breaker."""

from sinks.notification import Pace
from sinks.pace import Breaker, TokenBucket


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(Pace(per_second=2.0, burst=3))
    got = [bucket.take(now) for now in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5)]
    assert got == [0.0, 0.0, 0.0, 0.5, 0.0, 0.5]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(Pace(per_second=1.0, burst=2))
    assert [bucket.take(now) > 0 for now in (0.0, 1000.0, 1000.0, 1000.0)] == [False, False, False, True]


def test_a_clock_that_goes_back_gives_no_tokens_and_takes_none() -> None:
    bucket = TokenBucket(Pace(per_second=1.0, burst=2))
    assert [bucket.take(now) > 0 for now in (100.0, 50.0, 50.0)] == [False, False, True]


def test_a_breaker_opens_after_failures_in_a_row_and_says_so_once() -> None:
    breaker = Breaker(failures=3)
    opened = [breaker.failed(float(now)) for now in range(5)]
    assert (opened, breaker.open_since) == ([False, False, True, False, False], 2.0)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(failures=2)
    assert [breaker.failed(0.0), breaker.answered(0.0), breaker.failed(0.0)] == [False, None, False]


def test_probes_come_further_apart_up_to_a_minute_and_an_answer_closes() -> None:
    breaker = Breaker(failures=1)
    breaker.failed(0.0)
    waits = [breaker.wait(0.0)]
    for _ in range(5):
        breaker.failed(0.0)
        waits.append(breaker.wait(0.0))
    assert (waits, breaker.answered(100.0), breaker.wait(0.0)) == (
        [5.0, 10.0, 20.0, 40.0, 60.0, 60.0],
        100.0,
        0.0,
    )
