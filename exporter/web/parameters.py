"""The parameters of requests, and where they come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.model import EventType, FeedKey

SYMBOLS, SYMBOLS_MAX = 1000, 10_000
FEEDS_MAX = 100


class ParameterError(Exception):
    """A parameter of a request cannot be understood; the text explains it to the client."""


class SymbolQuery(NamedTuple):
    """The parameters of `/api/v1/symbols`."""

    feed: FeedKey | None
    after: str
    limit: int


def symbol_query(query: Mapping[str, str]) -> SymbolQuery:
    """Return the parameters of `/api/v1/symbols`; raise ParameterError."""
    feed = feed_key(query["feed"]) if "feed" in query else None
    limit = query.get("limit", str(SYMBOLS))
    if not re.fullmatch("[0-9]{1,5}", limit) or not 1 <= int(limit) <= SYMBOLS_MAX:
        raise ParameterError(f"limit must be a whole number from 1 to {SYMBOLS_MAX}")
    return SymbolQuery(feed, query.get("after", ""), int(limit))


def feed_key(text: str) -> FeedKey:
    """Return the feed of a name; raise ParameterError."""
    parts = text.split(":")
    if len(parts) != len(FeedKey._fields) or not all(parts):
        raise ParameterError("feed must be region:exchange:request_type")
    return FeedKey(*parts)


def feed_keys(texts: Sequence[str]) -> tuple[FeedKey, ...]:
    """Return the feeds of names, each once and in order; raise ParameterError."""
    if len(texts) > FEEDS_MAX:
        raise ParameterError(f"at most {FEEDS_MAX} feeds may be named")
    return tuple(sorted({feed_key(text) for text in texts}))


def event_types(texts: Iterable[str]) -> frozenset[EventType]:
    """Return the types of events that a stream is to have; raise ParameterError."""
    words = {word for text in texts for word in text.split(",") if word}
    known = {each.value: each for each in EventType}
    if "all" in words:
        return frozenset(EventType)
    if not words <= known.keys():
        raise ParameterError(f"events must be all, or some of {', '.join(known)}")
    return frozenset(known[word] for word in words)


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether a page of another site makes the request, as far as its browser reports that."""
    origin = headers.get("Origin", "null").partition("://")[2]
    is_other_origin = "Origin" in headers and origin.lower() != headers.get("Host", "").lower()
    return is_other_origin or headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
