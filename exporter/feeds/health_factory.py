"""Creation of the health of feeds, as configured. Pure."""

from __future__ import annotations

from exporter.analyzers.thresholds import thresholds_of
from exporter.config.schema import Config, Thresholds
from exporter.feeds.calendar import Calendar
from exporter.feeds.health import FeedHealth, HealthSettings
from exporter.model import FeedKey


class HealthFactory:
    """Creates the health of feeds, as configured."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._calendar = Calendar(config.feeds.calendar)
        self._expected = {each.feed: each.symbols for each in config.feeds.expected}
        self._default = Thresholds()  # one for all feeds, as each keeps its rule

    def __call__(self, feed: FeedKey) -> FeedHealth:
        """Return the health of a new feed."""
        return FeedHealth(self.settings(feed))

    def settings(self, feed: FeedKey) -> HealthSettings:
        """Return the settings of a feed."""
        rule = thresholds_of(feed, self._config.feeds.thresholds, self._default)
        return HealthSettings(self._config, rule, self._calendar.of(feed), self._expected.get(feed))
