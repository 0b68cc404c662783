"""Records of ingestion events: what each does to positions, counts and the view, from assignment to release."""

from __future__ import annotations

import pytest

from exporter.events.encoding import JsonEncoder
from exporter.events.factory import EventFactory
from exporter.ingestion.encodings import encode_avro, encode_json
from exporter.ingestion.events import EVENTS, Event
from exporter.ingestion.view.pipeline import BYTES_MAX, IngestionPipeline
from exporter.ingestion.view.view import IngestionView, ViewLimits
from exporter.kafka.positions import Position, Start
from exporter.model import Partition, Reason, Record
from exporter.publishing.dispatch import Dispatch
from tests.support.rounds import START_MS, begun, completed, invalidation, rate

NOW = START_MS
BEGINNINGS, ENDS = Partition("test.new_data_received", 0), Partition("test.data_processing_completed", 0)
RATES = [Partition("test.exchange_rate_updated", number) for number in range(3)]
INVALIDATIONS = Partition("test.cache_invalidation", 0)


class Reading:
    """A pipeline that reads partitions from their starts on, live."""

    def __init__(self) -> None:
        factory = EventFactory(JsonEncoder(), "box-1", "events", "errors")
        self.view = IngestionView(ViewLimits(), NOW - 10**7)
        self.pipeline = IngestionPipeline(self.view, "test.", factory)

    def assign(self, *partitions: Partition, offset: int = 0, first: int = 0) -> None:
        start = Start(Position(offset, offset, NOW), first, offset)
        self.pipeline.begin(dict.fromkeys(partitions, start), NOW)
        for _ in range(3):
            for each in partitions:
                self.pipeline.partitions[each].exhausted(offset)
            self.pipeline.progress({}, False, NOW)

    def read(self, partition: Partition, offset: int, content: Event | bytes | None, record_ms: int = NOW) -> Dispatch:
        value = content if isinstance(content, bytes | None) else encode_avro(content)
        records = [Record(partition, offset, record_ms, value)]
        return self.pipeline.analyze(records, self.pipeline.decode(records), NOW)

    def counts(self, source: str = "api") -> tuple[int, int, int]:
        rounds = self.view.sources[source].rounds
        return rounds.counts.begun, rounds.counts.completed, len(rounds.open)


@pytest.fixture
def reading() -> Reading:
    reading = Reading()
    reading.assign(BEGINNINGS, ENDS, *RATES, INVALIDATIONS)
    return reading


def test_each_event_is_counted_once_and_its_position_reached(reading: Reading) -> None:
    for offset, _ in enumerate(range(2)):
        reading.read(BEGINNINGS, offset, begun("api", str(offset)))
    dispatch = reading.read(ENDS, 0, completed("api", "0"))
    assert reading.counts() == (2, 1, 1)
    assert {place: position.offset for place, position in dispatch.positions.items()} == {ENDS: 1}
    reading.read(ENDS, 0, completed("api", "0"))
    topic = reading.pipeline.topics[ENDS.topic]
    assert (topic.records, topic.redelivered, reading.view.events["data_processing_completed"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"<html>", Reason.INVALID_JSON),
        (b'{"source": "api"}', Reason.MISSING_FIELD),
        (encode_json(begun("api", "1")).replace(b'"data_count":60', b'"data_count":"60"'), Reason.WRONG_TYPE),
        (encode_json(begun("api", "1")).replace(b"T", b" of "), Reason.INVALID_TIMESTAMP),
        (b"\x00\x00\x00\x00\x01abc", Reason.INVALID_ENCODING),
        (b"\xc3\x01abcdefgh", Reason.INVALID_ENCODING),
        (encode_avro(completed("api", "1")), Reason.INVALID_ENCODING),
        (b'{"source": "\xff"}', Reason.INVALID_UTF8),
        (b" " * (BYTES_MAX + 1), Reason.TOO_LARGE),
    ],
)
def test_a_record_that_is_no_event_is_rejected_with_its_reason_and_place(
    reading: Reading, value: bytes | None, reason: Reason
) -> None:
    dispatch = reading.read(BEGINNINGS, 0, value)
    topic = reading.pipeline.topics[BEGINNINGS.topic]
    assert {each: number for each, number in topic.rejected.items() if number} == {reason: 1}
    (event,) = dispatch.events
    assert (event.topic, dict(event.headers)["ce_id"]) == ("errors", b"test.new_data_received/0/0")
    assert dispatch.positions[BEGINNINGS].offset == 1
    assert reading.view.sources == {}
    (recent,) = reading.pipeline.recent_rejections.listed()
    assert recent.rejected.reason is reason


