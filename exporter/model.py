"""The vocabulary: the values that pass between the parts, frozen.

A *record* is bytes from Kafka. A *batch* is a decoded record, which a collector sent at once. Its rows are *messages*,
each about one *symbol*. A *feed* is the origin of batches. An *event* is published to Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

# Names in one line of the log or of a status.
LISTED = 20


class FeedKey(NamedTuple):
    """The three words that name a feed; the key of every series and event."""

    region: str
    exchange: str
    request_type: str

    def __str__(self) -> str:
        return f"{self.region}:{self.exchange}:{self.request_type}"


class Partition(NamedTuple):
    """One partition of one input topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


def listing(partitions: Iterable[Partition]) -> str:
    """Return the names of the partitions, at most `LISTED` of them."""
    names = [str(partition) for partition in sorted(partitions)]
    return " ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


class Reason(StrEnum):
    """Why a record was rejected; a closed set."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_ENCODING = "invalid_encoding"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_FEED = "invalid_feed"
    INVALID_SYMBOL = "invalid_symbol"
    TOO_MANY_MESSAGES = "too_many_messages"
    TOO_MANY_FEEDS = "too_many_feeds"
    TOO_MANY_SYMBOLS = "too_many_symbols"


class Anomaly(StrEnum):
    """Anomalies of valid batches; a closed set."""

    SIZE_MISMATCH = "size_mismatch"
    UNREADABLE_FIELD = "unreadable_field"
    INVALID_PRICE = "invalid_price"
    INVERTED_RANGE = "inverted_range"
    PRICE_OUT_OF_RANGE = "price_out_of_range"
    PRICE_JUMP = "price_jump"
    IMPLAUSIBLE_STAMP = "implausible_stamp"
    FUTURE_BATCH = "future_batch"
    FUTURE_MESSAGE = "future_message"
    BATCH_TIME_BACKWARDS = "batch_time_backwards"
    MESSAGE_TIME_BACKWARDS = "message_time_backwards"
    DUPLICATE_MESSAGES = "duplicate_messages"
    UNCHANGED_BATCH = "unchanged_batch"
    CROSSED_BOOK = "crossed_book"
    EMPTY_BOOK = "empty_book"
    NO_PRICES = "no_prices"
    NO_STAMPS = "no_stamps"


class ResetCause(StrEnum):
    """Why reading a partition does not continue at its committed position; a closed set."""

    RECORDS_DELETED = "records_deleted"
    TOPIC_RECREATED = "topic_recreated"
    LOG_TRUNCATED = "log_truncated"
    TOPIC_DELETED = "topic_deleted"
    RECORDS_UNREADABLE = "records_unreadable"


# The beginning of the header ce_type of all events of all sidecars.
EVENT_PREFIX = b"marketdata.monitoring."


class EventType(StrEnum):
    """The kinds of events that are published."""

    BATCH = "batch_collected"
    SUMMARY = "performance_summary"
    ERROR = "error"


class RiskEventType(StrEnum):
    """The kinds of events about the risk of a portfolio, which are published where risk is evaluated."""

    REPORT = "risk_report"
    BREACHED = "risk_limit_breached"
    CLEARED = "risk_limit_cleared"
    STOP = "emergency_stop"
    LIFTED = "emergency_stop_lifted"


AnyEventType = EventType | RiskEventType


class Rejected(Exception):
    """A record is no valid batch: the caller counts it by its reason and continues with the next.

    `detail` describes the fault and its place; it quotes at most a few characters of the record. `feed` is the feed
    that the record names, where that can be read although the record is no valid batch. `position` is the byte of the
    record at which the fault is, 0 when that is unknown.
    """

    def __init__(self, reason: Reason, detail: str, feed: FeedKey | None = None, position: int = 0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.feed = feed
        self.position = position

    def detached(self) -> Self:
        """Remove the frames and errors behind it, and return it.

        They refer to the record and, where a frame keeps the rejection, to each other, until garbage is collected.
        """
        self.__context__ = None
        return self.with_traceback(None)


class Reset(NamedTuple):
    """The reset of a partition: its cause, the offset where reading ended, and the number of records known lost."""

    cause: ResetCause
    offset: int
    lost: int


class RegistryError(Exception):
    """The registry is unreachable, or does not accept a schema; the text contains no secret."""


class RegistryRefused(RegistryError):
    """The registry will not accept a schema until something is changed there, or in the configuration."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record: its bytes and their place; `is_event` marks an event of a sidecar.

    `key` and `headers` are those of the record when a format of `input.formats` reads them, otherwise empty.
    """

    partition: Partition
    offset: int
    timestamp_ms: int
    value: bytes | None
    traceparent: bytes | None = None
    is_event: bool = False
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """When a batch was recorded and analyzed; Unix milliseconds.

    `record_ms` is Kafka's timestamp, 0 when it has none, `received_ms` the time of the analysis by the sidecar's clock.
    It `is_live` unless the record was old already when it was read, or its messages repeat the past (`is_replay`).
    """

    record_ms: int
    received_ms: int
    is_live: bool
    is_replay: bool = False

    @property
    def sent_ms(self) -> int:
        """The time at which the batch was sent, as far as it is known."""
        return self.received_ms if self.is_live else self.record_ms


class BatchResult(NamedTuple):
    """The result of the analysis of one batch.

    `cache_efficiency` is 1 / `unique_symbols`, and 0 for a batch without messages.
    """

    batch_size: int
    unique_symbols: int
    cache_efficiency: float
    timestamp_ms: int


class SymbolUpdate(NamedTuple):
    """The symbols of one batch, for the store, which adds them up over replicas.

    `symbols` has one entry a message, in order, so a symbol may occur more than once. `timestamp_ms` is the time of the
    analysis, not that of the batch: data of yesterday that are read today were seen today.
    """

    partition: Partition
    offset: int
    feed: FeedKey
    timestamp_ms: int
    symbols: list[str]


class Status(NamedTuple):
    """Whether a condition holds, and the reasons if not; `warnings` are about faults that do not affect it."""

    ok: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
