"""The command `cache`: have caches in Redis follow events until a signal stops it."""

from __future__ import annotations

from typing import NoReturn

from exporter.config.schema import Config
from exporter.tools.cache.service import CacheService
from exporter.tools.process import prepare, run_to_end


def main(config: Config) -> NoReturn:
    """Run until a signal stops the service, then end the process: with 0 after a clean stop, otherwise with 1."""
    prepare(config)
    run_to_end(CacheService(config), config)
