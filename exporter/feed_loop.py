"""The loop of the batches: evaluates the feeds, and takes in other settings."""

from __future__ import annotations

from exporter.feeds.evaluator import Evaluator
from exporter.feeds.rejections import warnings
from exporter.instrument.selection import ALL, Selection
from exporter.loop import PART_BYTES, Loop
from exporter.loop_settings import LoopSettings
from exporter.pipeline import Pipeline
from exporter.publishing.publisher import Publisher
from exporter.runtime.clock import Clock
from exporter.source.source import Source
from exporter.store.store import Store


class FeedLoop(Loop[Pipeline]):
    """The loop that reads the batches of all feeds."""

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        publisher: Publisher,
        store: Store,
        evaluator: Evaluator,
        *,
        summary_interval: float,
        until_caught_up: bool = False,
        clock: Clock,
        families: Selection = ALL,
        part_bytes: int = PART_BYTES,
    ) -> None:
        super().__init__(
            source,
            pipeline,
            publisher,
            store,
            summary_interval=summary_interval,
            until_caught_up=until_caught_up,
            clock=clock,
            families=families,
            part_bytes=part_bytes,
        )
        self._evaluator = evaluator

    def _evaluate(self, now_ms: int) -> None:
        """Evaluate the progress of partitions and the health of feeds."""
        ends, is_paused = self.source.high_watermarks(self.pipeline.partitions), self.source.paused
        progress = self.pipeline.progress(ends, is_paused, now_ms)
        topics = self.pipeline.traffic(now_ms)
        self._evaluator.evaluate(
            list(self.pipeline.table.feeds.values()),
            progress,
            now_ms,
            is_reachable=self.source.is_reachable,
            is_sole_reader=self.source.is_sole_reader,
            topics=topics,
            run_steps=self._lock.run,
        )
        self.warnings = warnings(topics, self._evaluator.rejected, now_ms)

    def reconfigure(self, settings: LoopSettings) -> None:
        """Put other settings in force, between two turns; an interval that has begun ends as far away as others."""
        if self.pipeline.has_open_windows(settings.pipeline.table.wanted):
            self._summarize(list(self.pipeline.partitions))
        self._lock.run(self.pipeline.reconfigure(settings.pipeline, self._clock.now_ms()))
        self._evaluator.compare_by(settings.comparison)
        self.publisher.reconfigure(settings.commit_interval, settings.backlog)
        self._summary_due += settings.summary_interval - self._summary_interval
        self._summary_interval = settings.summary_interval
