"""The four events of an ingesting service, their topics and keys. Pure.

Times are texts in ISO 8601 with an offset from UTC; rates are prices of one unit as the source quotes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from exporter.decoding.numbers import time_ms
from exporter.model import Reason

_LONG_MAX = 2**63 - 1
# Lone surrogates have no UTF-8.
_Text = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\ud800-\udfff]*\Z")]
_Count = Annotated[int, Meta(ge=0, le=_LONG_MAX)]
# Part of keys and labels: printable, without spaces and without what patterns of keys consist of.
_Code = Annotated[str, Meta(max_length=32, pattern=r"^[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff*?\[\]\\]+\Z")]
_Rate = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
_Price = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


class NoEvent(ValueError):
    """The fields or the bytes are no event of a topic; the text names the fault and what is allowed."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NewDataReceived(msgspec.Struct, frozen=True):
    """The begin of a round: `source` has delivered `data_count` items, collected in `processing_time_ms`."""

    source: _Text
    data_count: _Count
    collection_time: _Text
    processing_time_ms: _Count
    correlation_id: _Text


class ExchangeRateUpdated(msgspec.Struct, frozen=True):
    """Another exchange rate of a currency; of two, the one with the later `updated_at` is valid.

    `tts` and `ttb` are the selling and the buying rate of telegraphic transfers, 0 where a bank has none.
    """

    currency_code: _Code
    currency_name: _Text
    deal_base_rate: _Price
    tts: _Rate
    ttb: _Rate
    source: _Text
    recorded_at: _Text
    updated_at: _Text


class DataProcessingCompleted(msgspec.Struct, frozen=True):
    """The end of a round: `total_processed` items of `source` were processed in `processing_time_ms`."""

    source: _Text
    total_processed: _Count
    processing_time_ms: _Count
    completed_at: _Text
    correlation_id: _Text


class CacheInvalidation(msgspec.Struct, frozen=True):
    """Keys and patterns of keys that caches drop, and why."""

    cache_keys: tuple[_Text, ...]
    invalidation_type: _Text
    invalidated_at: _Text


Event = NewDataReceived | ExchangeRateUpdated | DataProcessingCompleted | CacheInvalidation

EVENTS: Mapping[str, type[Event]] = {
    "new_data_received": NewDataReceived,
    "exchange_rate_updated": ExchangeRateUpdated,
    "data_processing_completed": DataProcessingCompleted,
    "cache_invalidation": CacheInvalidation,
}
PARTITIONS: Mapping[str, int] = {**dict.fromkeys(EVENTS, 1), "exchange_rate_updated": 3}
_TOPICS = {kind: topic for topic, kind in EVENTS.items()}
_TIMES = ("collection_time", "recorded_at", "updated_at", "completed_at", "invalidated_at")


def check(topic: str, fields: Mapping[str, Any]) -> Event:
    """Return the event of a topic from its fields; others than its own are ignored.

    Raises `NoEvent`, which names the first field that is missing or wrong, and what is allowed.
    """
    kind = EVENTS.get(topic)
    if kind is None:
        raise ValueError(f"no event has the topic {topic!r}: there are {', '.join(EVENTS)}")
    try:
        event = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        reason = Reason.MISSING_FIELD if "missing required field" in text else Reason.WRONG_TYPE
        raise NoEvent(reason, f"{topic}: {text.replace('`$.', '`')}") from None
    for name in _TIMES:
        if hasattr(event, name):
            _check_time(topic, name, getattr(event, name))
    return event


def topic_of(event: Event) -> str:
    """Return the topic of an event."""
    return _TOPICS[type(event)]


def key_of(event: Event) -> str | None:
    """Return the key of an event in Kafka: its currency, else its round; None for an invalidation."""
    if isinstance(event, ExchangeRateUpdated):
        return event.currency_code
    return None if isinstance(event, CacheInvalidation) else event.correlation_id


def updated_at_ms(event: Event) -> int:
    """Return when an event happened by the clock of its sender, in Unix milliseconds."""
    match event:
        case NewDataReceived():
            return _unix_ms(event.collection_time)
        case ExchangeRateUpdated():
            return _unix_ms(event.updated_at)
        case DataProcessingCompleted():
            return _unix_ms(event.completed_at)
        case CacheInvalidation():
            return _unix_ms(event.invalidated_at)


def _check_time(topic: str, name: str, text: str) -> None:
    try:
        found = time_ms(text)
    except ValueError:
        found = None
    if found is None:
        allowed = "a time in ISO 8601 with an offset from UTC, such as 2025-01-27T10:00:00Z"
        raise NoEvent(Reason.INVALID_TIMESTAMP, f"{topic}: Expected {allowed} - at `{name}`")


def _unix_ms(text: str) -> int:
    found = time_ms(text)
    if found is None:
        raise ValueError(f"no time in ISO 8601: {text!r}")
    return found
