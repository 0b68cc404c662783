"""The findings of `check` about the topics of ingestion events."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.conflicts import INGESTION_TOPICS
from exporter.config.schema import Config
from exporter.tools.check.model import Cluster, Finding, Level, counted

_ENABLED = "ingestion.enabled"


def topics(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield whether the topics of the events exist, if they are read."""
    if not config.ingestion.enabled:
        return
    wanted = [config.ingestion.prefix + name for name in INGESTION_TOPICS]
    missing = [topic for topic in wanted if topic not in cluster.names]
    if missing:
        text = f"{' '.join(missing)} cannot be seen: missing, or DESCRIBE is denied"
        yield Finding(Level.WARN, _ENABLED, text, "create them (exporter.ingestion.create_topics), or grant the right")
    else:
        yield Finding(Level.OK, _ENABLED, f"{counted(len(wanted), 'topic')} of events")
