"""`marketdata-exporter cache`, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.ingesting import SOON
from tests.support.sidecar import PROGRAM, Sidecar


class CacheService(Sidecar):
    """The service that follows the events of topics with a prefix; asked and stopped as a sidecar."""

    def __init__(
        self, directory: Path, bootstrap: str, redis_url: str, prefix: str, settings: Mapping[str, object] = {}
    ) -> None:
        given = {
            "kafka.bootstrap_servers": bootstrap,
            **SOON,
            "redis.url": redis_url,
            "cache.group": f"cache-{prefix}",
            "ingestion.prefix": prefix,
        }
        super().__init__(directory, {**given, **settings})

    def command(self) -> list[str]:
        """See Part."""
        return [str(PROGRAM), "cache", *super().command()[2:]]
