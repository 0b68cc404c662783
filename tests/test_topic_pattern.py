"""Patterns of topics: what is accepted, the C library and RE2/J read alike; what is not says what to write instead."""

import ctypes
import re
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.topic_pattern import TopicPattern

libc = ctypes.CDLL(None)
REG_EXTENDED = 1
REGEX_BYTES = 1024  # more than any C library's regex_t has

names = st.text("abBz019._-", max_size=9)


def found_by_libc(pattern: str, name: str) -> bool:
    """Whether the C library finds the pattern, as librdkafka asks it."""
    compiled = ctypes.create_string_buffer(REGEX_BYTES)
    assert libc.regcomp(compiled, pattern.encode(), REG_EXTENDED) == 0, f"{pattern} is not accepted by the C library"
    try:
        return bool(libc.regexec(compiled, name.encode(), 0, None, 0) == 0)
    finally:
        libc.regfree(compiled)


def matched_by_python(pattern: str, name: str) -> bool:
    """Whether it matches the whole name, as RE2 reads it; Python knows no classes by name."""
    for known, characters in (("[:digit:]", "0-9"), ("[:alpha:]", "A-Za-z")):
        pattern = pattern.replace(known, characters)
    return re.fullmatch(pattern, name, re.ASCII) is not None


def patterns() -> st.SearchStrategy[str]:
    """Patterns that are accepted."""
    brackets = st.sampled_from(["[ab]", "[a-b0-9]", "[^a.]", "[a-]", "[-.]", "[[:digit:]z]", "[^[:alpha:]]"])
    atoms = st.sampled_from(["a", "b", "B", "0", "_", "-", ".", r"\.", r"\-"]) | brackets
    counts = st.sampled_from(["*", "+", "?", "{1}", "{2}", "{0,2}", "{1,}", "{2,3}"])
    sequences = st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=4).map("".join),
            st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
            st.builds(lambda ways, count: f"({ways}){count}", inner, counts),
            st.builds(lambda atom, count: atom + count, atoms, counts),
        ),
        max_leaves=8,
    )
    return st.builds(lambda body, end: f"^{body}{end}", sequences, st.sampled_from(["", "$"]))


@given(patterns(), st.lists(names, min_size=1, max_size=20))
def test_all_engines_agree_on_what_a_pattern_means(pattern: str, names: list[str]) -> None:
    read = TopicPattern(pattern)
    told = [read.matches(name) for name in names]
    assert told == [found_by_libc(read.subscribed, name) for name in names]
    assert told == [matched_by_python(read.subscribed, name) for name in names]
    assert told == [found_by_libc(pattern, name) for name in names], "what is subscribed to means something else"


@given(st.text(r"ab0.-_[]^$()|*+?{},\:dwP<>=! ", max_size=14).map("^{}".format), st.lists(names, max_size=9))
@example("^[^]$", ["a"])
@example("^a{1,99999999999999}$", ["a"])
@example(r"^[a\-b]$", ["a"])
def test_whatever_is_accepted_means_the_same_to_all_engines(text: str, names: list[str]) -> None:
    with suppress(ValueError):
        read = TopicPattern(text)
        told = [read.matches(name) for name in names]
        assert told == [found_by_libc(read.subscribed, name) for name in names]
        assert told == [matched_by_python(read.subscribed, name) for name in names]


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        (r"^(ticker|trade)-data\..+$", ["ticker-data.korea", "trade-data.x"], ["ticker-data.", "x.ticker-data.y"]),
        (r"^ticker-data\.", ["ticker-data.", "ticker-data.korea"], ["ticker-dataXkorea", "x.ticker-data.korea"]),
        ("^a[[:digit:]]{2}$", ["a12"], ["a1", "a123", "ax1"]),
        ("^a*b", ["b", "aab", "bc"], ["ac", "cb"]),
        ("^(a?){3}$", ["a", "aaa"], ["aaaa"]),
        ("^[^_].*[.-]x$", ["a.x", "b-x"], ["_a.x", "ax"]),
    ],
)  # fmt: skip
def test_a_pattern_means(pattern: str, matched: list[str], others: list[str]) -> None:
    read = TopicPattern(pattern)
    assert [name for name in [*matched, *others] if read.matches(name)] == matched


