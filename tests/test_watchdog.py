"""The watchdog ends a process only when a restart helps. That it does end one, `tests/chaos` shows."""

from collections.abc import Iterable

import pytest

from exporter.runtime.watchdog import Watchdog

LIMIT = 60.0


def verdicts(looks: Iterable[tuple[float, bool]]) -> list[bool]:
    """Whether the process is to end at each look, one every 3 s; a look finds how long it is stuck, and an answer."""
    now = (0.0, True)
    dog = Watchdog(lambda: now[0], lambda: now[1], LIMIT)
    found: list[bool] = []
    for number, look in enumerate(looks):
        now = look
        found.append(bool(dog.reason_to_end(1000 + 3.0 * number)))
    return found


def test_process_ends_at_its_limit_while_the_broker_answers() -> None:
    assert verdicts((3.0 * number, True) for number in range(22)) == [False] * 20 + [True] * 2


def test_process_lives_while_the_broker_is_silent() -> None:
    """However long it takes: a new one could do no better."""
    assert not any(verdicts((3.0 * number, False) for number in range(1000)))


@pytest.mark.parametrize("silent_until", [60, 90, 300])
def test_process_has_half_its_limit_once_the_broker_is_back(silent_until: int) -> None:
    looks = [(at, at > silent_until) for at in range(0, 600, 3)]
    assert verdicts(looks).index(True) * 3 == silent_until + LIMIT / 2


def test_process_lives_as_long_as_its_calls_return() -> None:
    assert not any(verdicts((min(LIMIT - 1, number), True) for number in range(1000)))
