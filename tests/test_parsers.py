"""How durations, sizes, addresses and the rest are written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import addresses, parsers
from exporter.model import FeedKey


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("60s", 60), ("1m30s", 90), ("1 h", 3600), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600),
     ("0.25", 0.25), (60, 60), (0.5, 0.5), ("1h 30m", 5400)],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    """Numbers with units add up; without a unit they are seconds."""
    assert parsers.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "number"),
    [("1MiB", 2**20), ("64 KiB", 65536), ("5MB", 5_000_000), ("5mb", 5_000_000), ("1Gi", 2**30), ("1.5KiB", 1536),
     ("100B", 100), ("100", 100), (100, 100), ("2TiB", 2**41)],
)  # fmt: skip
def test_sizes(text: str | int, number: int) -> None:
    """An i makes powers of 1024, its lack powers of 1000; without a unit they are bytes."""
    assert parsers.size(text) == number


@pytest.mark.parametrize(
    ("text", "address"),
    [(":8000", ("", 8000)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8000", ("::1", 8000)),
     ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)), ("box-1.example:65535", ("box-1.example", 65535))],
)  # fmt: skip
def test_addresses(text: str, address: tuple[str, int]) -> None:
    """The host may be empty, and stands in brackets when it has colons."""
    assert addresses.host_and_port(text) == address


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (parsers.duration, ["", "s", "-1s", "1x", "1m30"]),
        (parsers.duration, ["1" * 400 + "s", "9" * 400, "\u0661s"]),
        (parsers.size, ["", "MiB", "-1", "1 mile", "5i", "1" * 400 + "K", 1.5]),
        (addresses.host_and_port, ["", "8000", ":", ":65536", ":-1", ":+1", "::1:80", "a b:80", "a/b:80", ":\u0661"]),
        (parsers.topic, ["", "a b", "a/b", ".", "..", "x" * 250, "a\n"]),
        (parsers.topic_or_pattern, ["^(", "^\\d", "^(?:a)", "^a*?", "a*"]),
        (parsers.brokers, ["", "a:1,", "a b", "a/b", "a:1;b:1", ":9", "::1:9092"]),
        (parsers.brokers, ["a:9092x", "a:75000", "a:0", "a:", "a:-1"]),
        (parsers.http_url, ["", "a", "ftp://a", "http://", "http://a:b", "http://[a"]),
        (parsers.redis_url, ["http://a", "redis://", "unix://", "redis://a:99999", "redis://a,", "redis+sentinel://a"]),
        (parsers.redis_url, ["redis+sentinel://a/", "redis+sentinel://a/m m", "redis+cluster://a,b:x", "redis://[a"]),
        (parsers.feed_key, ["", "a:b", "a:b:c:d", "a::c", "a:b c:d"]),
        (parsers.feed_glob, ["", "korea", "korea:upbit"]),
        (parsers.telemetry_path, ["", "/", "//", "metrics", "/-/x", "/-", "/api", "/api/v1", "/config", "/a?b"]),
        (parsers.telemetry_path, ["/feeds", "/feeds/x", "/static/x"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_value_error(read: Callable[[object], object], texts: list[object]) -> None:
    """Each reader tells why, and never returns something for nothing."""
    for text in texts:
        with pytest.raises(ValueError, match=r"."):
            read(text)


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (parsers.topic, ["ticker-data.korea", "_", "x" * 249]),
        (parsers.topic_or_pattern, ["ticker-data.korea", r"^(ticker|orderbook|trade)-data\..+$"]),
        (
            parsers.brokers,
            ["localhost:9092", "a:1, b:2", "SASL_SSL://a:1", "[::1]:9092", "a", "[fe80::1%eth0]", "größe:1"],
        ),
        (parsers.http_url, ["http://registry:8081", "https://user:pass@registry/path"]),
        (parsers.redis_url, ["redis://redis", "rediss://:pass@redis:6379/0", "unix:///run/redis.sock"]),
        (parsers.redis_url, ["redis+sentinel://:pass@a:26379,b/mymaster/0", "rediss+cluster://a:7000,[::1]:7001"]),
        (parsers.feed_glob, ["*", "korea:*", "korea:upbit:ticker", "*:ticker"]),
        (parsers.telemetry_path, ["/metrics", "/configuration", "/apis/metrics"]),
        (parsers.listen_address, [":8000"]),
    ],
)
def test_what_can_be_read_stays_as_it_was_written(read: Callable[[str], str], texts: list[str]) -> None:
    """Readers of text check it and change nothing."""
    assert [read(text) for text in texts] == texts


def test_feeds_are_three_words() -> None:
    """region:exchange:request_type, in that order."""
    assert parsers.feed_key("korea:upbit:ticker") == FeedKey("korea", "upbit", "ticker")


@given(st.text() | st.from_regex(r"[0-9.]*( ?(ms|s|m|h|d|w|[kmgt]i?b?))*|\[?[0-9:a]*\]?:[0-9]*", fullmatch=True))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    """Readers raise nothing else."""
    for read in (parsers.duration, parsers.size, addresses.host_and_port, parsers.topic_or_pattern,
                 parsers.brokers, parsers.http_url, parsers.redis_url, parsers.feed_key,
                 parsers.feed_glob, parsers.telemetry_path):  # fmt: skip
        with suppress(ValueError):
            read(text)


@pytest.mark.parametrize("text", [":8000", "127.0.0.1:8000", "[::1]:8000", "name:0", "[fe80::1%eth0]:1"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert addresses.authority(*addresses.host_and_port(text)) == text


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("", ("127.0.0.1", "::1")),
        ("0.0.0.0", ("127.0.0.1",)),
        ("::", ("::1", "127.0.0.1")),
        ("0:0::0", ("::1", "127.0.0.1")),
        ("::1", ("::1",)),
        ("metrics.example.com", ("metrics.example.com",)),
    ],
)
def test_what_listens_on_all_interfaces_is_reached_by_loopback(host: str, reached_at: tuple[str, ...]) -> None:
    assert addresses.local_hosts(host) == reached_at
