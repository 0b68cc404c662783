"""Whatever happens to the channel, what was offered is published once, in order, and positions never run ahead."""

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.config import BacklogLimits
from exporter.dispatch import Dispatch, Position
from exporter.events import Event
from exporter.model import EventType, Partition
from exporter.publisher import Publisher
from tests.fakes import LARGEST_BODY, FakeChannel, FakeGroup, Fate, ManualWorker

PARTITIONS = [Partition("ticker-data.korea", number) for number in range(3)]
LIMITS = BacklogLimits(events=5, bytes=100_000, age=10.0)
COMMIT_INTERVAL = 0.25


class Stage:
    """A publisher whose time, threads, channel and group are in the hands of the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.group = FakeGroup()
        self.channel = FakeChannel(self.group)
        self.worker = ManualWorker(self.elapse)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("exporter.publisher.Worker", lambda _name: self.worker)
        self._patch.setattr("exporter.publisher.time", SimpleNamespace(sleep=self.elapse))
        self.publisher = Publisher(self.channel, self.group, LIMITS, COMMIT_INTERVAL, lambda: self.now)

    def close(self) -> None:
        """Give time and threads back."""
        self._patch.undo()

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def turn(self, seconds: float = COMMIT_INTERVAL) -> None:
        """Advance once after so much time, and let the calls that this began end."""
        self.elapse(seconds)
        self.publisher.advance()
        self.worker.work()

    def turns(self, times: int = 10) -> None:
        """Turn as often as anything takes that goes well."""
        for _ in range(times):
            self.turn()


def event(partition: Partition, number: int, event_type: EventType = EventType.BATCH) -> Event:
    """An event that can be told from all others."""
    return Event(event_type, "events", b"korea:upbit:ticker", b"%d" % number, [], partition)


def dispatch(*events: Event, **positions: Position) -> Dispatch:
    """A dispatch of these events; positions are named after their partitions, `p0=...`."""
    made = Dispatch()
    for each in events:
        made.add(each)
    made.positions = {PARTITIONS[int(name[1:])]: position for name, position in positions.items()}
    return made


class Publishing(RuleBasedStateMachine):
    """Offers, drops, time and trouble in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.numbers = count()
        self.offered: list[Dispatch] = []
        self.lost: set[Partition] = set()
        self.reached = {partition: Position(0, 0, 0) for partition in PARTITIONS}

    @initialize()
    def first_start(self) -> None:
        """Most histories begin well."""
        self.stage.turns(2)

    @rule(records=st.lists(st.sampled_from(PARTITIONS), min_size=1, max_size=4))
    def offer_batches(self, records: list[Partition]) -> None:
        """What a turn of the loop brings."""
        made = Dispatch()
        for partition in records:
            if partition not in self.lost:
                self.reached[partition] = self.reached[partition]._replace(offset=self.reached[partition].offset + 1)
                made.add(event(partition, next(self.numbers)))
                made.positions[partition] = self.reached[partition]
        self._offer(made)

    @rule(partition=st.sampled_from(PARTITIONS))
    def offer_summary(self, partition: Partition) -> None:
        """An event and a position whose offset may be committed already."""
        if partition not in self.lost:
            offset, _, since = self.reached[partition]
            self.reached[partition] = Position(offset, offset, since + 1)
            made = Dispatch()
            made.add(event(partition, next(self.numbers), EventType.SUMMARY))
            made.positions[partition] = self.reached[partition]
            self._offer(made)

    def _offer(self, made: Dispatch) -> None:
        self.offered.append(made.without(()))
        self.stage.publisher.offer(made)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 2.0]))
    def advance(self, seconds: float) -> None:
        """What the loop does each turn; blocking calls stay under way."""
        self.stage.elapse(seconds)
        self.stage.publisher.advance()

    @rule(fate=st.sampled_from(Fate), opens=st.booleans())
    def work(self, fate: Fate, opens: bool) -> None:
        """Blocking calls end, one way or another."""
        self.stage.channel.fate, self.stage.channel.opens = fate, opens
        self.stage.worker.work()

    @rule(room=st.sampled_from([0, 1, 2, 1000]), breaks=st.booleans(), is_silent=st.booleans())
    def trouble(self, room: int, breaks: bool, is_silent: bool) -> None:
        """How quick calls go from now on."""
        self.stage.channel.room, self.stage.channel.breaks = room, breaks
        self.stage.group.is_silent = is_silent

    @rule(fate=st.sampled_from(Fate))
    def settle(self, fate: Fate) -> None:
        """As in a rebalance."""
        self.stage.channel.fate = fate
        self.stage.publisher.settle(1.0)

    @precondition(lambda self: len(self.lost) < len(PARTITIONS) - 1)
    @rule(partition=st.sampled_from(PARTITIONS))
    def lose(self, partition: Partition) -> None:
        """The partition is somebody else's now."""
        self.lost.add(partition)
        self.stage.publisher.drop({partition})

    @invariant()
    def published_is_offered_once_in_order(self) -> None:
        """Of what is kept, no event is left out before another one; of nothing, more than was offered."""
        for partition in PARTITIONS:
            published = [each for each in self.stage.channel.published if each.source == partition]
            offered = [each for made in self.offered for each in made.events if each.source == partition]
            assert published == offered[: len(published)]

    @invariant()
    def positions_come_with_their_events(self) -> None:
        """Neither before nor after."""
        for partition in PARTITIONS:
            told = sum(each.source == partition for each in self.stage.channel.published)
            events = 0
            positions: dict[int, Position | None] = {0: None}
            for made in self.offered:
                events += sum(each.source == partition for each in made.events)
                positions[events] = made.positions.get(partition, positions.get(events))
            assert self.stage.group.positions.get(partition) == positions[told]

    def teardown(self) -> None:
        """Once the trouble is over all that is kept is published."""
        channel, group = self.stage.channel, self.stage.group
        channel.fate, channel.opens, channel.room, channel.breaks, group.is_silent = (
            Fate.COMMITTED,
            True,
            99,
            False,
            False,
        )
        self.stage.worker.work()
        for _ in range(20):
            self.stage.turn(2.0)
        self.published_is_offered_once_in_order()
        kept = [partition for partition in PARTITIONS if partition not in self.lost]
        offered = [each for made in self.offered for each in made.events if each.source in kept]
        assert [each for each in channel.published if each.source in kept] == offered
        assert self.stage.publisher.backlog_size()[:2] == (0, 0)
        self.stage.close()


