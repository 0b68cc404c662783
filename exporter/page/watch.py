"""What streams show: the whole state at first, then what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import orjson

from exporter.events.fields import FieldReader
from exporter.feeds.feed import Feed
from exporter.model import EventType
from exporter.page.problems import Found, anomalies_of, newest, rejections
from exporter.page.recorder import Recorder
from exporter.page.rows import COLUMNS, Values, feed_values, with_rates
from exporter.page.sidecar import Sections
from exporter.publishing.tap import EventTap, Tapped
from exporter.runtime.clock import Clock
from exporter.status import SidecarStatus

if TYPE_CHECKING:
    from exporter.page.programs import ProgramRows


class Tick(NamedTuple):
    """One step of all streams: its number, and the JSON of what has changed and of published events by type."""

    number: int
    update: bytes
    published: Mapping[EventType, bytes]


class Watch:
    """The state of a sidecar as streams show it; belongs to one thread at a time.

    Feeds are read in short visits, and only those that have changed or whose reasons name durations. `start` is a text
    that differs for each start of the sidecar.
    """

    def __init__(
        self,
        status: SidecarStatus,
        sections: Sections,
        recorder: Recorder,
        clock: Clock,
        start: str,
        programs: ProgramRows | None = None,
    ) -> None:
        self.number = 0
        self._programs = programs
        self._status = status
        self._sections = sections
        self._recorder = recorder
        self._clock = clock
        self.start = start
        self._versions: dict[Feed, int] = {}
        self._values: dict[Feed, list[object]] = {}
        self._rows: dict[str, Values] = {}
        self._anomalies: dict[Feed, list[Found]] = {}
        self._shown: dict[str, object] = {}
        self._sampled_ms = 0
        self._fields: FieldReader | None = None
        self._tap: EventTap | None = None
        self._tapped: frozenset[EventType] = frozenset()
        self._snapshot: tuple[int, bytes] = 0, b""

    def tick(self, types: frozenset[EventType], tick_seconds: float) -> Tick:
        """Take the next step; published events are collected until the next one if their type is in `types`."""
        published = self._published(types)
        self._read_feeds()
        changed: dict[str, object] = {"now_ms": self._clock.now_ms(), "tick_seconds": tick_seconds}
        changed |= self._changed_rows() | self._changed_sections() | self._changed_sample()
        if self._programs is not None:
            changed |= self._programs.changed()
        self._shown["now_ms"], self._shown["tick_seconds"] = changed["now_ms"], tick_seconds
        self.number += 1
        return Tick(self.number, _json(changed), published)

    def snapshot(self) -> tuple[int, bytes]:
        """Return the number of the last step, and the JSON of the whole state after it."""
        if self._snapshot[0] != self.number:
            more = {"start": self.start, "columns": COLUMNS, "feeds": list(self._rows.values())}
            more |= {} if self._programs is None else self._programs.all()
            self._snapshot = self.number, _json({**more, **self._shown})
        return self._snapshot

    def close(self) -> None:
        """Stop collecting published events."""
        self._set_tap(frozenset())

    # Feeds.

    def _read_feeds(self) -> None:
        feeds, known = self._status.feeds(), self._versions
        for gone in known.keys() - set(feeds):
            del known[gone], self._values[gone], self._anomalies[gone]
        changed = [feed for feed in feeds if known.get(feed) != feed.version or self._values[feed][2]]
        for feed, version, values, anomalies in self._status.each(changed, _read):
            known[feed], self._values[feed], self._anomalies[feed] = version, values, anomalies

    def _changed_rows(self) -> dict[str, object]:
        feeds, before = list(self._values), self._rows
        rates = self._recorder.rates(feed.key for feed in feeds)
        rows = [with_rates(self._values[feed], of_feed) for feed, of_feed in zip(feeds, rates, strict=True)]
        self._rows = {str(row[0]): row for row in rows}
        changed = [row for name, row in self._rows.items() if before.get(name) != row]
        removed = sorted(before.keys() - self._rows.keys())
        return ({"feeds": changed} if changed else {}) | ({"removed": removed} if removed else {})

    def _changed_sections(self) -> dict[str, object]:
        sections: dict[str, object] = dict(self._sections.all(self._rows.values()))
        sections["rejections"] = rejections(self._status)
        sections["anomalies"] = newest(found for each in self._anomalies.values() for found in each)
        changed = {name: section for name, section in sections.items() if self._shown.get(name) != section}
        self._shown |= changed
        return changed

    def _changed_sample(self) -> dict[str, object]:
        before, self._sampled_ms = self._sampled_ms, self._recorder.sampled_ms
        return {"sampled_ms": self._sampled_ms} if self._sampled_ms != before else {}

    # Published events.

    def _published(self, types: frozenset[EventType]) -> dict[EventType, bytes]:
        """Return the events published since the last step, and collect those of `types` from now on."""
        found = {} if self._tap is None else self._tap.take()
        if types != self._tapped:
            self._set_tap(types)
        return {event_type: self._events(event_type, tapped) for event_type, tapped in found.items()}

    def _set_tap(self, types: frozenset[EventType]) -> None:
        self._tap, self._tapped = (EventTap(types) if types else None), types
        self._status.publisher.tap = self._tap

    def _events(self, event_type: EventType, tapped: Tapped) -> bytes:
        if self._fields is None:
            self._fields = FieldReader()
        events = []
        for event in tapped.events:
            headers = dict(event.headers)
            place = {"id": headers["ce_id"].decode(), "topic": event.topic, "time": headers["ce_time"].decode()}
            events.append({**place, "value": self._fields.read(event)})
        return _json({"type": event_type, "missed": tapped.missed, "events": events})


def _read(feed: Feed) -> tuple[Feed, int, list[object], list[Found]]:
    return feed, feed.version, feed_values(feed), anomalies_of(feed)


def _json(value: object) -> bytes:
    return orjson.dumps(value)
