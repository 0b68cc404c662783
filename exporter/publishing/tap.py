"""A tap on published events: a bounded number of each type between two looks."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from exporter.events.factory import Event
from exporter.model import EventType
from exporter.publishing.dispatch import Dispatch

EVENTS_MAX = 200


class Tapped(NamedTuple):
    """The first events of one type since the last look, and how many more there were."""

    events: list[Event]
    missed: int


class EventTap:
    """Collects events of some types, as `Publisher.tap`: at most `EVENTS_MAX` of each type until they are taken."""

    def __init__(self, types: Iterable[EventType]) -> None:
        self._lock = threading.Lock()  # held for microseconds
        self._types = tuple(types)
        self._events: dict[EventType, list[Event]] = {each: [] for each in self._types}
        self._counts = dict.fromkeys(self._types, 0)

    def __call__(self, dispatch: Dispatch) -> None:
        """Take the events of a dispatch; in the thread of the loop."""
        with self._lock:
            for event_type, kept in self._events.items():
                count = dispatch.counts[event_type]
                self._counts[event_type] += count
                if count and len(kept) < EVENTS_MAX:
                    found = (event for event in dispatch.events if event.type is event_type)
                    kept.extend(islice(found, EVENTS_MAX - len(kept)))

    def take(self) -> dict[EventType, Tapped]:
        """Return the events since the last call, of the types that had any; from any thread."""
        with self._lock:
            events, counts = self._events, self._counts
            self._events = {each: [] for each in self._types}
            self._counts = dict.fromkeys(self._types, 0)
        return {each: Tapped(events[each], count - len(events[each])) for each, count in counts.items() if count}
