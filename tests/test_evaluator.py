"""Once a second each feed is judged by what the loop knows: nobody is blamed for what we could not have heard."""

import pytest

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, ExpectedFeed, FeedsConfig, Limits, Thresholds
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import PAUSE_MS, Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.partitions import AssignedPartition, PartitionProgress, TopicCounts
from exporter.feeds.rejections import Traffic
from exporter.feeds.states import CALM_MS, GRACE_MS, FeedState
from exporter.feeds.table import FeedTable
from exporter.model import Arrival, Partition
from tests.support.pipeline import FIRST, KEY, NOW_MS, START, start, value

LIMIT_MS = 20_000
PRICED = value().replace(b'"A"', b'"A", "last": 7.0')


class Room:
    """One feed with a fixed limit on silence that is expected, and who looks at it; `now_ms` goes on as it runs."""

    def __init__(self, frozen: float | None = None) -> None:
        rule = Thresholds(silent=LIMIT_MS / 1000, frozen=frozen)
        config = Config(feeds=FeedsConfig(thresholds=(rule,), expected=(ExpectedFeed(feed=KEY),)))
        self.now_ms = NOW_MS
        self.is_sole_reader = True
        self.progress: dict[Partition, PartitionProgress] = {}
        table = FeedTable(Limits(), FeedFilter(["*"], []), HealthFactory(config))
        table.expect(KEY)
        self.feed: Feed = table.feeds[KEY]
        self._evaluator = Evaluator(NoComparison())

    def run(self, milliseconds: int, *, is_sending: bool = False) -> set[FeedState]:
        """Look every second; return the states that there were."""
        states: set[FeedState] = set()
        for _ in range(0, milliseconds, 1000):
            self.now_ms += 1000
            if is_sending:
                self.hear()
            states.add(self.look())
        return states

    def hear(self) -> None:
        """Let a batch come."""
        if not self.feed.partitions:
            self.feed.hold(FIRST, self.now_ms)
        batch = Decoder(Limits()).decode(PRICED)
        stats, arrival = BatchStats(batch), Arrival(self.now_ms, self.now_ms, is_live=True)
        self.feed.count(stats, arrival, (FIRST, 0))

    def look(self) -> FeedState:
        """Judge the feed."""
        self._evaluator.evaluate(
            [self.feed], self.progress, self.now_ms, is_reachable=True, is_sole_reader=self.is_sole_reader
        )
        return self.feed.health.state


def test_an_expected_feed_is_not_silent_before_somebody_has_listened_for_so_long() -> None:
    """Nothing is known at the first look."""
    room = Room()
    assert room.run(LIMIT_MS) == {FeedState.UNKNOWN}
    assert room.run(3000) >= {FeedState.SILENT}
    assert room.feed.has_state


def test_an_expected_feed_may_be_on_any_partition_that_is_read_late() -> None:
    """While we catch up on one, we have not listened to it."""
    room = Room()
    room.progress = {FIRST: PartitionProgress(is_catching_up=True)}
    assert room.run(3 * LIMIT_MS) == {FeedState.UNKNOWN}
    room.progress = {}
    assert room.run(LIMIT_MS) == {FeedState.UNKNOWN}
    assert room.run(3000) >= {FeedState.SILENT}


def test_who_did_not_look_for_a_while_does_not_blame_the_feed() -> None:
    """It may have sent all the time."""
    room = Room()
    assert room.run(5000, is_sending=True) == {FeedState.OK}
    room.now_ms += 10 * LIMIT_MS
    assert room.look() is FeedState.UNKNOWN
    assert room.run(GRACE_MS - 2000, is_sending=True) == {FeedState.OK}


def test_a_feed_that_is_still_silent_after_a_pause_is_found() -> None:
    """The pause is no excuse for ever."""
    room = Room()
    room.run(5000, is_sending=True)
    room.now_ms += PAUSE_MS + 10 * LIMIT_MS
    assert room.run(GRACE_MS + 2000) == {FeedState.UNKNOWN, FeedState.SILENT}


YEAR_MS = 365 * 86_400_000
LIVE_AGE_MS = 60_000
# How far the clock jumps, one after another: wrong from the start and set right, ahead and back, and back for good.
JUMPS = [(56 * YEAR_MS,), (30 * YEAR_MS, -30 * YEAR_MS), (-3 * YEAR_MS,), (-NOW_MS + 10_000, NOW_MS), (-40_000,)]


