"""One object for each partition: where it is read, and whether it catches up, stalls or is behind."""

from exporter.feeds.partitions import AssignedPartition, PartitionProgress, TopicCounts
from exporter.feeds.rejections import Traffic
from exporter.kafka.positions import Position, Start
from tests.support.pipeline import NOW_MS

FREE = PartitionProgress()
LIVE_AGE_MS = 60_000


def partition(target: int = 0) -> AssignedPartition:
    """A partition read from its beginning, which had so many records at assignment."""
    return AssignedPartition(Start(Position(0, 0, NOW_MS), 0, target), 0, TopicCounts(), Traffic())


def test_a_partition_catches_up_until_it_is_read_to_its_end_at_assignment() -> None:
    owned = partition(target=2)
    assert owned.evaluate(5, False, NOW_MS, LIVE_AGE_MS).is_catching_up
    owned.next_offset = 2
    assert not owned.evaluate(5, False, NOW_MS, LIVE_AGE_MS).is_catching_up


def test_transaction_markers_at_the_end_count_as_read() -> None:
    """Only the broker reports that there are no more records."""
    owned = partition(target=2)
    owned.next_offset = 1
    assert owned.is_catching_up
    owned.exhausted(2)
    assert (owned.offset, owned.is_catching_up) == (2, False)
    assert owned.evaluate(2, False, NOW_MS, LIVE_AGE_MS) == FREE


def test_a_partition_stalls_from_the_evaluation_on_at_which_it_no_longer_advances() -> None:
    owned = partition()
    assert owned.evaluate(5, False, NOW_MS, LIVE_AGE_MS).stalled_since_ms == NOW_MS
    assert owned.evaluate(5, False, NOW_MS + 1000, LIVE_AGE_MS).stalled_since_ms == NOW_MS
    owned.next_offset = 1
    assert owned.evaluate(5, False, NOW_MS + 2000, LIVE_AGE_MS).stalled_since_ms == NOW_MS + 2000
    owned.next_offset = 5
    assert owned.evaluate(5, False, NOW_MS + 3000, LIVE_AGE_MS) == FREE


def test_an_end_that_was_never_fetched_is_unknown_unless_the_partition_is_exhausted() -> None:
    owned = partition()
    for unknown in (0, -1001):
        assert (owned.evaluate(unknown, False, NOW_MS, LIVE_AGE_MS), owned.end) == (FREE, None)
    owned.exhausted(0)
    assert (owned.evaluate(0, False, NOW_MS, LIVE_AGE_MS), owned.end) == (FREE, 0)


def test_until_the_first_fetch_the_end_is_that_at_assignment() -> None:
    """Reading may be paused before it: by a full backlog, for instance."""
    owned = partition(target=7)
    for unknown in (0, -1001):
        assert owned.evaluate(unknown, True, NOW_MS, LIVE_AGE_MS).is_catching_up
        assert owned.end == 7
    owned.evaluate(9, True, NOW_MS, LIVE_AGE_MS)
    assert owned.end == 9


def test_while_reading_is_paused_there_may_be_more_to_read() -> None:
    owned = partition()
    assert owned.evaluate(0, True, NOW_MS, LIVE_AGE_MS).stalled_since_ms == NOW_MS


def test_a_partition_is_behind_once_two_evaluations_found_more_to_read() -> None:
    """Until it was evaluated, it counts as behind."""
    owned, found = partition(), []
    for high_watermark in (0, 5, 5, 0, 5):
        owned.evaluate(high_watermark, False, NOW_MS, LIVE_AGE_MS)
        found.append(owned.is_behind)
    assert found == [False, False, True, False, False]
