"""What keeps a consumer from reading, and for how long, as values of time."""

from exporter.source.reconnect import LONGEST_REOPEN_SECONDS, REOPEN_SECONDS, ReconnectPolicy

DOWN_SECONDS = 120.0


def test_it_starts_without_a_failure() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    assert (policy.is_reachable, policy.failure, policy.is_down_too_long(1e9)) == (True, "", False)


def test_brokers_are_away_from_the_first_time_that_none_was_found() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    policy.broker_down(1000)
    policy.broker_down(1100)
    assert not policy.is_reachable
    assert [policy.is_down_too_long(now) for now in (1000, 1120, 1121)] == [False, False, True]


def test_one_answer_ends_that() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    policy.broker_down(1000)
    policy.broker_up()
    assert policy.is_reachable
    assert not policy.is_down_too_long(2000)


def test_a_failed_consumer_is_replaced_after_a_second() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    assert policy.consumer_failed("fenced", 1000) == REOPEN_SECONDS
    assert policy.failure == "fenced"
    assert [policy.wait_seconds(now) for now in (1000, 1000.5, 1001)] == [1, 0.5, 0]
    policy.reopened()
    assert not policy.failure


def test_the_wait_doubles_up_to_a_limit_while_failures_repeat() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    assert [policy.consumer_failed("fenced", now) for now in range(1000, 1080, 10)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_starts_again_after_a_long_time_without_failure() -> None:
    policy = ReconnectPolicy(DOWN_SECONDS)
    policy.consumer_failed("fenced", 1000)
    policy.consumer_failed("fenced", 1010)
    assert policy.consumer_failed("fenced", 1010 + 2 * LONGEST_REOPEN_SECONDS) == 4
    assert policy.consumer_failed("fenced", 1131 + 2 * LONGEST_REOPEN_SECONDS) == REOPEN_SECONDS
