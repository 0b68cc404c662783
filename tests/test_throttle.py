"""How long threads of the server pause, so that they leave half of a processor to the rest."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.throttle import BURST_SECONDS, PAUSE_SECONDS_MAX, SAVED_SHARE, WORK_SECONDS, Allowance, CpuThrottle


def test_the_throttle_pauses_for_as_long_as_the_thread_worked() -> None:
    throttle = CpuThrottle()
    _work(BURST_SECONDS)
    began = time.monotonic()
    throttle.pause()
    _work(0.005)
    before = time.monotonic()
    throttle.pause()
    # The thread may have been interrupted while it worked, which is a rest.
    assert time.monotonic() - before >= 0.005 - SAVED_SHARE * (before - began)


@given(st.lists(st.floats(WORK_SECONDS, PAUSE_SECONDS_MAX), min_size=1, max_size=200))
def test_a_thread_that_always_works_pauses_for_as_long_except_for_one_burst(works: list[float]) -> None:
    allowance, pauses = Allowance(), [0.0]
    for worked in works:
        pauses.append(allowance.pause_seconds(worked, pauses[-1]))
    assert sum(works) - sum(pauses) <= BURST_SECONDS + SAVED_SHARE * sum(works) + 1e-9


def test_a_thread_that_rested_works_through_a_burst() -> None:
    allowance = Allowance()
    for rest in (0.0, BURST_SECONDS / SAVED_SHARE):
        assert allowance.pause_seconds(BURST_SECONDS / 2, rest) == 0
        assert allowance.pause_seconds(BURST_SECONDS / 2, 0.0) == 0
        assert allowance.pause_seconds(WORK_SECONDS, 0.0) == WORK_SECONDS


def _work(seconds: float) -> None:
    begun = time.thread_time()
    while time.thread_time() - begun < seconds:
        pass
