"""A rate limit that tells how many it kept back."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from exporter.runtime.rate_limit import RateLimiter


def test_a_burst_passes_then_one_a_second_and_what_was_kept_back_is_told() -> None:
    limiter = RateLimiter(burst=2, per_second=1.0)
    assert [limiter.admit("a", 0) for _ in range(4)] == [0, 0, None, None]
    assert limiter.admit("b", 0) == 0
    assert limiter.admit("a", 999) is None
    assert limiter.admit("a", 1000) == 3
    assert [limiter.admit("a", 1_000_000) for _ in range(3)] == [0, 0, None]


@given(times=st.lists(st.integers(0, 100_000), max_size=200))
def test_whatever_the_clock_does_all_that_was_kept_back_is_told(times: list[int]) -> None:
    """Once the next one passes; also when the clock goes back."""
    limiter = RateLimiter(burst=3, per_second=1.0)
    answers = [limiter.admit("a", now_ms) for now_ms in times]
    untold = len(list(takewhile(lambda answer: answer is None, reversed(answers))))
    assert sum(filter(None, answers)) + untold == answers.count(None)


@given(times=st.lists(st.integers(0, 100_000), min_size=1, max_size=200).map(sorted))
def test_no_more_pass_than_the_burst_and_one_a_second(times: list[int]) -> None:
    limiter = RateLimiter(burst=3, per_second=1.0)
    passed = [now_ms for now_ms in times if limiter.admit("a", now_ms) is not None]
    assert len(passed) <= 3 + (times[-1] - times[0]) / 1000
    assert len(passed) >= min(3, len(times))
