"""All that the live page asks of a sidecar."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex
from typing import TYPE_CHECKING

from exporter.config.schema import Config
from exporter.instrument.groups import Groups
from exporter.model import FeedKey
from exporter.page.feed import Shown, feed_view
from exporter.page.problems import rejections
from exporter.page.recorder import Recorder
from exporter.page.sidecar import Sections
from exporter.page.watch import Watch
from exporter.runtime.clock import Clock
from exporter.status import SidecarStatus

if TYPE_CHECKING:
    from exporter.page.programs import ProgramRows, Programs


class LivePage:
    """The answers for the page, from the state of one sidecar; any thread may ask.

    `groups` are the programs that push to it; None: it takes no pushes.
    """

    def __init__(
        self, config: Config, status: SidecarStatus, clock: Clock, version: str, groups: Groups | None = None
    ) -> None:
        self._programs = None if groups is None else _programs(groups, config)
        self.recorder = Recorder(
            status, clock, config.web.history, None if self._programs is None else self._programs.sample
        )
        self._start = token_hex(4)
        self._status = status
        self._clock = clock
        self._sections = Sections(config, status, self.recorder, version, clock.now_ms())

    def watch(self) -> Watch:
        """Return what streams show, which belongs to the thread that uses it."""
        return Watch(self._status, self._sections, self.recorder, self._clock, self._start, self._program_rows())

    def programs(self, program: str | None) -> Shown | None:
        """Return the rows of all programs, or all of the one with this id; None if there is no such one."""
        if (rows := self._program_rows()) is None or self._programs is None:
            return None
        if program is None:
            rows.changed()
            return {**self._now(), **rows.all()}
        view = self._programs.view(program)
        return None if view is None else {**self._now(), **view}

    def ingestion(self) -> Shown | None:
        """Return what is known of ingesting services; None when their events are not read."""
        if self._status.ingestion is None:
            return None
        # Loaded when it is needed.
        from exporter.page.ingestion import ingestion_section

        return {**self._now(), **ingestion_section(self._status.ingestion)}

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

    def _program_rows(self) -> ProgramRows | None:
        if self._programs is None:
            return None
        from exporter.page.programs import ProgramRows

        return ProgramRows(self._programs)

    def _now(self) -> Shown:
        return {"start": self._start, "now_ms": self._clock.now_ms()}


def _programs(groups: Groups, config: Config) -> Programs:
    # Loaded when it is needed.
    from exporter.page.programs import Programs

    return Programs(groups, config.web.history)
