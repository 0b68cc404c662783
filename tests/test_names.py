"""What may become a label value or a key, and which feeds are wanted at all."""

from __future__ import annotations

import fnmatch
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.feed_globs import FeedFilter
from exporter.decoding.names import check_feed, check_symbol
from exporter.model import FeedKey, Rejected

GOOD_VALUES = ["korea", "a", "9", "us-east_1.b", "x" * 64]
BAD_VALUES = [
    "",
    "-a",
    ".a",
    "_a",
    "a:b",
    "a b",
    "a\n",
    "\n",
    'a"b',
    "a\\b",
    "a\x00",
    "한국",
    "\u0661",
    "\uff41",
    "x" * 65,
    "*",
]


@pytest.mark.parametrize("place", range(3))
def test_feed_values_are_short_words_of_ascii(place: int) -> None:
    def feed(value: str) -> FeedKey:
        return FeedKey(*[value if number == place else "good" for number in range(3)])

    for value in GOOD_VALUES:
        check_feed(feed(value), 64)
    for value in BAD_VALUES:
        with pytest.raises(Rejected, match=f"invalid_feed: {FeedKey._fields[place]} is ") as caught:
            check_feed(feed(value), 64)
        assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    "symbol", ["KRW-BTC", "비트코인", "BTC/USDT", 'a"b', "a\\b", "{a=1}", "é", "e\u0301", "💰", "x" * 64]
)
def test_symbols_are_printable_in_any_alphabet(symbol: str) -> None:
    check_symbol(symbol, 64)


@pytest.mark.parametrize(
    "symbol",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 65, id="too long"),
        pytest.param("a\nb", id="newline"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("a\x1b[31m", id="escape sequence"),
        pytest.param("a\x7f", id="delete"),
        pytest.param("a\u0085", id="next line"),
        pytest.param("a\u2028b", id="line separator"),
        pytest.param("\u202ecba", id="bidi override"),
        pytest.param("a\u200bb", id="zero width"),
        pytest.param("\ufeffa", id="byte order mark"),
        pytest.param("a\u00a0b", id="no-break space"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param("\ue000", id="private use"),
        pytest.param("\uffff", id="no character"),
    ],
)
def test_symbols_that_cannot_be_shown_are_rejected(symbol: str) -> None:
    with pytest.raises(Rejected, match="invalid_symbol: a symbol is ") as caught:
        check_symbol(symbol, 64)
    assert caught.value.detail.isprintable()


@given(name=st.text(st.characters()), length=st.integers(1, 256))
@example(name="a" * 300, length=256)
def test_what_passes_can_be_shown_and_stored(name: str, length: int) -> None:
    with suppress(Rejected):
        check_symbol(name, length)
        assert 0 < len(name) <= length
        assert name.encode().decode().isprintable()
    with suppress(Rejected):
        check_feed(FeedKey(name, name, name), length)
        assert 0 < len(name) <= length
        assert name.isascii()


WORDS = ["korea", "upbit", "ticker", "*", "k*a", "?pbit", "[a-u]pbit", "*:*"]


@given(globs=st.lists(st.sampled_from([":".join(parts) for parts in product(WORDS, repeat=3)]), max_size=4))
@example(globs=["k*e*a:*:t*r", "u*s:*:*t*"])
def test_the_filter_matches_as_globs_do(globs: list[str]) -> None:
    for region, exchange in product(["korea", "KOREA", "us"], ["upbit", "bpbit", "x"]):
        feed = FeedKey(region, exchange, "ticker")
        matches = any(fnmatch.fnmatchcase(str(feed), glob) for glob in globs)
        assert FeedFilter(globs, []).wants(feed) == matches
        assert FeedFilter(["*"], globs).wants(feed) == (not matches)
