"""Creates the topics of the events."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping

from confluent_kafka.cimpl import NewTopic

from exporter.config.schema import Config
from exporter.ingestion.events import PARTITIONS
from exporter.ingestion.settings import DEAD_LETTER, SERVERS, settings
from exporter.kafka import clients


async def create_topics(
    *,
    bootstrap_servers: str = SERVERS,
    prefix: str = "",
    error_topic: str = "ws.error",
    replication: int | None = None,
    config: Mapping[str, object] | None = None,
) -> None:
    """Create the topics that are missing: those of the events, of their dead letters, and the one of error events.

    `replication` is the number of copies, by default that of the brokers. Topics that exist stay as they are. Raises
    `ConfigError` when an argument is wrong, KafkaException when a topic cannot be created.
    """
    configured = settings(
        {"kafka.bootstrap_servers": bootstrap_servers, "output.error_topic": error_topic}, config, prefix
    )
    await create_topics_of(configured, prefix, replication)


async def create_topics_of(config: Config, prefix: str, replication: int | None = None) -> None:
    """Create the topics that are missing, see `create_topics`, on the cluster of a configuration."""
    wanted = {prefix + topic: count for topic, count in PARTITIONS.items()}
    wanted |= dict.fromkeys([name + DEAD_LETTER for name in wanted], 1) | {config.output.error_topic: 1}

    def missing(existing: Container[str]) -> list[NewTopic]:
        return [
            NewTopic(name, num_partitions=count, replication_factor=replication or -1)
            for name, count in wanted.items()
            if name not in existing
        ]

    await asyncio.to_thread(clients.create, config, missing)
