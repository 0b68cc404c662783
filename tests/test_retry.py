"""What fails is tried again after a pause that fits its cause, and what only an operator can mend is said."""

import pytest

from exporter.publishing.channels.channel import Cause
from exporter.publishing.retry import DUPLICATE, FENCED_AGAIN_SECONDS, LONGEST_PAUSE_SECONDS, RetryPolicy


@pytest.mark.parametrize("cause", [Cause.ABORTED, Cause.NOT_OPEN, Cause.TOO_LARGE])
def test_what_passes_by_itself_is_nobodys_business(cause: Cause) -> None:
    patience = RetryPolicy()
    assert patience.failed(cause, "trouble", 0.0) <= 1.0
    assert patience.needs_operator == ""


def test_what_is_not_allowed_is_said_until_it_is() -> None:
    """It is tried again now and then, because nobody tells us."""
    patience = RetryPolicy()
    assert patience.failed(Cause.DENIED, "no WRITE", 0.0) >= 10.0
    assert patience.needs_operator == "not allowed: no WRITE"
    patience.succeeded(20.0)
    assert patience.needs_operator == ""


def test_to_be_thrown_out_once_is_no_complaint() -> None:
    """A predecessor that was given up too early does that; so does one tomorrow."""
    patience = RetryPolicy()
    for day in range(3):
        assert patience.failed(Cause.FENCED, "fenced", day * 86_400.0) <= 1.0
        assert patience.needs_operator == ""


@pytest.mark.parametrize("cause", [Cause.ABORTED, Cause.NOT_OPEN])
def test_to_be_thrown_out_after_an_outage_is_no_other_process(cause: Cause) -> None:
    """What our own producers asked before they were given up arrives late, and throws out their successor."""
    patience = RetryPolicy()
    for minute in range(0, 300, 60):
        patience.failed(cause, "timed out", minute)
        assert patience.failed(Cause.FENCED, "fenced", minute + 20.0) <= 1.0
        assert patience.needs_operator == ""


def test_to_be_thrown_out_again_soon_is_another_process() -> None:
    """Pauses grow, so that the two do not throw each other out without end."""
    patience, now, pauses = RetryPolicy(), 0.0, []
    for _ in range(8):
        pauses.append(patience.failed(Cause.FENCED, "fenced", now))
        patience.succeeded(now + pauses[-1])
        now += pauses[-1] + FENCED_AGAIN_SECONDS / 2
    assert patience.needs_operator == DUPLICATE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_complaint_ends_once_the_other_process_is_gone() -> None:
    patience = RetryPolicy()
    for _ in range(2):
        patience.failed(Cause.FENCED, "fenced", 0.0)
    patience.succeeded(FENCED_AGAIN_SECONDS / 2)
    assert patience.needs_operator == DUPLICATE
    patience.succeeded(FENCED_AGAIN_SECONDS * 1.5)
    assert patience.needs_operator == ""
