"""Failures are retried after a pause that fits the cause, and faults that need an operator are reported."""

import pytest

from exporter.publishing.channels import Cause
from exporter.publishing.retry import DUPLICATE, FENCED_AGAIN_SECONDS, LONGEST_PAUSE_SECONDS, RetryPolicy


@pytest.mark.parametrize("cause", [Cause.ABORTED, Cause.NOT_OPEN, Cause.TOO_LARGE])
def test_temporary_failures_need_no_operator(cause: Cause) -> None:
    policy = RetryPolicy()
    assert policy.failed(cause, "error", 0.0) <= 1.0
    assert policy.needs_operator == ""


def test_a_denial_is_reported_until_publishing_succeeds() -> None:
    """It is retried now and then, because a granted permission is not announced."""
    policy = RetryPolicy()
    assert policy.failed(Cause.DENIED, "no WRITE", 0.0) >= 10.0
    assert policy.needs_operator == "publishing events is denied: no WRITE"
    policy.succeeded(20.0)
    assert policy.needs_operator == ""


def test_being_fenced_once_needs_no_operator() -> None:
    """An earlier producer that was abandoned too soon does that, and may do so another day."""
    policy = RetryPolicy()
    for day in range(3):
        assert policy.failed(Cause.FENCED, "fenced", day * 86_400.0) <= 1.0
        assert policy.needs_operator == ""


@pytest.mark.parametrize("cause", [Cause.ABORTED, Cause.NOT_OPEN])
def test_being_fenced_after_an_outage_is_no_other_process(cause: Cause) -> None:
    """Late requests of abandoned producers of this process fence their successor."""
    policy = RetryPolicy()
    for minute in range(0, 300, 60):
        policy.failed(cause, "timed out", minute)
        assert policy.failed(Cause.FENCED, "fenced", minute + 20.0) <= 1.0
        assert policy.needs_operator == ""


def test_being_fenced_again_soon_is_another_process() -> None:
    """Pauses grow, so that the two do not fence each other without end."""
    policy, now, pauses = RetryPolicy(), 0.0, []
    for _ in range(8):
        pauses.append(policy.failed(Cause.FENCED, "fenced", now))
        policy.succeeded(now + pauses[-1])
        now += pauses[-1] + FENCED_AGAIN_SECONDS / 2
    assert policy.needs_operator == DUPLICATE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_the_report_ends_once_the_other_process_is_gone() -> None:
    policy = RetryPolicy()
    for _ in range(2):
        policy.failed(Cause.FENCED, "fenced", 0.0)
    policy.succeeded(FENCED_AGAIN_SECONDS / 2)
    assert policy.needs_operator == DUPLICATE
    policy.succeeded(FENCED_AGAIN_SECONDS * 1.5)
    assert policy.needs_operator == ""
