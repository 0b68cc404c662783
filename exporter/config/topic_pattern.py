"""Patterns of topic names: matched here, read by `topic_syntax`. Pure.

A name is matched by the derivatives of the pattern by each of its characters (Antimirov 1996), in a time proportional
to the length of the name, while `re` may backtrack for hours, as over `^([a-z]+-?)+x$`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from exporter.config.topic_syntax import CHARACTERS, Choice, Node, Repeat, State, parse

_ANYTHING: State = (Repeat((CHARACTERS,), 0, inf),)


class TopicPattern:
    """A pattern of topic names, which begins with ^; raises `ValueError` with a replacement for an unsupported one."""

    def __init__(self, text: str) -> None:
        self.text = text
        state, is_whole = parse(text)
        self._start = frozenset({state if is_whole else state + _ANYTHING})
        self._steps: dict[tuple[frozenset[State], str], frozenset[State]] = {}

    @property
    def subscribed(self) -> str:
        """The pattern for librdkafka and brokers, which covers the whole name."""
        return self.text if self.text.endswith("$") else f"{self.text}.*$"

    def matches(self, name: str) -> bool:
        """Return whether the pattern covers a topic of that name."""
        states = self._start
        for character in name:
            states = self._after(states, character)
        return any(map(_may_end, states))

    def _after(self, states: frozenset[State], character: str) -> frozenset[State]:
        step = states, character
        if step not in self._steps:
            self._steps[step] = frozenset(left for state in states for left in _after(state, character))
        return self._steps[step]


def _after(state: State, character: str) -> Iterator[State]:
    """Yield what must match the rest of a name after its first character, for each way to match that one."""
    for place, node in enumerate(state):
        for left in _into(node, character):
            yield left + state[place + 1 :]
        if not _may_end((node,)):
            return


def _into(node: Node, character: str) -> Iterator[State]:
    if isinstance(node, Choice):
        for way in node.ways:
            yield from _after(way, character)
    elif isinstance(node, Repeat):
        again = Repeat(node.what, max(node.least - 1, 0), node.most - 1)
        for left in _after(node.what, character):
            yield (*left, again) if again.most else left
    elif character in node:
        yield ()


def _may_end(state: State) -> bool:
    return all(_is_optional(node) for node in state)


def _is_optional(node: Node) -> bool:
    if isinstance(node, Choice):
        return any(map(_may_end, node.ways))
    return isinstance(node, Repeat) and (node.least == 0 or _may_end(node.what))