@pytest.mark.parametrize(
    ("pattern", "subscribed"), [("^a", "^a.*$"), ("^a$", "^a$"), ("^(a|b)", "^(a|b).*$"), (r"^a\.", r"^a\..*$")]
)
def test_what_is_subscribed_to_covers_the_whole_name(pattern: str, subscribed: str) -> None:
    """A broker that matches patterns wants that, a client does not mind."""
    assert TopicPattern(pattern).subscribed == subscribed


def test_a_pattern_that_backtracks_for_ever_elsewhere_is_matched_at_once() -> None:
    assert not TopicPattern(r"^(([a-z]+-?)+)+\.data$").matches("a" * 249)


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("^a|b", "write ^(a|b)"),
        ("^a|^b", "write ^(a|b)"),
        ("^a$|^b$", "write ^(a|b)$"),
        ("^a$|b", "write ^(a|b.*)$"),
        (r"^ticker-data\..*|^trade-data\..*", r"write ^(ticker-data\..*|trade-data\..*)"),
        (r"^a\d+$", r"write [0-9] instead of \d"),
        (r"^\w+$", r"write [A-Za-z0-9_] instead of \w"),
        (r"^[\w.]+$", r"within brackets write A-Za-z0-9_ instead of \w"),
        (r"^[a\.]+$", r"within brackets write . instead of \."),
        (r"^[a\-z]+$", r"within brackets write - as the last instead of \-"),
        ("^[a-c-z]+$", "within brackets - must be first or last"),
        ("^[z-a]+$", "z-a is no range"),
        ("^[[:word:]]+$", "[:word:] is read differently by clients and brokers"),
        ("^[[.a.]]$", "no topic has '['"),
        ("^[]a]$", "[] is no character"),
        ("^[^]", "[^] is no character"),
        ("^[^a-zA-Z0-9._-]", "is no character"),
        ("^[a", "a [ is not closed"),
        ("^a{,3}$", "{0,3} instead of {,3}"),
        ("^a{x}$", "write a count such as {2}"),
        ("^a{3,2}$", "{3,2} repeats nothing"),
        ("^a{0}b$", "{0} repeats nothing"),
        ("^a{250}$", "more than 249 times"),
        ("^(a{30}){30}$", "more than 249 times"),
        ("^a+?$", "write + instead of +?"),
        ("^a{2}?", "write {2} instead of {2}?"),
        ("^a++$", "write + instead of ++"),
        ("^[ab]{2}{3}$", "write ([ab]{2}){3} instead of [ab]{2}{3}"),
        ("^*a", "nothing that * could repeat"),
        ("^(?:a|b)$", "write ( instead of (?:"),
        ("^(?P<x>a)$", "write ( instead of (?P<x>"),
        ("^(?!__).*", "clients cannot read (?!"),
        ("^(?<=a)b", "clients cannot read (?<="),
        ("^(?i)ticker", "write such as [Tt]"),
        (r"^\ba\b$", r"\b is read differently by clients and brokers"),
        (r"^\<a\>$", "no topic has '<'"),
        (r"^a\Z", r"\Z is read differently"),
        (r"^(a)\1$", r"\1 is read differently"),
        (r"^a\$", "no topic has '$'"),
        ("^a$b", "$ may stand at the end only"),
        ("^(a$)", "$ may stand at the end only"),
        ("^^a", "^ may stand at the beginning only"),
        ("^a, ^b", "no topic has ','"),
        ("^ticker data", "no topic has ' '"),
        ("^티커", "no topic has '\\ud2f0'"),
        ("^a()", "there is nothing before )"),
        ("^(a|)b", "there is nothing before )"),
        ("^", "there is nothing before the end, write .+"),
        ("^$", "there is nothing before $, write .+"),
        ("^(a", "a ( is not closed"),
        ("^a)", "a ) has no matching ("),
        ("^" + "(" * 1000, "nested deeper than 20"),
    ],
)  # fmt: skip
def test_what_is_read_differently_is_refused_with_what_to_write_instead(pattern: str, instead: str) -> None:
    with pytest.raises(ValueError, match=re.escape(instead)):
        TopicPattern(pattern)
