"""Events of ingesting services: rounds of data, exchange rates, and the caches behind them.

Programs import the names of `__all__` from here; each is imported at its first use. The sidecar imports only what is
pure.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.ingestion.events import (
        CacheInvalidation,
        DataProcessingCompleted,
        ExchangeRateUpdated,
        NewDataReceived,
    )

__all__ = [
    "CacheInvalidation",
    "DataProcessingCompleted",
    "ExchangeRateUpdated",
    "NewDataReceived",
]

_HOMES = {
    "events": ("CacheInvalidation", "DataProcessingCompleted", "ExchangeRateUpdated", "NewDataReceived"),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
