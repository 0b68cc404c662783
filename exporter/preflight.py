"""Checks of a sidecar's configuration before anything is started, most of them by the client libraries."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.conflicts import Conflict
from exporter.config.redis_place import place
from exporter.config.schema import Config
from exporter.kafka import properties


def mistakes(config: Config) -> Iterator[Conflict]:
    """Yield what librdkafka and, if they are configured, the driver of Redis and the web server would refuse.

    Makes no connection.
    """
    yield from properties.mistakes(config)
    yield from _subjects(config)
    if config.web.config_file is not None:
        from exporter.web import config_file

        yield from config_file.mistakes(config.web.config_file)
    if config.redis.url is not None:
        from exporter.store import client

        yield from client.mistakes(config.redis)


def _subjects(config: Config) -> Iterator[Conflict]:
    """Yield that one subject cannot have the schemas of two types of events."""
    output = config.output
    has_batch_events = output.batch_events or any(one.batch_events for one in config.input.formats)
    if output.schema_registry is not None and output.schema_registry_subjects == "topic" and has_batch_events:
        message = "output.topic has events of two schemas, expected topic_record or record, or no batch_events"
        yield Conflict(message, ("output.schema_registry_subjects", "output.topic"))


def mistakes_of_cache(config: Config) -> Iterator[Conflict]:
    """Yield the same, and what the command `cache` cannot do without."""
    yield from mistakes(config)
    if config.redis.url is None:
        yield Conflict("got null, expected the URL of the Redis with the caches", ("redis.url",))
    elif place(config.redis.url, config.redis.sentinel, is_cluster=config.redis.cluster).kind == "cluster":
        message = "got a Redis Cluster, expected a server or Sentinels: one script changes keys of several slots"
        yield Conflict(message, ("redis.url",))
