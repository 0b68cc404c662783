"""Converts messages of confluent-kafka to records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from exporter.model import EVENT_PREFIX, Partition, Record

# W3C Trace Context: version 00, or a later version, which may append fields.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?")
VERSION_00_BYTES = 55
TRACEPARENT_BYTES = 256

NO_HEADERS: tuple[bytes | None, bool] = None, False


class MessageReader:
    """Converter of messages to records, with one object for each partition, so that lookups by it are cheap.

    Keys and headers are kept with `origin` only: few formats read them, and each takes memory and time.
    """

    def __init__(self, *, origin: bool = False) -> None:
        self._origin = origin
        self._partitions: dict[tuple[str, int], Partition] = {}

    def read(self, messages: Iterable[Any]) -> tuple[list[Record], list[Any]]:
        """Return the records, and separately the messages that are errors, each in order."""
        records: list[Record] = []
        errors: list[Any] = []
        for message in messages:
            if message.error() is not None:
                errors.append(message)
                continue
            traceparent, is_event = from_headers(message)
            records.append(
                Record(
                    self.partition(message.topic(), message.partition()),
                    message.offset(),
                    message.timestamp()[1],
                    message.value(),
                    traceparent,
                    is_event,
                    *(origin(message) if self._origin else ()),
                )
            )
        return records, errors

    def partition(self, topic: str, number: int) -> Partition:
        """Return the partition; the same object for the same arguments."""
        key = (topic, number)
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = Partition(topic, number)
        return partition


def origin(message: Any) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...]]:
    """Return the key and the headers of a message."""
    try:
        headers = message.headers() or ()
    except SystemError:  # see `from_headers`
        headers = ()
    return message.key(), tuple(headers)


def from_headers(message: Any) -> tuple[bytes | None, bool]:
    """Return the first valid traceparent of a message, and whether a sidecar published it."""
    try:
        headers = message.headers()
    except SystemError:  # raised by confluent-kafka for a header whose name is not UTF-8
        return NO_HEADERS
    if not headers:
        return NO_HEADERS
    traceparent, is_event = NO_HEADERS
    for name, value in headers:
        if name == "traceparent":
            traceparent = traceparent or traced(value)
        elif name == "ce_type":
            is_event = is_event or (value or b"").startswith(EVENT_PREFIX)
    return traceparent, is_event


def traced(value: bytes | None) -> bytes | None:
    """Return a valid traceparent unchanged, otherwise None: an invalid one must not be passed on."""
    if value is None or len(value) > TRACEPARENT_BYTES or _TRACEPARENT.fullmatch(value) is None:
        return None
    return value if len(value) == VERSION_00_BYTES or not value.startswith(b"00") else None