def test_what_was_committed_before_restores_rounds_and_rates_and_is_counted_nowhere() -> None:
    reading = Reading()
    reading.assign(BEGINNINGS, ENDS, *RATES, offset=4, first=0)
    for offset in range(4):
        reading.read(BEGINNINGS, offset, begun("api", str(offset)), NOW - 40_000 + 10_000 * offset)
        if offset < 3:
            reading.read(ENDS, offset, completed("api", str(offset)), NOW - 35_000 + 10_000 * offset)
    assert reading.read(ENDS, 3, b"no event", NOW).events == []
    reading.read(RATES[1], 0, rate("api", "USD", NOW - 50_000), NOW - 50_000)
    assert reading.counts() == (0, 0, 1)
    source = reading.view.sources["api"]
    assert source.rounds.usual.value_ms == 5000
    assert source.rounds.open["3"].since_ms == NOW - 10_000
    assert (source.updates, reading.view.rates.known["USD"].updated_ms) == (0, NOW - 50_000)
    assert set(reading.view.events.values()) == {0}
    assert reading.pipeline.topics[BEGINNINGS.topic].recovered == 4
    reading.read(ENDS, 4, completed("api", "3"))
    assert reading.counts() == (0, 1, 0)


@pytest.mark.parametrize("ends_first", [False, True])
def test_of_rounds_whose_ends_may_lie_before_what_is_read_none_is_restored(ends_first: bool) -> None:
    """The ends were sent twice, so that they reach back less far."""
    reading = Reading()
    reading.assign(BEGINNINGS, offset=6, first=2)
    reading.assign(ENDS, offset=6, first=2)
    beginnings: list[tuple[Partition, int, Event, int]]
    ends: list[tuple[Partition, int, Event, int]]
    beginnings = [(BEGINNINGS, n, begun("api", str(n)), NOW - 60_000 + 10_000 * n) for n in range(2, 6)]
    ends = [(ENDS, n, completed("api", str(3 + n // 4)), NOW - 25_000 + 10_000 * (n // 4)) for n in range(2, 6)]
    for each in [*ends, *beginnings] if ends_first else [*beginnings, *ends]:
        reading.read(*each)
    assert reading.view.sources["api"].rounds.open.keys() == {"5"}


def test_a_partition_without_earlier_records_restores_all_rounds() -> None:
    reading = Reading()
    reading.assign(BEGINNINGS, ENDS, offset=1)
    reading.read(ENDS, 0, completed("other", "1"), NOW - 1000)
    reading.read(BEGINNINGS, 0, begun("api", "open"), NOW - 9000)
    assert reading.counts() == (0, 0, 1)


def test_gauges_of_sources_go_with_the_rounds_and_counters_stay(reading: Reading) -> None:
    reading.read(BEGINNINGS, 0, begun("api", "1"))
    reading.read(RATES[0], 0, rate("api", "USD"))
    reading.read(RATES[2], 0, rate("api", "EUR"))
    reading.pipeline.release([RATES[0]])
    assert (reading.view.has_rounds, set(reading.view.rates.known)) == (True, {"EUR"})
    reading.pipeline.release([BEGINNINGS, ENDS])
    assert (reading.view.has_rounds, reading.counts()) == (False, (1, 0, 0))
    assert not reading.pipeline.reads("new_data_received")
    reading.assign(BEGINNINGS, ENDS, offset=1)
    reading.read(BEGINNINGS, 0, begun("api", "1"))
    assert (reading.view.has_rounds, reading.counts()) == (True, (1, 0, 1))
    assert reading.pipeline.topics[BEGINNINGS.topic].redelivered == 1


def test_a_released_partition_is_not_read(reading: Reading) -> None:
    reading.pipeline.release([BEGINNINGS])
    assert reading.read(BEGINNINGS, 0, begun("api", "1")).positions == {}
    assert reading.view.sources == {}


def test_events_of_sidecars_are_no_ingestion_events(reading: Reading) -> None:
    records = [Record(INVALIDATIONS, 0, NOW, encode_avro(invalidation("a", "b")), is_event=True)]
    reading.pipeline.analyze(records, reading.pipeline.decode(records), NOW)
    assert reading.pipeline.topics[INVALIDATIONS.topic].filtered == 1
    assert reading.view.events == dict.fromkeys(EVENTS, 0)
