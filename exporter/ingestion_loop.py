"""The loop of ingestion events: a thread, a group and a producer of its own, so that batches never wait for it."""

from __future__ import annotations

from exporter.feeds.rejections import warnings
from exporter.ingestion.view.families import ingestion_families
from exporter.ingestion.view.pipeline import BEGINNINGS, ENDS, IngestionPipeline
from exporter.ingestion.view.view import OverdueRound
from exporter.instrument.exposition import Family
from exporter.loop import Loop
from exporter.model import listing
from exporter.runtime import logs

log = logs.logger("ingestion")


class IngestionLoop(Loop[IngestionPipeline]):
    """The loop that reads the events of ingesting services."""

    def families(self, is_protobuf: bool = False) -> list[Family]:
        """Return the families of what the events show; from any thread."""
        with self.read_access:
            return ingestion_families(self.pipeline.view, is_protobuf)

    def _evaluate(self, now_ms: int) -> None:
        ends = self.source.high_watermarks(self.pipeline.partitions)
        with self._lock:
            behind = self.pipeline.progress(ends, self.source.paused, now_ms)
            obstacle = self._broker_obstacle() or (f"catching up on {listing(behind)}" if behind else "")
            overdue = self.pipeline.view.evaluate(now_ms, obstacle or self._missing())
        for round_ in overdue:
            _log_overdue(round_)
        rejected = warnings(self.pipeline.traffic(now_ms), (), now_ms)
        unread = (f"ingestion events are not read: {obstacle}",) if obstacle and not behind else ()
        self.warnings = (*unread, *rejected)

    def _broker_obstacle(self) -> str:
        """Return why nothing is read, in words; empty while it is."""
        source = self.source
        if source.blocked:
            return "; ".join(source.blocked)
        if source.paused:
            return f"the backlog is full: {self.publisher.last_error or 'events are slow'}"
        if not source.is_reachable or not source.subscribed or source.is_refused:
            return source.last_error or "no broker has answered yet"
        if source.is_empty and not self._was_assigned:
            return f"there is no topic {' or '.join(self.pipeline.names)}"
        return ""

    def _missing(self) -> str:
        """Return which topic of rounds is not read here, so that no round can be complete."""
        missing = [name for name in (BEGINNINGS, ENDS) if not self.pipeline.reads(name)]
        return f"{' and '.join(missing)} not read" if missing else ""


def _log_overdue(found: OverdueRound) -> None:
    usual = {} if found.usual_ms is None else {"usual_seconds": found.usual_ms / 1000}
    log.warning(
        "a round is open for longer than usual",
        extra={
            "source": found.source,
            "correlation_id": found.correlation_id,
            "seconds": found.age_ms / 1000,
            **usual,
        },
    )
