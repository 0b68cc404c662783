"""The parts of a configuration that the loop takes in: made at the start, and again by each reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import BacklogLimits, Config
from exporter.decoding.record_decoder import batch_events, record_decoder
from exporter.feeds.comparison import Comparison, NoComparison, comparison
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.table import TableSettings
from exporter.pipeline import PipelineSettings

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas


class LoopSettings(NamedTuple):
    """What may change of a running loop; intervals in seconds."""

    pipeline: PipelineSettings
    comparison: Comparison | NoComparison
    summary_interval: float
    commit_interval: float
    backlog: BacklogLimits


def loop_settings(config: Config, find_schemas: FindSchemas | None = None) -> LoopSettings:
    """Return the settings of a configuration; `find_schemas` as for `record_decoder`."""
    feeds, settings, output = config.feeds, config.input, config.output
    table = TableSettings(
        settings.limits,
        FeedFilter(feeds.include, feeds.exclude),
        HealthFactory(config),
        tuple(each.feed for each in feeds.expected),
    )
    pipeline = PipelineSettings(
        record_decoder(settings, find_schemas),
        table,
        batch_events(settings, output),
        summary_period_seconds=output.summary_interval,
        live_age_seconds=settings.live_age,
    )
    return LoopSettings(pipeline, comparison(config), output.summary_interval, output.commit_interval, output.backlog)
