"""The command `cache`: have caches in Redis follow events until a signal stops it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from exporter.config.schema import Config
from exporter.tools.cache.service import CacheService
from exporter.tools.process import prepare, run_to_end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of the command."""
    parser.add_argument(
        "--create-topics", dest="creates_topics", action="store_true", help="create topics of events that are missing"
    )


def main(config: Config, *, load: Callable[[], Config], creates_topics: bool = False) -> NoReturn:
    """Run until a signal stops the service, then end the process: with 0 after a clean stop, otherwise with 1.

    `load` returns the configuration with what its files contain now, or raises ConfigError.
    """
    prepare(config)
    run_to_end(CacheService(config, load, create_topics=creates_topics), config)