TestPublishing = Publishing.TestCase
TestPublishing.settings = settings(max_examples=100, stateful_step_count=30)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A publisher that is open."""
    stage = Stage()
    stage.turns(2)
    yield stage
    stage.close()


def test_nothing_is_sealed_before_the_commit_interval_ends(stage: Stage) -> None:
    """What comes within it goes into one commit."""
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    stage.turn(0.0)
    stage.publisher.offer(dispatch(event(PARTITIONS[1], 2), p1=Position(1, 0, 0)))
    stage.turn(COMMIT_INTERVAL / 2)
    assert stage.channel.published == []
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"1", b"2"]
    assert stage.publisher.counts.commits == 1
    assert stage.publisher.counts.events[EventType.BATCH] == 2


def test_positions_without_events_are_committed_and_told(stage: Stage) -> None:
    """So that a partition without batches is not read again."""
    position = Position(7, 3, 1)
    stage.publisher.offer(dispatch(p2=position))
    stage.turns()
    assert stage.group.positions == stage.channel.confirmed == {PARTITIONS[2]: position}


@pytest.mark.parametrize("fate", [Fate.COMMITTED_IN_DOUBT, Fate.ABORTED_IN_DOUBT])
def test_doubt_about_a_summary_is_resolved_by_what_the_commit_says_of_summaries(stage: Stage, fate: Fate) -> None:
    """No record was read since the last commit, so the offset alone tells nothing."""
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 5)))
    stage.turns()
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 2, EventType.SUMMARY), p0=Position(1, 1, 6)))
    stage.channel.fate = fate
    stage.turn(0.0)
    stage.turn()
    stage.channel.fate = Fate.COMMITTED
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"1", b"2"]
    assert stage.publisher.counts.commit_failures["unclear"] == 1


def test_event_that_can_never_be_sent_is_failed_once_and_holds_up_nobody(stage: Stage) -> None:
    """Also when the rest of its transaction has to be sent again; it does not count as published."""
    huge = Event(EventType.BATCH, "events", b"key", bytes(LARGEST_BODY + 1), [], PARTITIONS[0])
    stage.publisher.offer(dispatch(huge, event(PARTITIONS[0], 2), p0=Position(2, 0, 0)))
    stage.channel.fate = Fate.ABORTED
    stage.turns(4)
    stage.channel.fate = Fate.COMMITTED
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"2"]
    assert stage.group.positions == {PARTITIONS[0]: Position(2, 0, 0)}
    assert stage.publisher.counts.failed[EventType.BATCH] == 1
    assert stage.publisher.counts.events[EventType.BATCH] == 1


def test_fullness_is_that_of_the_nearest_limit(stage: Stage) -> None:
    """Of events, bytes and age; what is published takes no room."""
    stage.channel.breaks = True
    for number in range(LIMITS.events):
        assert stage.publisher.fullness() == number / LIMITS.events
        stage.publisher.offer(dispatch(event(PARTITIONS[0], number), p0=Position(number + 1, 0, 0)))
    assert stage.publisher.fullness() == 1
    stage.channel.breaks = False
    stage.turns()
    assert stage.publisher.fullness() == 0
    big = Event(EventType.BATCH, "events", b"key", bytes(LIMITS.bytes), [], PARTITIONS[0])
    stage.publisher.offer(dispatch(big, p0=Position(9, 0, 0)))
    assert stage.publisher.fullness() > 1
    stage.turns()
    stage.channel.breaks = True
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 9), p0=Position(10, 0, 0)))
    stage.turn(LIMITS.age)
    assert stage.publisher.fullness() == 1


def test_trouble_is_told_until_something_is_committed(stage: Stage) -> None:
    """A channel that opens and then fails again is still in trouble."""
    stage.channel.breaks = True
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    for _ in range(8):
        stage.turn()
        assert stage.publisher.trouble == "the producer was lost"
    stage.channel.breaks = False
    stage.turns()
    assert stage.channel.published
    assert stage.publisher.trouble == ""


def test_settling_ends_at_its_deadline(stage: Stage) -> None:
    """And says that not all is published."""
    stage.group.is_silent, stage.channel.fate = True, Fate.COMMITTED_IN_DOUBT
    stage.publisher.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    began = stage.now
    assert not stage.publisher.settle(2.0)
    assert 2.0 <= stage.now - began < 2.5
    stage.group.is_silent = False
    assert stage.publisher.settle(2.0)
    assert [each.body for each in stage.channel.published] == [b"1"]
