"""What waits to be published, and the positions that a commit stands for."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.events.factory import Event
from exporter.kafka.positions import Extent, Position, resumed
from exporter.model import EventType, Partition, Reset, ResetCause
from exporter.publishing.dispatch import EVENT_OVERHEAD_BYTES, Dispatch
from tests.support.pipeline import FIRST, NOW_MS, SECOND, record, start, take
from tests.support.pipeline import pipeline as new_pipeline

OFFSETS = st.integers(0, 2**63 - 1)


IDS = st.sampled_from(["", "81y1uwv4TP6H1S0N1pMsag", "CB/GaOBOQRqnr+PoDpSBhQ"])


@given(offsets=st.tuples(OFFSETS, OFFSETS), since_ms=st.integers(0, NOW_MS), topic_id=IDS, starts=st.integers(0, 9))
def test_a_position_comes_back_from_its_commit(
    offsets: tuple[int, int], since_ms: int, topic_id: str, starts: int
) -> None:
    position = Position(max(offsets), min(offsets), since_ms, topic_id, starts, min(offsets))
    assert Position.committed(position.offset, position.metadata, NOW_MS) == position


@given(metadata=st.none() | st.text() | st.from_regex(r"summarized=-?\d+ since=-?\d+( \w+=\w*)?", fullmatch=True))
@example(metadata="summarized=5")
@example(metadata="summarized=x since=1")
@example(metadata="summarized=" + "9" * 5000 + " since=1")
@example(metadata="since=" + str(NOW_MS + 1) + " summarized=11")
def test_whatever_stands_beside_a_commit_the_position_is_possible(metadata: str | None) -> None:
    """Someone else's commit, or one of another clock's."""
    position = Position.committed(10, metadata, NOW_MS)
    assert position.offset == 10
    assert 0 <= position.summarized <= 10
    assert position.since_ms <= NOW_MS


def test_a_commit_without_metadata_is_fully_summarized() -> None:
    for metadata in (None, "", "written by hand"):
        assert Position.committed(10, metadata, NOW_MS) == Position(10, 10, NOW_MS)


LEFT = Position(50, 40, NOW_MS - 1000, "first")


def test_a_partition_that_holds_the_position_is_read_on_there() -> None:
    for extent in (Extent(0, 100, "first"), Extent(50, 50, "first"), Extent(0, 50, "")):
        assert resumed(LEFT, extent, NOW_MS) == (LEFT, None)
    assert resumed(LEFT._replace(topic_id=""), Extent(0, 100, "first"), NOW_MS) == (LEFT, None)


def test_what_was_deleted_before_it_was_read_is_known_to_the_record() -> None:
    """The summary goes on from there, and tells of the whole time."""
    reset = Reset(ResetCause.RECORDS_DELETED, 50, 30)
    assert resumed(LEFT, Extent(80, 100, "first"), NOW_MS) == (Position(80, 80, NOW_MS - 1000, "first"), reset)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    """Its id says so; where there is none, that it ends before the position. What it does not hold any more is lost."""
    reset = Reset(ResetCause.TOPIC_RECREATED, 50, 5)
    for extent in (Extent(5, 100, "second"), Extent(5, 10, "second"), Extent(5, 10, "")):
        assert resumed(LEFT, extent, NOW_MS) == (Position(5, 5, NOW_MS, extent.topic_id), reset)


def test_a_topic_that_lost_what_was_read_is_read_on_at_its_end() -> None:
    """What came before was told already; summaries do not wait for what is not to be had."""
    reset = Reset(ResetCause.LOG_TRUNCATED, 50, 0)
    for high, summarized in ((45, 40), (30, 30)):
        begun = LEFT._replace(offset=high, summarized=summarized)
        assert resumed(LEFT, Extent(0, high, "first"), NOW_MS) == (begun, reset)


@given(offset=OFFSETS, extent=st.tuples(OFFSETS, OFFSETS), ids=st.tuples(IDS, IDS))
def test_wherever_a_partition_was_left_it_is_read_on_where_it_has_records(
    offset: int, extent: tuple[int, int], ids: tuple[str, str]
) -> None:
    """A reset is told exactly where that is not the place where it was left, or not the same topic."""
    low, high = sorted(extent)
    begun, reset = resumed(Position(offset, offset, 0, ids[0]), Extent(low, high, ids[1]), NOW_MS)
    assert low <= begun.offset <= high
    assert begun.summarized <= begun.offset
    assert (reset is None) == (begun.offset == offset and (ids[0] == ids[1] or not all(ids)))


def event(source: Partition, number: int) -> Event:
    kind = list(EventType)[number % len(EventType)]
    return Event(kind, "events", b"", b"x" * number, [("ce_id", b"%d" % number)], source)


def dispatch(events: list[Event], positions: dict[Partition, Position]) -> Dispatch:
    made = Dispatch()
    for one in events:
        made.add(one)
    made.positions = positions
    return made


PARTITIONS = st.sampled_from([FIRST, SECOND, Partition("trade-data.korea", 0)])
DISPATCHES = st.builds(
    dispatch,
    st.lists(st.builds(event, PARTITIONS, st.integers(0, 20)), max_size=8),
    st.dictionaries(PARTITIONS, st.builds(Position, OFFSETS, OFFSETS, OFFSETS)),
)


def is_consistent(one: Dispatch) -> bool:
    """Whether its sums are those of its events."""
    counts = {kind: sum(event.type is kind for event in one.events) for kind in one.counts}
    return one.counts == counts and one.bytes == sum(len(event.body) + EVENT_OVERHEAD_BYTES for event in one.events)


@given(whole=DISPATCHES, gone=st.sets(PARTITIONS))
def test_events_and_positions_of_lost_partitions_are_removed(whole: Dispatch, gone: set[Partition]) -> None:
    whole.offered_at = 12.5
    left = whole.without(gone)
    assert left.events == [one for one in whole.events if one.source not in gone]
    assert left.positions == {place: position for place, position in whole.positions.items() if place not in gone}
    assert left.offered_at == 12.5
    assert is_consistent(left)


def test_only_a_dispatch_without_events_and_positions_is_empty() -> None:
    assert not Dispatch()
    here = new_pipeline(batch_events=False)
    here.assign(FIRST, start(Position(0, 0, NOW_MS), 1))
    assert take(here, record(0))