@pytest.mark.parametrize("is_sending", [True, False], ids=["sending", "silent"])
@pytest.mark.parametrize("jumps", JUMPS)
def test_a_clock_that_jumps_costs_a_feed_no_more_than_a_pause(jumps: tuple[int, ...], is_sending: bool) -> None:
    """It is ok again as soon as it sends, silent once it does not, and ok once more after the usual time."""
    room = Room()
    if jumps[0] > 0:
        room.now_ms = 1000
    room.run(60_000, is_sending=True)
    for jump in jumps:
        room.now_ms += jump
        room.run(5000, is_sending=is_sending)
    room.run(2000, is_sending=True)
    assert room.look() is FeedState.OK
    assert room.feed.last_received_ms == room.feed.symbol_seen_ms["A"] == room.now_ms
    room.run(LIMIT_MS + GRACE_MS + 2000)
    assert room.look() is FeedState.SILENT
    assert room.run(CALM_MS + 2000, is_sending=True) >= {FeedState.OK}


def test_what_has_never_sent_since_the_clock_was_set_back_is_silent() -> None:
    room = Room()
    room.run(5000, is_sending=True)
    room.now_ms -= YEAR_MS
    room.run(LIMIT_MS + GRACE_MS + 2000)
    assert room.look() is FeedState.SILENT
    room.run(5000, is_sending=True)  # on its way back
    room.now_ms -= YEAR_MS
    room.run(CALM_MS + 2000, is_sending=True)
    assert room.look() is FeedState.OK


def test_prices_that_rest_since_the_clock_was_set_back_are_frozen() -> None:
    room = Room(frozen=30.0)
    room.run(5000, is_sending=True)
    room.now_ms -= YEAR_MS
    assert room.run(40_000, is_sending=True) == {FeedState.OK, FeedState.FROZEN}


def test_a_partition_stands_from_when_the_clock_was_set_back_on() -> None:
    partition = AssignedPartition(start(START, 5), 0, TopicCounts(), Traffic())
    assert partition.evaluate(5, False, NOW_MS, LIVE_AGE_MS).stalled_since_ms == NOW_MS
    earlier = NOW_MS - YEAR_MS
    stalls = [partition.evaluate(5, False, earlier + late, LIVE_AGE_MS).stalled_since_ms for late in (0, 1000)]
    assert stalls == [earlier, earlier]


def test_a_partition_of_which_old_records_are_read_with_more_behind_them_is_catching_up() -> None:
    partition = AssignedPartition(start(START, 0), 0, TopicCounts(), Traffic())
    partition.next_offset = 5
    for last_record_ms, end, is_catching_up in (
        (NOW_MS - LIVE_AGE_MS - 1, 9, True),
        (NOW_MS - LIVE_AGE_MS, 9, False),
        (NOW_MS - LIVE_AGE_MS - 1, 5, False),
        (0, 9, False),  # a record without a stamp
    ):
        partition.last_record_ms = last_record_ms
        progress = [partition.evaluate(end, False, NOW_MS, LIVE_AGE_MS) for _ in range(2)]
        assert progress[-1].is_catching_up is is_catching_up


def test_a_feed_that_goes_to_another_replica_takes_its_state_along() -> None:
    """Only its owner says that it is silent; when it comes back, it is judged anew."""
    room = Room()
    room.run(5000, is_sending=True)
    room.run(2 * LIMIT_MS)
    assert room.feed.health.state is FeedState.SILENT
    room.is_sole_reader = False
    room.feed.release(FIRST)
    assert not room.feed.has_state
    assert room.run(LIMIT_MS) == {FeedState.UNKNOWN}
    assert room.run(5000, is_sending=True) == {FeedState.OK}


def test_a_feed_that_comes_back_from_another_replica_is_not_frozen_for_what_was_not_seen() -> None:
    """The tail of its partition tells that it was there meanwhile, but not whether prices changed."""
    room = Room(frozen=30.0)
    room.run(5000, is_sending=True)
    room.is_sole_reader = False
    room.feed.release(FIRST)
    room.run(60_000)
    room.feed.hold(FIRST, room.now_ms)
    room.feed.health.freshness.recall(room.now_ms)
    assert room.run(30_000, is_sending=True) == {FeedState.OK}
    assert room.run(5000, is_sending=True) >= {FeedState.FROZEN}


def test_a_feed_that_is_nowhere_is_no_more_ours_once_others_read_too() -> None:
    """It may be with them; what is shown changes with it."""
    room = Room()
    room.run(2 * LIMIT_MS)
    assert room.feed.has_state
    version, room.is_sole_reader = room.feed.version, False
    room.run(1000)
    assert not room.feed.has_state
    assert room.feed.version > version
