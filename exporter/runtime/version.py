"""The version of the installed distribution; importing this module looks it up."""

from __future__ import annotations

from importlib import metadata

__version__ = metadata.version("marketdata-exporter")
