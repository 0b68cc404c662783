"""Decodes records by the native core, and those that are not plainly valid by the reference. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from exporter.decoding.batch import NO_JSON, Message
from exporter.model import BatchResult, FeedKey

if TYPE_CHECKING:
    from exporter.config.schema import InputConfig
    from exporter.decoding.batch import Batch
    from exporter.decoding.json_decoder import Decoder
    from exporter.model import Record


class NativeDecoder:
    """A RecordDecoder: the native core decodes what it takes, `usual` the rest, and rejects it where it has to."""

    def __init__(self, core: Any, settings: InputConfig, usual: Decoder) -> None:
        limits = settings.limits
        bounds = (limits.record_bytes, limits.messages, limits.depth)
        self._reader = core.Reader(settings.symbol_field, *bounds, factories(core))
        self._usual = usual
        self.plain = self._reader.read

    def read(self, record: Record) -> Batch:
        """See RecordDecoder."""
        batch: Batch | None = self._reader.read(record.value) if record.value else None
        return self._usual.read(record) if batch is None else batch


def factories(core: Any) -> Any:
    """Return what makes the objects of Python that the native core returns."""
    return core.Factories(FeedKey, BatchResult, _message)


def _message(
    symbol: str,
    timestamp: float | None,
    last: float | None,
    high: float | None,
    low: float | None,
    price: float | None,
    *levels: bytes | None,
) -> Message:
    """Return a message as the reference makes it; levels are their JSON."""
    asks, bids, units = [NO_JSON if side is None else Raw(side) for side in levels]
    return Message(symbol, timestamp, last, high, low, price, asks, bids, units)
