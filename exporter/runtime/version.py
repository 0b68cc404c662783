"""Which version of the sidecar this is."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version of the installed distribution."""
    return metadata.version("marketdata-exporter")
