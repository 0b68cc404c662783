"""What the clients of services have against a configuration, said before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from exporter import properties
from exporter.configuration.config import Config
from exporter.configuration.conflicts import Conflict


def mistakes(config: Config) -> Iterator[Conflict]:
    """Yield what librdkafka and, if it is asked for, the driver of Redis would refuse; connects to nothing."""
    yield from properties.mistakes(config)
    if config.redis.url is not None:
        from exporter.store import counts

        yield from counts.mistakes(config.redis)
