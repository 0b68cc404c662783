"""Patterns with groups match what `re` matches, and their groups cover the same, in a time that grows with the text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.named_pattern import KeyPattern, NamedPattern
from exporter.config.topic_pattern import TopicPattern

ATOMS = st.sampled_from(["a", "b", "[ab]", ".", r"\.", "(a|b)", "(?P<x{}>a)", "(?P<x{}>a|ab)", "(?P<x{}>[ab]+)"])
COUNTS = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,3}"])
PARTS = st.lists(st.tuples(ATOMS, COUNTS), min_size=1, max_size=5)


def pattern(parts: list[tuple[str, str]]) -> str:
    """Return a pattern in which each group has a name of its own."""
    return "^" + "".join(atom.replace("{}", str(number)) + count for number, (atom, count) in enumerate(parts)) + "$"


@given(parts=PARTS, text=st.text("ab.", max_size=8))
def test_a_pattern_matches_what_re_matches_and_its_groups_cover_the_same(
    parts: list[tuple[str, str]], text: str
) -> None:
    found = re.fullmatch(pattern(parts)[1:-1], text)
    groups = NamedPattern(pattern(parts)).named(text)
    assert groups == (None if found is None else {name: value or "" for name, value in found.groupdict().items()})


@given(parts=PARTS, text=st.text("ab.", max_size=8))
def test_a_pattern_without_groups_is_one_of_topics(parts: list[tuple[str, str]], text: str) -> None:
    plain = re.sub(r"\?P<\w+>", "", pattern(parts))
    assert (NamedPattern(plain).match(text) is not None) == TopicPattern(plain).matches(text)


def test_a_pattern_without_an_end_covers_all_that_begins_so() -> None:
    assert NamedPattern(r"^trades-(?P<exchange>[A-Z]+)-").named("trades-UPBIT-BTC-KRW") == {"exchange": "UPBIT"}
    assert NamedPattern(r"^trades-(?P<exchange>[A-Z]+)-").named("trades-upbit-") is None


def test_a_pattern_over_which_re_would_go_back_for_hours_is_decided() -> None:
    assert NamedPattern("^(?P<a>([a-z]+-?)+)x$").match("a" * 248 + "y") is None
    assert KeyPattern(r"^(.*.*.*[|])+$").value("|" * 200 + "x") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"^(?P<a>x)(?P<a>y)", "the group a stands twice"),
        (r"^(?:a)", "write ( instead of (?:"),
        (r"^(?P<1>a)", "write ( instead of"),
        (r"^\d+", r"write [0-9] instead of \d"),
        (r"^(?P<a>x", "a ( is not closed"),
        (r"^a|b", "alternatives belong into a group"),
    ],
)
def test_what_is_not_of_the_dialect_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        NamedPattern(text)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (r"^([A-Z]+)\|", "BINANCE|BTCUSDT", "BINANCE"),
        (r"^[^|]+[|](.+)$", "BINANCE|BTCUSDT", "BTCUSDT"),
        (r"^korea-[a-z]+-ticker-(.+)$", "korea-upbit-ticker-KRW-BTC", "KRW-BTC"),
        (r"^upbit:", "upbit:ticker-BTC", "upbit:ticker-BTC"),
        (r"^([[:digit:]]+) (.)", "42 ü", "42"),
        (r"^x:(.*)$", "x:비트", "비트"),
        (r"^x:(.*)$", "x:", None),
        (r"^y", "x", None),
    ],
)
def test_the_value_of_a_key_is_the_first_group(text: str, key: str, value: str | None) -> None:
    assert KeyPattern(text).value(key) == value


@pytest.mark.parametrize("text", [r"^[z-a]", r"^[", r"^\w+", "^(a", "^a**", "^a{9}{9}"])
def test_a_pattern_of_keys_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        KeyPattern(text)
