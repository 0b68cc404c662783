"""Events of ingesting services: rounds of data, exchange rates, and the caches behind them.

Programs import the names of `__all__` from here; each is imported at its first use. The sidecar imports only what is
pure.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOMES = {
    "config.loader": ("ConfigError",),
    "ingestion.consumer": ("MessageConsumer",),
    "ingestion.default": (
        "connect",
        "disconnect",
        "send_cache_invalidation",
        "send_data_processing_completed",
        "send_exchange_rate_updated",
        "send_new_data_received",
    ),
    "ingestion.events": ("CacheInvalidation", "DataProcessingCompleted", "ExchangeRateUpdated", "NewDataReceived"),
    "ingestion.sending": ("IngestionProducer",),
    "ingestion.topics": ("create_topics",),
    "publishing.async_producer": ("SendError",),
}
_MODULES = {name: f"exporter.{module}" for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
