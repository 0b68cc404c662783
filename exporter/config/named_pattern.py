"""Patterns with groups, over names of topics and keys of records: the dialect of `topic_pattern` and `(?P<name>…)`.

What a group covers is found by one walk over the pattern and the text in which no place is visited twice, so the time
grows with the length of both; `re` may backtrack for hours. Of several ways the first that Perl would try counts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from string import printable
from typing import NamedTuple, cast

from exporter.config.topic_syntax import CHARACTERS, Choice, Node, Parser, Repeat, State

# Characters that are no printable ASCII are all the same to a pattern.
OTHER = "\N{REPLACEMENT CHARACTER}"
KEY_CHARACTERS = frozenset(printable.strip() + " " + OTHER)
_NAMED = re.compile(r"\(\?P?<([A-Za-z]\w{0,63})>", re.ASCII)
_BRACKETS = re.compile(r"\[(\^?)(\]?(?:\[:\w+:\]|[^\]])*)\]")
_FOREIGN = re.compile(r"[^ -~]")


class Mark(NamedTuple):
    """The beginning or the end of a group."""

    group: int
    is_end: bool


class _NamedParser(Parser):
    """Reads groups as such; those with a name are in `names`, by their number from 1."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.names: dict[str, int] = {}
        self.groups = 0

    def _group(self, depth: int) -> Node:
        self.groups += 1
        number = self.groups
        if found := _NAMED.match(self._text, self._at):
            if self.names.setdefault(found[1], number) != number:
                raise ValueError(f"the group {found[1]} stands twice")
            self._text = f"{self._text[: self._at]}({self._text[found.end() :]}"
        inner = super()._group(depth)
        return Choice(((cast("Node", Mark(number, False)), inner, cast("Node", Mark(number, True))),))


class _KeyParser(_NamedParser):
    """Reads patterns in which any character may stand; punctuation after a backslash is itself."""

    def _atom(self, depth: int) -> Node:
        character = self._next
        if character == ".":
            self._at += 1
            return KEY_CHARACTERS
        if character in r"*+?{^$([\|)":
            return super()._atom(depth)
        self._at += 1
        return frozenset(character if character in KEY_CHARACTERS else OTHER)

    def _escape(self) -> Node:
        pair = self._text[self._at : self._at + 2]
        if pair[1:].isalnum() or pair[1:] not in KEY_CHARACTERS:
            return super()._escape()
        self._at += 2
        return frozenset(pair[1])

    def _brackets(self) -> Node:
        found = _BRACKETS.match(self._text, self._at)
        if found is None:
            raise ValueError("a [ is not closed")
        self._at = found.end()
        try:
            listed = re.compile(f"[{found[2]}]".replace("[[:digit:]]", "[0-9]"), re.ASCII)
        except re.error:
            raise ValueError(f"{found[0]} is no list of characters") from None
        characters = frozenset(each for each in KEY_CHARACTERS if (listed.fullmatch(each) is None) == bool(found[1]))
        if not characters:
            raise ValueError(f"{found[0]} is no character")
        return characters


class NamedPattern:
    """A pattern of names of topics with groups; raises `ValueError` with what to write instead of it."""

    def __init__(self, text: str) -> None:
        parser = self._parser(text)
        state, is_whole = parser.pattern()
        self.names: Mapping[str, int] = parser.names
        self.groups = parser.groups
        self._state = state if is_whole else (*state, Repeat((self._any(),), 0, inf))

    def match(self, text: str) -> list[str] | None:
        """Return the whole text and what each group covers ("" for one that covers nothing); None without a match."""
        marks = _marks(self._state, _FOREIGN.sub(OTHER, text))
        if marks is None:
            return None
        covered, begun = [text] + [""] * self.groups, [0] * (self.groups + 1)
        for (group, is_end), position in marks:
            if is_end:
                covered[group] = text[begun[group] : position]
            begun[group] = position
        return covered

    def named(self, text: str) -> dict[str, str] | None:
        """Return what the groups with a name cover; None without a match."""
        covered = self.match(text)
        return None if covered is None else {name: covered[number] for name, number in self.names.items()}

    @staticmethod
    def _parser(text: str) -> _NamedParser:
        return _NamedParser(text)

    @staticmethod
    def _any() -> Node:
        return CHARACTERS


class KeyPattern(NamedPattern):
    """A pattern of keys, of which the first group is the value, or all of the key when there is no group."""

    def value(self, key: str) -> str | None:
        """Return what the first group covers; None without a match, or when that is nothing."""
        covered = self.match(key)
        return None if covered is None else covered[min(1, self.groups)] or None

    @staticmethod
    def _parser(text: str) -> _NamedParser:
        return _KeyParser(text)

    @staticmethod
    def _any() -> Node:
        return KEY_CHARACTERS


_Marks = tuple[tuple[Mark, int], ...]


def _marks(state: State, text: str) -> _Marks | None:
    """Return where groups begin and end in the text, by the first way on which it matches."""
    waiting: list[tuple[State, int, _Marks]] = [(state, 0, ())]
    seen: set[tuple[State, int]] = set()
    while waiting:
        state, position, marks = waiting.pop()
        if (state, position) in seen:
            continue
        seen.add((state, position))
        if not state:
            if position == len(text):
                return marks
            continue
        node, rest = state[0], state[1:]
        if isinstance(node, Mark):
            waiting.append((rest, position, (*marks, (node, position))))
        elif isinstance(node, frozenset):
            if text[position : position + 1] in node:
                waiting.append((rest, position + 1, marks))
        else:  # the way that is tried first comes last
            waiting += [(way, position, marks) for way in reversed(_ways(node, rest))]
    return None


def _ways(node: Node, rest: State) -> list[State]:
    """Return the ways to go on, the first that is tried first."""
    if isinstance(node, Choice):
        return [way + rest for way in node.ways]
    what, least, most = cast("Repeat", node)
    again = [(*what, Repeat(what, max(least - 1, 0), most - 1), *rest)] if most > 0 else []
    return again if least > 0 else [*again, rest]
