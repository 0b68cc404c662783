r"""The syntax of topic patterns: the dialect that the C library and RE2/J read alike. Pure.

A classic group matches topics in librdkafka, with the C library's POSIX extended expressions, anywhere in the name; a
group of the consumer protocol (KIP-848) lets the broker match whole names, with RE2/J. Only what both read alike is
accepted; for the rest the error has a replacement. Both get the pattern with its end spelled out, so that
`^ticker-data\.` covers the same names for both.
"""

from __future__ import annotations

import re
from math import inf, isfinite
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits, hexdigits
from typing import NamedTuple, Union

# The characters and the length of a topic's name in Kafka.
CHARACTERS = frozenset(ascii_letters + digits + "._-")
NAME_MAX = 249
DEPTH_MAX = 20

_CLASSES = {
    "alnum": ascii_letters + digits,
    "alpha": ascii_letters,
    "digit": digits,
    "lower": ascii_lowercase,
    "upper": ascii_uppercase,
    "xdigit": hexdigits,
}
_COUNTS = {"*": (0, inf), "+": (1, inf), "?": (0, 1)}
_COUNT = re.compile(r"[*+?]|\{(\d{0,4})(,?)(\d{0,4})\}|\{", re.ASCII)
_BRACKETS = re.compile(r"\[(\^?)((?:\[:\w*:\]|[^\]])*)\]")
_ITEM = re.compile(r"\[:(\w+):\]|([\w.-])(?:-([\w.-]))?", re.ASCII)
_EXTENSION = re.compile(r"\(\?(?:P?<\w*>|<?[=!]|\w*:?)?")
# Replacements of escapes; within brackets without the brackets.
_ESCAPES = {r"\d": "[0-9]", r"\w": "[A-Za-z0-9_]", r"\D": "[^0-9]", r"\W": "[.-]", r"\S": ".", r"\_": "_"}
_UNCLOSED = "a ( is not closed"
_DIFFERS = "is read differently by clients and brokers, write the characters themselves or leave it out"
_ESCAPES_IN_BRACKETS = {r"\d": "0-9", r"\w": "A-Za-z0-9_", r"\.": ".", r"\-": "- as the last", r"\_": "_"}

State = tuple["Node", ...]  # what must match, one after another, for the rest of a name to match
Node = Union[frozenset[str], "Choice", "Repeat"]


class Choice(NamedTuple):
    """Alternatives."""

    ways: tuple[State, ...]


class Repeat(NamedTuple):
    """A repetition, from `least` to `most` times."""

    what: State
    least: int
    most: float


def parse(text: str) -> tuple[State, bool]:
    """Return what must match, and whether that is the whole name rather than its beginning.

    Raises `ValueError` with a replacement where the pattern is outside the dialect.
    """
    return Parser(text).pattern()


