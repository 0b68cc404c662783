"""What keeps a consumer from reading, and for how long, as values of time."""

from exporter.source.reconnect import LONGEST_REOPEN_SECONDS, REOPEN_SECONDS, ReconnectPolicy

DOWN_SECONDS = 120.0


def test_it_begins_with_nothing_amiss() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    assert (outage.is_reachable, outage.broken, outage.is_long(1e9)) == (True, "", False)


def test_brokers_are_away_from_the_first_time_that_none_was_found() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    outage.broker_down(1000)
    outage.broker_down(1100)
    assert not outage.is_reachable
    assert [outage.is_long(now) for now in (1000, 1120, 1121)] == [False, False, True]


def test_one_answer_ends_that() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    outage.broker_down(1000)
    outage.broker_up()
    assert outage.is_reachable
    assert not outage.is_long(2000)


def test_what_breaks_is_replaced_after_a_second() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    assert outage.breaks("fenced", 1000) == REOPEN_SECONDS
    assert outage.broken == "fenced"
    assert [outage.wait_seconds(now) for now in (1000, 1000.5, 1001)] == [1, 0.5, 0]
    outage.replaced()
    assert not outage.broken


def test_what_breaks_again_soon_waits_twice_as_long_each_time_but_not_for_ever() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    assert [outage.breaks("fenced", now) for now in range(1000, 1080, 10)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_breaks_again_after_a_long_time_begins_anew() -> None:
    outage = ReconnectPolicy(DOWN_SECONDS)
    outage.breaks("fenced", 1000)
    outage.breaks("fenced", 1010)
    assert outage.breaks("fenced", 1010 + 2 * LONGEST_REOPEN_SECONDS) == 4
    assert outage.breaks("fenced", 1131 + 2 * LONGEST_REOPEN_SECONDS) == REOPEN_SECONDS
