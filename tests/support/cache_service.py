"""`marketdata-exporter cache`, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.support.ingesting import SOON
from tests.support.sidecar import PROGRAM, Sidecar


class CacheService(Sidecar):
    """The service that follows the events of topics with a prefix; asked and stopped as a sidecar."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        redis_url: str,
        prefix: str,
        *arguments: str,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        soon = {**SOON["kafka.consumer_properties"], "topic.metadata.refresh.interval.ms": "500"}
        given = {
            "kafka.bootstrap_servers": bootstrap,
            "kafka.consumer_properties": soon,
            "redis.url": redis_url,
            "cache.group": f"cache-{prefix}",
            "ingestion.prefix": prefix,
        }
        super().__init__(directory, {**given, **settings}, *arguments)

    def command(self) -> list[str]:
        """See Part."""
        return [str(PROGRAM), "cache", *super().command()[2:]]
