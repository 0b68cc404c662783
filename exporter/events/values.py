"""The values of events, as the records that their schemas describe. Pure: time is an argument."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from exporter.decoding.appearance import around
from exporter.feeds.feed import Window
from exporter.model import BatchResult, EventType, FeedKey
from exporter.runtime.foreign_text import masked

EXCERPT_BYTES = 200
MESSAGE_MAX = 500


def load_schema(name: str) -> dict[str, Any]:
    """Return the Avro schema of an event, such as `EventType.BATCH`, from its file."""
    text = resources.files("exporter.events").joinpath("schemas", f"{name}.avsc").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def batch_value(feed: FeedKey, result: BatchResult, time_utc: str) -> dict[str, Any]:
    """Return a batch event as the record that `batch_collected.avsc` describes."""
    return {
        "event_type": EventType.BATCH.value,
        "event_timestamp_utc": time_utc,
        **feed._asdict(),
        "stats": {
            "batch_size": result.batch_size,
            "unique_symbols": result.unique_symbols,
            "cache_efficiency": result.cache_efficiency,
            "collection_timestamp_ms": result.timestamp_ms,
        },
    }


def summary_value(
    feed: FeedKey, window: Window, elapsed_seconds: float, period_seconds: int, time_utc: str
) -> dict[str, Any]:
    """Return a summary as the record that `performance_summary.avsc` describes; an empty window gives zeros."""
    batches = window.batches
    elapsed = max(elapsed_seconds, 0.001)
    stats = {
        "total_batches": batches,
        "total_messages": window.messages,
        "avg_batch_size": window.messages / batches if batches else 0.0,
        "avg_symbols_per_batch": window.unique_sum / batches if batches else 0.0,
        "avg_cache_efficiency": window.efficiency_sum / batches if batches else 0.0,
        "messages_per_second": window.messages / elapsed,
        "batches_per_minute": batches * 60 / elapsed,
        "elapsed_seconds": elapsed,
    }
    return aggregated_value(feed, stats, period_seconds, time_utc)


def aggregated_value(feed: FeedKey, stats: Mapping[str, float], period_seconds: int, time_utc: str) -> dict[str, Any]:
    """Return the same record for given `aggregated_stats`."""
    return {
        "event_type": EventType.SUMMARY.value,
        "event_timestamp_utc": time_utc,
        **feed._asdict(),
        "aggregated_stats": stats,
        "summary_period_seconds": period_seconds,
    }


def error_value(reason: str, message: str, time_utc: str, **place: str | int | None) -> dict[str, Any]:
    """Return an error as the record that `error.avsc` describes; `place` fills its optional fields."""
    return {
        "event_type": EventType.ERROR.value,
        "event_timestamp_utc": time_utc,
        "error_domain": "monitoring",
        "error_code": "monitoring_error",
        "reason": reason,
        "message": masked(message)[:MESSAGE_MAX],
        "topic": None,
        "partition": None,
        "offset": None,
        "excerpt": None,
        "suppressed": 0,
        **place,
    }


def excerpt(value: bytes | None, position: int = 0) -> str:
    """Return the part of a record around a byte position, as text that is safe anywhere; see `around`."""
    return around(value or b"", position, EXCERPT_BYTES)
