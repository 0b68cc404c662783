"""Simulated services that ingest exchange rates in rounds, and the exact counts of the events that they send."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from random import Random

from exporter.ingestion.events import (
    CacheInvalidation,
    DataProcessingCompleted,
    Event,
    ExchangeRateUpdated,
    NewDataReceived,
    key_of,
    topic_of,
)
from exporter.tools.simulate.market import SimulatedRecord

CLOCK_MS = 3_600_000
CODES = ("USD", "EUR", "JPY", "GBP", "CNY", "CHF")
BEGUN, COMPLETED = "rounds begun", "rounds completed"


class Failure(StrEnum):
    """What may go wrong with a service."""

    NONE = "none"
    STOPS = "stops within a round"
    REPEATS = "sends each event twice"
    CLOCK = "has a clock that is an hour behind"


@dataclass(frozen=True, slots=True)
class SimulatedService:
    """The behaviour of one service: a round each `period_ms` takes `duration_ms`, and updates the rates of `codes`.

    It fails in the first round that begins `fails_after_ms` after the start or later, and in those after it.
    """

    source: str
    codes: tuple[str, ...] = CODES
    period_ms: float = 10_000
    duration_ms: float = 3_000
    failure: Failure = Failure.NONE
    fails_after_ms: float = math.inf
    topic_prefix: str = ""


class ServiceSimulator:
    """Simulated services that start at `start_ms` (Unix).

    `events` counts the events yielded so far by name, `rounds` the rounds of each source.
    """

    def __init__(self, seed: int, services: Iterable[SimulatedService], start_ms: int = 0) -> None:
        self.start_ms = start_ms
        self.events: Counter[str] = Counter()
        self.rounds: Counter[tuple[str, str]] = Counter()
        self._last = "", ""  # the event that may be repeated next
        parts = [_sent(each, Random(f"{seed}/{each.source}"), start_ms) for each in services]  # noqa: S311 - rates
        self._sent = heapq.merge(*parts, key=lambda each: each[0])
        self._next = next(self._sent, None)

    def records(self, until_ms: float) -> Iterator[SimulatedRecord]:
        """Yield the records sent up to `until_ms` (Unix) that were not yielded before, in the order of time."""
        while self._next is not None and self._next[0] <= until_ms:
            (_, event, record), self._next = self._next, next(self._sent, None)
            self._count(event)
            yield record

    def _count(self, event: Event) -> None:
        name = topic_of(event)
        self.events[name] += 1
        if isinstance(event, NewDataReceived | DataProcessingCompleted) and (name, event.correlation_id) != self._last:
            self._last = name, event.correlation_id
            self.rounds[event.source, BEGUN if isinstance(event, NewDataReceived) else COMPLETED] += 1


def _sent(service: SimulatedService, random: Random, start_ms: int) -> Iterator[tuple[float, Event, SimulatedRecord]]:
    """Yield what a service sends, with the Unix milliseconds of each."""
    # Loaded when it is needed: simulated feeds need no Avro.
    from exporter.ingestion.encodings import encode_avro

    for number in count():
        since_ms = number * service.period_ms
        failure = service.failure if since_ms >= service.fails_after_ms else Failure.NONE
        clock_ms = -CLOCK_MS if failure is Failure.CLOCK else 0
        for after_ms, event in _round(service, random, start_ms, number, clock_ms):
            at_ms = start_ms + since_ms + after_ms
            key = (key_of(event) or "").encode()
            topic = service.topic_prefix + topic_of(event)
            record = SimulatedRecord(topic, key, encode_avro(event), int(at_ms + clock_ms))
            yield from [(at_ms, event, record)] * (2 if failure is Failure.REPEATS else 1)
            if failure is Failure.STOPS:
                return


def _round(
    service: SimulatedService, random: Random, start_ms: int, number: int, clock_ms: int
) -> Iterator[tuple[float, Event]]:
    """Yield the events of a round, with the milliseconds after its beginning."""
    began_ms = start_ms + number * service.period_ms + clock_ms
    identity, duration_ms = f"{service.source}-{start_ms}-{number}", round(service.duration_ms)
    begun, ended = _iso(began_ms), _iso(began_ms + duration_ms)
    yield 0, NewDataReceived(service.source, len(service.codes), begun, duration_ms // 2, identity)
    for code in service.codes:
        rate = 1000 * random.uniform(0.9, 1.1)
        yield duration_ms / 2, _rate(service.source, code, rate, _iso(began_ms + duration_ms / 2))
    keys = tuple(f"exchange_rate:{code}" for code in service.codes)
    yield duration_ms, CacheInvalidation(keys, "exchange_rate_update", ended)
    yield duration_ms, DataProcessingCompleted(service.source, len(service.codes), duration_ms, ended, identity)


def _rate(source: str, code: str, rate: float, updated: str) -> ExchangeRateUpdated:
    return ExchangeRateUpdated(code, code, rate, 1.01 * rate, 0.99 * rate, source, updated, updated)


def _iso(unix_ms: float) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
