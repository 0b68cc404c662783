"""Events of ingesting services: rounds of data, exchange rates, and the caches behind them.

Programs import the names of `__all__` from here; each is imported at its first use. The sidecar imports only what is
pure.
"""

from typing import TYPE_CHECKING

from exporter.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from exporter.config.loader import ConfigError
    from exporter.ingestion.consumer import MessageConsumer
    from exporter.ingestion.default import (
        connect,
        disconnect,
        send_cache_invalidation,
        send_data_processing_completed,
        send_exchange_rate_updated,
        send_new_data_received,
    )
    from exporter.ingestion.events import (
        CacheInvalidation,
        DataProcessingCompleted,
        ExchangeRateUpdated,
        NewDataReceived,
    )
    from exporter.ingestion.sending import IngestionProducer
    from exporter.ingestion.topics import create_topics
    from exporter.publishing.async_producer import SendError

__all__ = [
    "CacheInvalidation",
    "ConfigError",
    "DataProcessingCompleted",
    "ExchangeRateUpdated",
    "IngestionProducer",
    "MessageConsumer",
    "NewDataReceived",
    "SendError",
    "connect",
    "create_topics",
    "disconnect",
    "send_cache_invalidation",
    "send_data_processing_completed",
    "send_exchange_rate_updated",
    "send_new_data_received",
]

_NAMES = {
    "exporter.config.loader": ("ConfigError",),
    "exporter.ingestion.consumer": ("MessageConsumer",),
    "exporter.ingestion.default": (
        "connect",
        "disconnect",
        "send_cache_invalidation",
        "send_data_processing_completed",
        "send_exchange_rate_updated",
        "send_new_data_received",
    ),
    "exporter.ingestion.events": (
        "CacheInvalidation",
        "DataProcessingCompleted",
        "ExchangeRateUpdated",
        "NewDataReceived",
    ),
    "exporter.ingestion.sending": ("IngestionProducer",),
    "exporter.ingestion.topics": ("create_topics",),
    "exporter.publishing.async_producer": ("SendError",),
}

if not TYPE_CHECKING:  # a type checker finds a name that does not exist
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
