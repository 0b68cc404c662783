"""All that the live page asks of a sidecar."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex

from exporter.config.schema import Config
from exporter.model import FeedKey
from exporter.page.feed import Shown, feed_view
from exporter.page.problems import rejections
from exporter.page.recorder import Recorder
from exporter.page.sidecar import Sections
from exporter.page.watch import Watch
from exporter.runtime.clock import Clock
from exporter.status import SidecarStatus


class LivePage:
    """The answers for the page, from the state of one sidecar; any thread may ask."""

    def __init__(self, config: Config, status: SidecarStatus, clock: Clock, version: str) -> None:
        self.recorder = Recorder(status, clock, config.web.history)
        self._start = token_hex(4)
        self._status = status
        self._clock = clock
        self._sections = Sections(config, status, self.recorder, version, clock.now_ms())

    def watch(self) -> Watch:
        """Return what streams show, which belongs to the thread that uses it."""
        return Watch(self._status, self._sections, self.recorder, self._clock, self._start)

    def feed(self, key: FeedKey) -> Shown | None:
        """Return the view of a feed, None for an unknown one."""
        feed = self._status.feed(key)
        if feed is None:
            return None
        view = feed_view(feed, self._status.read_access)
        return {**self._now(), **view, "rejections": rejections(self._status, key)}

    def history(self, feeds: Iterable[FeedKey]) -> Shown:
        """Return the samples of the sidecar, and those of some feeds."""
        shown = self.recorder.shown(feeds)
        return {**self._now(), **shown}

    def _now(self) -> Shown:
        return {"start": self._start, "now_ms": self._clock.now_ms()}
