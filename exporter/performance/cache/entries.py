"""What a cache keeps, and its form in Redis. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

# The first byte of an entry in Redis, so that a negative answer differs from any value.
POSITIVE, NEGATIVE = b"+", b"-"
Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[bytes], Any]


class Entry(NamedTuple):
    """An answer for a key, None for a negative one, with the seconds that it may be kept and where it is from."""

    value: Any
    ttl: float
    source: str

    @property
    def result(self) -> str:
        """The label of a tier that had it."""
        return "negative" if self.value is None else "hit"


class NotFaithful(Exception):
    """A value that is another one after it was written and read."""


def packed(value: Any, encode: Encode, decode: Decode) -> bytes:
    """Return an entry as bytes; raise `NotFaithful`, or what `encode` and `decode` raise."""
    if value is None:
        return NEGATIVE
    payload = encode(value)
    # JSON makes lists of tuples and null of NaN without an error: Redis would answer otherwise than memory.
    if not is_same(decode(payload), value):
        raise NotFaithful(f"a value of type {type(value).__name__} is not the same after encode and decode")
    return POSITIVE + payload


def unpacked(payload: bytes, decode: Decode) -> Any:
    """Return the value of an entry; raise `ValueError` for other bytes, or what `decode` raises."""
    if payload == NEGATIVE:
        return None
    if payload[:1] != POSITIVE:
        raise ValueError("no entry of a cache")
    return decode(payload[1:])


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in type, too: 1, 1.0 and True are not, and neither are they in a list."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