class Parser:
    """A parser of one pattern; raises `ValueError` at the first part outside the dialect."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def pattern(self) -> tuple[State, bool]:
        """Return what must match, and whether that is the whole name rather than its beginning."""
        ways: list[tuple[str, bool]] = []
        while not ways or self._skip("|"):
            self._skip("^")
            begin = self._at
            state = self._sequence(0)
            ways.append((self._text[begin : self._at], self._skip("$")))
        if self._at < len(self._text):
            raise ValueError("a ) has no matching (" if self._next == ")" else "$ may stand at the end only")
        if len(ways) > 1:
            raise ValueError(f"alternatives belong into a group, write {_grouped(ways)}")
        return state, ways[0][1]

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, character: str) -> bool:
        is_there = self._next == character
        self._at += is_there
        return is_there

    def _sequence(self, depth: int) -> State:
        nodes: list[Node] = []
        while self._next and self._next not in ("|)" if depth else "|)$"):
            nodes.append(self._repeated(depth))
        if not nodes and depth and not self._next:
            raise ValueError(_UNCLOSED)
        if not nodes:
            where = self._next or "the end"
            raise ValueError(f"there is nothing before {where}, write .+ for any name, and ? after what may be missing")
        return tuple(nodes)

    def _repeated(self, depth: int) -> Node:
        begin = self._at
        node = self._atom(depth)
        found = _COUNT.match(self._text, self._at)
        if found is None:
            return node
        atom, self._at = self._text[begin : self._at], found.end()
        if second := _COUNT.match(self._text, self._at):
            raise ValueError(_without_second_count(atom, found[0], second[0]))
        return _repeat(node, found)

    def _atom(self, depth: int) -> Node:
        character = self._next
        if character in _COUNTS or character == "{":
            raise ValueError(f"there is nothing that {character} could repeat")
        if character in ("^", "$"):
            raise ValueError(f"{character} may stand at the {'beginning' if character == '^' else 'end'} only")
        if character == "(":
            return self._group(depth + 1)
        if character == "[":
            return self._brackets()
        if character == "\\":
            return self._escape()
        self._at += 1
        return CHARACTERS if character == "." else frozenset(_allowed(character))

    def _group(self, depth: int) -> Node:
        if found := _EXTENSION.match(self._text, self._at):
            raise ValueError(_without_extension(found[0]))
        if depth > DEPTH_MAX:
            raise ValueError(f"groups are nested deeper than {DEPTH_MAX}")
        ways: list[State] = []
        while self._skip("|" if ways else "("):
            ways.append(self._sequence(depth))
        if not self._skip(")"):
            raise ValueError(_UNCLOSED)
        return Choice(tuple(ways))

    def _escape(self) -> Node:
        pair = self._text[self._at : self._at + 2]
        self._at += 2
        if pair in (r"\.", r"\-"):
            return frozenset(pair[1])
        raise ValueError(_without_escape(pair, _ESCAPES))

    def _brackets(self) -> Node:
        found = _BRACKETS.match(self._text, self._at)
        if found is None:
            raise ValueError("a [ is not closed")
        self._at = found.end()
        listed = _listed(found[2])
        characters = CHARACTERS - listed if found[1] else listed
        if not (listed and characters):
            raise ValueError(f"{found[0]} is no character that the name of a topic may have")
        return characters


def _listed(text: str) -> frozenset[str]:
    """Return the characters that are listed within brackets."""
    characters: set[str] = set()
    at = 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            if text[at] == "\\":
                raise ValueError(f"within brackets {_without_escape(text[at : at + 2], _ESCAPES_IN_BRACKETS)}")
            raise ValueError(_not_allowed(text[at]))
        if found[0] == "-" and 0 < at < len(text) - 1:
            raise ValueError(f"within brackets - must be first or last: [{text}]")
        characters |= _item(found)
        at = found.end()
    return frozenset(characters)


def _item(found: re.Match[str]) -> set[str]:
    name, first, last = found.groups()
    if name is not None:
        if name not in _CLASSES:
            raise ValueError(f"{found[0]} {_DIFFERS}")
        return set(_CLASSES[name])
    if last is None:
        return {first}
    if "-" in (first, last) or first > last:
        raise ValueError(f"{found[0]} is no range from a lower to a higher character")
    return {character for character in CHARACTERS if first <= character <= last}


def _repeat(node: Node, found: re.Match[str]) -> Repeat:
    if found[0] not in _COUNTS and not found[1]:
        raise ValueError(f"write a count such as {{2}}, {{2,}} or {{0,{found[3] or 2}}} instead of {found[0]}")
    least, most = _COUNTS.get(found[0]) or (int(found[1]), float(found[3] or (inf if found[2] else found[1])))
    if most < max(least, 1):
        raise ValueError(f"{found[0]} repeats nothing")
    repeat = Repeat((node,), least, most)
    if _times(repeat) > NAME_MAX:
        raise ValueError(f"{found[0]} repeats it more than {NAME_MAX} times, and no topic has a longer name")
    return repeat


def _times(node: Node) -> float:
    """Return how many copies of its parts a node has when the counts within it are written out."""
    if isinstance(node, Choice):
        return max(_times(inner) for way in node.ways for inner in way)
    if isinstance(node, Repeat):
        return (node.most if isfinite(node.most) else max(node.least, 1)) * max(map(_times, node.what))
    return 1


def _allowed(character: str) -> str:
    if character not in CHARACTERS:
        raise ValueError(_not_allowed(character))
    return character


# Replacements.


def _not_allowed(character: str) -> str:
    return f"no topic has {character!a} in its name"


def _without_escape(pair: str, instead: dict[str, str]) -> str:
    if pair in instead:
        return f"write {instead[pair]} instead of {pair}"
    return f"{pair} {_DIFFERS}" if pair[1:].isalnum() else _not_allowed(pair[1:] or pair)


def _without_extension(beginning: str) -> str:
    if beginning.endswith((":", ">")):
        return f"write ( instead of {beginning}"
    if beginning.endswith(("=", "!")):
        return f"clients cannot read {beginning}, write what the names have in common"
    return f"clients cannot read {beginning}, write such as [Tt] where case does not matter"


def _without_second_count(atom: str, first: str, second: str) -> str:
    if second in ("?", "+"):
        return f"write {first} instead of {first}{second}"
    return f"write ({atom}{first}){second} instead of {atom}{first}{second}"


def _grouped(ways: list[tuple[str, bool]]) -> str:
    if len({is_whole for _, is_whole in ways}) == 1:
        return f"^({'|'.join(body for body, _ in ways)})" + ("$" if ways[0][1] else "")
    return f"^({'|'.join(body if is_whole else f'{body}.*' for body, is_whole in ways)})$"
