"""What an event changes in the caches: the names, the patterns and the times in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis import Redis

from exporter.ingestion.cache.actions import Drop, Lifetimes, Refresh, Write, action_of, source_of, time_us
from exporter.ingestion.cache.keys import Choice, Names, escaped, has_kind, matcher, names_of
from exporter.ingestion.events import CacheInvalidation, DataProcessingCompleted, ExchangeRateUpdated, NewDataReceived
from tests.support.redis import RedisServer

AT = "2025-01-27T10:00:00.000001Z"
AT_US = 1_737_972_000_000_001


def test_each_event_has_its_action() -> None:
    rate = ExchangeRateUpdated("USD", "미국 달러", 1330.5, 1335.2, 1325.8, "api", AT, AT)
    write = action_of(rate)
    assert isinstance(write, Write)
    assert (write.code, write.at_us, source_of(write.payload)) == ("USD", AT_US, "api")
    assert action_of(CacheInvalidation(("a",), "t", AT)) == Drop(Names(("a",), ()), AT_US)
    assert action_of(DataProcessingCompleted("api", 60, 1500, AT, "id")) == Refresh("api", AT_US)
    assert action_of(NewDataReceived("api", 60, AT, 1500, "id")) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[1]"])
def test_what_is_no_rate_has_no_source(payload: bytes) -> None:
    assert source_of(payload) is None


@pytest.mark.parametrize(
    "text", ["2025-01-27T19:00:00.000001+09:00", "2025-01-27t10:00:00.0000019z", " 2025-01-27 10:00:00,000001Z "]
)
def test_times_are_compared_in_microseconds(text: str) -> None:
    assert time_us(text) == AT_US


def test_a_rate_has_another_name_in_events() -> None:
    found = names_of(["exchange_rate:USD", "rate:USD", "exchange_rate:*", "history:USD", "stats:\\*"])
    assert found == Names(("rate:USD", "history:USD"), ("rate:*", "stats:\\*"))
    assert found.all_rates


@pytest.mark.parametrize(
    ("pattern", "all_rates", "may_match_rates"),
    [
        ("*", True, True),
        ("rate:*", True, True),
        ("rate:U*", False, True),
        ("*USD", False, True),
        ("stats:*", False, False),
    ],
)
def test_a_pattern_may_reach_rates(pattern: str, all_rates: bool, may_match_rates: bool) -> None:
    found = names_of([pattern])
    assert (found.all_rates, found.may_match_rates) == (all_rates, may_match_rates)


def test_a_pattern_without_a_kind_reaches_only_caches() -> None:
    everything, sessions = Choice(["*"], []), Choice(["session:*"], [])
    assert all(key in everything for key in ("rate:USD", "history:USD:1d", "stats:a", "analysis:b"))
    assert not any(key in everything for key in ("session:1", "ingestion:floor", "rates"))
    assert "session:1" in sessions
    assert [has_kind(each) for each in ("*", "rate*", "r?te:a", "rate:*")] == [False, False, False, True]


@pytest.mark.parametrize("pattern", ["*", "marketdata:*", "ingestion:*", "m*:*"])
def test_protected_keys_are_never_chosen(pattern: str) -> None:
    choice = Choice([pattern], ["marketdata:"])
    for key in ("marketdata:partitions", "ingestion:seen:rate:USD"):
        assert key not in choice
        assert not choice.allows(key)


@example("[a-]]b", ["]b", "ab"])
@example("[\\", ["\\"])
@given(st.text("ab*?[]^-\\:", max_size=8), st.lists(st.text("ab^-]\\:", max_size=5), min_size=1, max_size=5))
def test_patterns_match_as_in_redis(matching_redis: Redis, pattern: str, texts: list[str]) -> None:
    matching_redis.flushall()
    matching_redis.mset(dict.fromkeys(texts, 1))
    expression = matcher([pattern])
    assert {text for text in texts if expression.fullmatch(text)} == set(matching_redis.keys(pattern))


@pytest.fixture(scope="module")
def matching_redis(_redis: RedisServer) -> Redis:
    """A client of the Redis of this session."""
    return _redis.client()


@given(st.text(max_size=20))
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    found = matcher([escaped(text)])
    assert found.fullmatch(text)
    assert not found.fullmatch(f"{text}a")


def test_what_is_known_of_a_rate_outlives_it() -> None:
    assert Lifetimes(rate=7200, seen=60).seen_ms == 7_200_000
