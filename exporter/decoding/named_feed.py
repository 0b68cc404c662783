"""Finds the feed that a rejected record names, in bounded time. Pure.

Complete JSON is decoded, which finds the names anywhere among the fields. Of other records (cut off, not quite JSON,
nested too deep, too large) only both ends are searched: before the first inner bracket and after the last one the
fields are those of the batch, not of a row. A short list of batches names their feed when it is the same in all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from exporter.decoding.names import check_feed
from exporter.model import FeedKey, Rejected

if TYPE_CHECKING:
    from exporter.config.schema import Limits

SEARCHED_BYTES = 2048
# The time to decode a list depends on the number of its members, however small they are.
LIST_BYTES = 16_384

# All errors that a decoder may raise for bytes that are not complete JSON, or nested too deep.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, MemoryError)
_OPENING = re.compile(rb"[\s\xef\xbb\xbf]*\{")
_BRACKET = re.compile(rb"[][{}]")
_FIELD = re.compile(rb'"(exchange|region|request_type)"\s*:\s*"([\w.-]+)"')


class _Named(msgspec.Struct, gc=False):
    exchange: str
    region: str
    request_type: str


_OBJECT = msgspec.json.Decoder(_Named)
_LIST = msgspec.json.Decoder(list[_Named])


def named_feed(value: bytes | None, limits: Limits) -> FeedKey | None:
    """Return the feed that a rejected record names; None when it names no valid one, or more than one."""
    feed = _read(value, limits.record_bytes) if value else None
    return feed if feed is not None and is_feed(feed, limits) else None


def is_feed(feed: FeedKey, limits: Limits) -> bool:
    """Return whether the name is valid for a feed."""
    try:
        check_feed(feed, limits.name_length)
    except Rejected:
        return False
    return True


def _read(value: bytes, largest: int) -> FeedKey | None:
    if len(value) > largest:
        return _searched(value)
    is_list = len(value) <= LIST_BYTES and value.lstrip().startswith(b"[")
    try:
        found = _LIST.decode(value) if is_list else [_OBJECT.decode(value)]
    except msgspec.ValidationError:  # JSON, so far, in which a name is missing or not text
        return None
    except _NO_JSON:
        return _searched(value)
    feeds = {FeedKey(each.region, each.exchange, each.request_type) for each in found}
    return feeds.pop() if len(feeds) == 1 else None


def _searched(value: bytes) -> FeedKey | None:
    found: dict[str, set[str]] = defaultdict(set)
    for text in _own_fields(value):
        for field, content in _FIELD.findall(text):
            found[field.decode()].add(content.decode())
    if any(len(found[field]) != 1 for field in FeedKey._fields):
        return None
    return FeedKey(*(found[field].pop() for field in FeedKey._fields))


def _own_fields(value: bytes) -> Iterator[bytes]:
    """Yield the parts of an object's text, at its beginning and its end, that contain its own fields."""
    head, tail = value[:SEARCHED_BYTES], value[-SEARCHED_BYTES:].rstrip()
    if opening := _OPENING.match(head):
        yield _BRACKET.split(head[opening.end() :], maxsplit=1)[0]
    inside = max(tail.rfind(b"]"), tail.rfind(b"}", 0, -1))
    if tail.endswith(b"}") and inside > max(tail.rfind(b"["), tail.rfind(b"{")):
        yield tail[inside:]
