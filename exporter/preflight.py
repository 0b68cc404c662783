"""Checks of a configuration by the client libraries, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.conflicts import Conflict
from exporter.config.schema import Config
from exporter.kafka import properties


def mistakes(config: Config) -> Iterator[Conflict]:
    """Yield what librdkafka and, if they are configured, the driver of Redis and the web server would refuse.

    Makes no connection.
    """
    yield from properties.mistakes(config)
    if config.web.config_file is not None:
        from exporter.web import config_file

        yield from config_file.mistakes(config.web.config_file)
    if config.redis.url is not None:
        from exporter.store import client

        yield from client.mistakes(config.redis)
