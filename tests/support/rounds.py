"""Events of ingesting services by their values, and how they arrive."""

from datetime import UTC, datetime

from exporter.ingestion.events import CacheInvalidation, DataProcessingCompleted, ExchangeRateUpdated, NewDataReceived
from exporter.model import Arrival

START_MS = 1_760_000_400_000


def iso(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


def begun(source: str, round_id: str, stamp_ms: int = START_MS, count: int = 60) -> NewDataReceived:
    return NewDataReceived(source, count, iso(stamp_ms), 1500, round_id)


def completed(source: str, round_id: str, stamp_ms: int = START_MS, count: int = 60) -> DataProcessingCompleted:
    return DataProcessingCompleted(source, count, 1500, iso(stamp_ms), round_id)


def rate(source: str, code: str, stamp_ms: int = START_MS) -> ExchangeRateUpdated:
    return ExchangeRateUpdated(code, code, 1330.5, 1335.2, 1325.8, source, iso(stamp_ms), iso(stamp_ms))


def invalidation(kind: str, *keys: str, stamp_ms: int = START_MS) -> CacheInvalidation:
    return CacheInvalidation(keys, kind, iso(stamp_ms))


def live(received_ms: int, record_ms: int | None = None) -> Arrival:
    """Read at the end of its partition."""
    return Arrival(received_ms if record_ms is None else record_ms, received_ms, is_live=True)


def old(record_ms: int, received_ms: int) -> Arrival:
    """Read behind the end of its partition."""
    return Arrival(record_ms, received_ms, is_live=False)
