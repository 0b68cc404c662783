"""One format: bytes of a record to a batch, a rejection, or None for a control message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.decoding.faults import UNREADABLE, is_malformed, rejection, too_many_messages
from exporter.decoding.formats.careful import Careful
from exporter.decoding.formats.fast import Fast
from exporter.decoding.formats.layout import Layout
from exporter.decoding.formats.native import native_format
from exporter.decoding.named_feed import is_feed
from exporter.model import FeedKey, Reason, Rejected

if TYPE_CHECKING:
    from exporter.config.format_schema import FormatConfig
    from exporter.config.schema import Limits
    from exporter.decoding.batch import Batch
    from exporter.decoding.formats.bodies import Body
    from exporter.decoding.formats.texts import Groups
    from exporter.model import Record


class FormatReader:
    """Reads the records of a format under limits, whatever topic they are of, by the native core where it can."""

    def __init__(self, config: FormatConfig, body: Body, limits: Limits, core: Any = None) -> None:
        self.config = config
        self._limits = limits
        self._body = body
        self._layout = Layout(config)
        self._fast = Fast(self._layout, body, limits.messages)
        self._careful = Careful(self._layout, body, limits)
        self._native = native_format(core, self._layout, limits)

    def read(self, record: Record, groups: Groups) -> Batch | None:
        """Return the batch of a record, or None for a control message; raise `Rejected`, with its feed if known.

        `groups` is what the groups of the topic's pattern cover.
        """
        try:
            batch = None if self._native is None else self._native.read(record, groups)
            return self._read(record, groups) if batch is None else batch
        except Rejected as rejected:
            rejected.feed = rejected.feed or self._feed(record, groups)
            raise

    def content(self, value: bytes) -> Any:
        """See Body."""
        return self._body.content(value)

    def _read(self, record: Record, groups: Groups) -> Batch | None:
        value, limits = record.value, self._limits
        if not value:
            raise Rejected(Reason.EMPTY, "the record has no value")
        if len(value) > limits.record_bytes:
            raise Rejected(Reason.TOO_LARGE, f"{len(value)} bytes, at most {limits.record_bytes} are allowed")
        try:
            batch = self._fast.read(value, record, groups)
        except UNREADABLE:
            batch = self._with_care(value, record, groups)
        if batch is not None:
            if len(batch.data) > limits.messages:
                raise too_many_messages(len(batch.data), limits.messages)
            self._body.check(value, len(batch.data))
        return batch

    def _with_care(self, value: bytes, record: Record, groups: Groups) -> Batch | None:
        try:
            token, marks = self._body.token(value)
            return self._careful.read(token, record, groups, marks)
        except UNREADABLE as error:
            if self.config.encoding == "json" or not is_malformed(error):
                raise rejection(value, error) from None
            detail = f"no {self.config.encoding}: {error}"
            raise Rejected(Reason.INVALID_ENCODING, detail[:200]) from None

    def _feed(self, record: Record, groups: Groups) -> FeedKey | None:
        """Return the feed of a record when no field has any of its words."""
        if not all(text.is_outside for text in self._layout.feed):
            return None
        try:
            feed = FeedKey(*(text.outside(record, groups) for text in self._layout.feed))
        except Rejected:
            return None
        return feed if is_feed(feed, self._limits) else None
