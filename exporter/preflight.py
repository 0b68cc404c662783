"""What the clients of services have against a configuration, said before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.conflicts import Conflict
from exporter.config.schema import Config
from exporter.kafka import properties


def mistakes(config: Config) -> Iterator[Conflict]:
    """Yield what librdkafka and, if it is asked for, the driver of Redis would refuse; connects to nothing."""
    yield from properties.mistakes(config)
    if config.redis.url is not None:
        from exporter.store import client

        yield from client.mistakes(config.redis)
