"""Whatever the channel does, what was offered is published once, in order, and positions never run ahead of events."""

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.config.schema import BacklogLimits
from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import EventType, Partition
from exporter.publishing.dispatch import Backlog, BacklogSize, Dispatch
from exporter.publishing.publisher import MANY_EVENTS, OPENING_SECONDS, Publisher
from tests.fakes import LARGEST_BODY, FakeChannel, FakeGroup, Fate, ManualClock, ManualWorker

PARTITIONS = [Partition("ticker-data.korea", number) for number in range(3)]
LIMITS = BacklogLimits(events=5, bytes=100_000, age=10.0)
COMMIT_INTERVAL = 0.25


class Stage:
    """A publisher whose time, threads, channel and group the test controls."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.group = FakeGroup()
        self.channel = FakeChannel(self.group)
        self.worker = ManualWorker(self.clock)
        self.publisher = Publisher(self.channel, self.group, Backlog(LIMITS), COMMIT_INTERVAL, self.clock, self.worker)

    @property
    def size(self) -> BacklogSize:
        """How much waits now."""
        return self.publisher.backlog.size(self.clock.monotonic())

    def offer(self, dispatch: Dispatch) -> None:
        """Add a dispatch to the backlog, as the loop does."""
        self.publisher.backlog.offer(dispatch, self.clock.monotonic())

    def turn(self, seconds: float = COMMIT_INTERVAL) -> None:
        """Advance once after `seconds`, and finish the calls that this began."""
        self.clock.sleep(seconds)
        self.publisher.advance()
        self.worker.work()

    def turns(self, times: int = 10) -> None:
        """Turn often enough for anything without faults to finish."""
        for _ in range(times):
            self.turn()


def event(partition: Partition, number: int, event_type: EventType = EventType.BATCH, padding: int = 0) -> Event:
    """A distinguishable event."""
    return Event(event_type, "events", b"korea:upbit:ticker", b"%d" % number + bytes(padding), [], partition)


def dispatch(*events: Event, **positions: Position) -> Dispatch:
    """A dispatch of these events; positions are named after their partitions, `p0=...`."""
    made = Dispatch()
    for each in events:
        made.add(each)
    made.positions = {PARTITIONS[int(name[1:])]: position for name, position in positions.items()}
    return made


LARGE = 20
batches = st.lists(st.tuples(st.sampled_from(PARTITIONS), st.sampled_from([0, 0, 0, LARGE])), max_size=3)
seconds = st.sampled_from([0.0, 0.1, 0.3, 0.3, 2.0])
fates = st.sampled_from([None, Fate.COMMITTED, *Fate])
rooms = st.sampled_from([1000, 1000, 1000, 2, 1, 0])
rarely = st.sampled_from([False, False, False, True])
rarely_false = rarely.map(lambda happens: not happens)


class Publishing(RuleBasedStateMachine):
    """Offers, time, faults and rebalances in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.numbers = count()
        # What was offered of each partition: the events that can be sent, and the position that they bring.
        self.offered: dict[Partition, list[tuple[list[Event], Position]]] = {each: [] for each in PARTITIONS}

    @initialize()
    def first_start(self) -> None:
        """All histories begin well."""
        self.stage.channel.largest = 10
        self.stage.turns(2)

    @rule(turns=st.lists(st.tuples(batches, seconds, fates), min_size=1, max_size=5))
    def turn(self, turns: list[tuple[list[tuple[Partition, int]], float, Fate | None]]) -> None:
        """What the loop does; blocking calls end one way or another, or stay under way."""
        for records, elapsed, fate in turns:
            self._offer_batches(records)
            self.stage.clock.sleep(elapsed)
            self.stage.publisher.advance()
            if fate is not None:
                self._work(fate)

    @rule(partitions=st.sets(st.sampled_from(PARTITIONS), min_size=1))
    def summarize(self, partitions: set[Partition]) -> None:
        """Events and positions whose offsets may be committed already."""
        made = Dispatch()
        for partition in sorted(partitions):
            offset, _, since, *_ = self._reached(partition)
            made.add(event(partition, next(self.numbers), EventType.SUMMARY))
            made.positions[partition] = Position(offset, offset, since + 1)
        self._offer(made)

    @rule(room=rooms, opens=rarely_false, breaks=rarely, is_silent=rarely)
    def faults(self, room: int, opens: bool, breaks: bool, is_silent: bool) -> None:
        """How calls go from now on."""
        channel, group = self.stage.channel, self.stage.group
        channel.room, channel.opens, channel.breaks, group.is_silent = room, opens, breaks, is_silent

    @rule(fate=st.sampled_from(Fate))
    def flush(self, fate: Fate) -> None:
        """As in a rebalance."""
        self.stage.channel.fate = fate
        self.stage.publisher.flush(1.0)

    @rule(partition=st.sampled_from(PARTITIONS), fate=st.sampled_from(Fate))
    def lose_and_regain(self, partition: Partition, fate: Fate) -> None:
        """The group hands a partition out only when no commit of its position is under way; it is read from there."""
        self.stage.publisher.drop({partition})
        self._work(fate)
        committed = self.stage.group.positions.get(partition)
        while self.offered[partition] and self._reached(partition) != committed:
            self.offered[partition].pop()

    @invariant()
    def events_and_positions_are_published_together_once_in_order(self) -> None:
        """Of each partition, what is published is the beginning of what was offered."""
        for partition in PARTITIONS:
            published = [each for each in self.stage.channel.published if each.source == partition]
            expected: list[Event] = []
            beginnings: list[tuple[list[Event], Position | None]] = [([], None)]
            for events, position in self.offered[partition]:
                expected = [*expected, *events]
                beginnings.append((expected, position))
            assert (published, self.stage.group.positions.get(partition)) in beginnings

    def teardown(self) -> None:
        """Once the faults are over everything is published."""
        self.faults(room=99, opens=True, breaks=False, is_silent=False)
        self._work(Fate.COMMITTED)
        for _ in range(20):
            self.stage.turn(2.0)
        self.events_and_positions_are_published_together_once_in_order()
        reached = {partition: self._reached(partition) for partition in PARTITIONS if self.offered[partition]}
        assert self.stage.group.positions == reached
        assert self.stage.size == (0, 0, 0.0, 0.0)

    def _offer_batches(self, records: list[tuple[Partition, int]]) -> None:
        """Offer what a turn of the loop brings; some events are too large to be sent."""
        made = Dispatch()
        for partition, padding in records:
            position = made.positions.get(partition, self._reached(partition))
            made.positions[partition] = position._replace(offset=position.offset + 1)
            made.add(event(partition, next(self.numbers), padding=padding))
        self._offer(made)

    def _offer(self, made: Dispatch) -> None:
        for partition, position in made.positions.items():
            own = [each for each in made.events if each.source == partition]
            self.offered[partition].append(([each for each in own if len(each.body) < LARGE], position))
        self.stage.offer(made)

    def _reached(self, partition: Partition) -> Position:
        return self.offered[partition][-1][1] if self.offered[partition] else Position(0, 0, 0)

    def _work(self, fate: Fate) -> None:
        self.stage.channel.fate = fate
        self.stage.worker.work()


TestPublishing = Publishing.TestCase
TestPublishing.settings = settings(max_examples=150, stateful_step_count=30)


@pytest.fixture
def stage() -> Stage:
    """A publisher that is open."""
    stage = Stage()
    stage.turns(2)
    return stage


@pytest.mark.parametrize(("is_open", "seconds"), [(True, 60.0), (False, OPENING_SECONDS)])
def test_closing_waits_for_an_open_channel_and_hardly_for_one_that_is_being_opened(
    is_open: bool, seconds: float
) -> None:
    stage = Stage()
    stage.publisher.advance()
    if is_open:
        stage.turns()
    before = stage.clock.monotonic()
    stage.publisher.close(60.0)
    assert stage.clock.monotonic() - before == pytest.approx(seconds)


def test_nothing_is_committed_before_the_commit_interval_ends(stage: Stage) -> None:
    """What comes within it goes into one commit."""
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    stage.turn(0.0)
    stage.offer(dispatch(event(PARTITIONS[1], 2), p1=Position(1, 0, 0)))
    stage.turn(COMMIT_INTERVAL / 2)
    assert stage.channel.published == []
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"1", b"2"]
    assert stage.publisher.counts.commits == 1
    assert stage.publisher.counts.events[EventType.BATCH] == 2


def test_few_events_are_sent_together_when_the_commit_is_due(stage: Stage) -> None:
    """Each burst of events wakes the producer's thread, so they wait here."""
    for number in range(3):
        stage.offer(dispatch(event(PARTITIONS[0], number), p0=Position(number + 1, 0, 0)))
        stage.turn(COMMIT_INTERVAL / 4)
    assert stage.publisher.backlog.sent == []
    stage.turn(COMMIT_INTERVAL / 4)
    assert [each.body for each in stage.channel.published] == [b"0", b"1", b"2"]
    assert stage.publisher.counts.commits == 0  # it is confirmed by the next turn
    stage.turn(0.0)
    assert stage.publisher.counts.commits == 1


def test_many_events_are_sent_before_the_commit_is_due(stage: Stage) -> None:
    """So that the commit does not wait for all of them."""
    events = [event(PARTITIONS[0], number) for number in range(MANY_EVENTS)]
    stage.offer(dispatch(*events, p0=Position(MANY_EVENTS, 0, 0)))
    stage.turn(0.0)
    assert len(stage.publisher.backlog.sent) == 1
    stage.turn(COMMIT_INTERVAL / 2)
    assert stage.channel.published == []
    stage.turn(COMMIT_INTERVAL / 2)
    assert stage.channel.published == events


def test_a_flush_does_not_wait_for_the_commit_interval(stage: Stage) -> None:
    """A rebalance waits for it."""
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    began = stage.clock.seconds
    assert stage.publisher.flush(10.0)
    assert stage.clock.seconds - began < COMMIT_INTERVAL / 2


def test_positions_without_events_are_committed(stage: Stage) -> None:
    """So that a partition without batches is not read again."""
    position = Position(7, 3, 1)
    stage.offer(dispatch(p2=position))
    stage.turns()
    assert stage.group.positions == stage.channel.confirmed == {PARTITIONS[2]: position}


@pytest.mark.parametrize("fate", [Fate.COMMITTED_IN_DOUBT, Fate.ABORTED_IN_DOUBT])
def test_an_unclear_commit_of_a_summary_is_resolved_by_the_summarized_position(stage: Stage, fate: Fate) -> None:
    """No record was read since the last commit, so the offset alone does not decide."""
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 5)))
    stage.turns()
    stage.offer(dispatch(event(PARTITIONS[0], 2, EventType.SUMMARY), p0=Position(1, 1, 6)))
    stage.channel.fate = fate
    stage.turn(0.0)
    stage.turn()
    stage.channel.fate = Fate.COMMITTED
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"1", b"2"]
    assert stage.publisher.counts.commit_failures["unclear"] == 1


def test_an_unsendable_event_is_counted_as_failed_once_and_delays_no_other(stage: Stage) -> None:
    """Also when the rest of its transaction has to be sent again; it does not count as published."""
    huge = Event(EventType.BATCH, "events", b"key", bytes(LARGEST_BODY + 1), [], PARTITIONS[0])
    stage.offer(dispatch(huge, event(PARTITIONS[0], 2), p0=Position(2, 0, 0)))
    stage.channel.fate = Fate.ABORTED
    stage.turns(4)
    stage.channel.fate = Fate.COMMITTED
    stage.turns()
    assert [each.body for each in stage.channel.published] == [b"2"]
    assert stage.group.positions == {PARTITIONS[0]: Position(2, 0, 0)}
    assert stage.publisher.counts.failed[EventType.BATCH] == 1
    assert stage.publisher.counts.events[EventType.BATCH] == 1


def test_a_tap_gets_what_is_committed_and_nothing_before(stage: Stage) -> None:
    """Once, however often it is sent."""
    tapped: list[Dispatch] = []
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    stage.turns()
    stage.publisher.tap = tapped.append
    stage.channel.fate = Fate.ABORTED
    stage.offer(dispatch(event(PARTITIONS[0], 2), p0=Position(2, 0, 0)))
    stage.turns(4)
    assert tapped == []
    stage.channel.fate = Fate.COMMITTED
    stage.turns()
    assert [each.body for found in tapped for each in found.events] == [b"2"]
    stage.publisher.tap = None
    stage.offer(dispatch(event(PARTITIONS[0], 3), p0=Position(3, 0, 0)))
    stage.turns()
    assert len(tapped) == 1


def test_fullness_is_that_of_the_nearest_limit(stage: Stage) -> None:
    """Of events, bytes and age; what is published takes no room."""
    stage.channel.breaks = True
    for number in range(LIMITS.events):
        assert stage.size.fullness == number / LIMITS.events
        stage.offer(dispatch(event(PARTITIONS[0], number), p0=Position(number + 1, 0, 0)))
    assert stage.size.fullness == 1
    stage.channel.breaks = False
    stage.turns()
    assert stage.size.fullness == 0
    big = Event(EventType.BATCH, "events", b"key", bytes(LIMITS.bytes), [], PARTITIONS[0])
    stage.offer(dispatch(big, p0=Position(9, 0, 0)))
    assert stage.size.fullness > 1
    stage.turns()
    stage.channel.breaks = True
    stage.offer(dispatch(event(PARTITIONS[0], 9), p0=Position(10, 0, 0)))
    stage.turn(LIMITS.age)
    assert stage.size.fullness == 1


def test_the_backlog_drops_what_belongs_to_lost_partitions(stage: Stage) -> None:
    """An empty backlog has no age."""
    stage.channel.breaks = True
    for number, partition in enumerate(PARTITIONS[:2]):
        stage.offer(dispatch(event(partition, number), **{f"p{number}": Position(1, 0, 0)}))
    stage.turn(LIMITS.age)
    stage.publisher.drop({PARTITIONS[0]})
    assert stage.size.events == 1
    stage.publisher.drop({PARTITIONS[1]})
    assert stage.size == (0, 0, 0.0, 0.0)
    assert stage.publisher.flush(0.0)


def test_the_last_error_stands_until_something_is_committed(stage: Stage) -> None:
    """A channel that opens and then fails again has not recovered."""
    stage.channel.breaks = True
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    for _ in range(8):
        stage.turn()
        assert stage.publisher.last_error == "the producer was lost"
    stage.channel.breaks = False
    stage.turns()
    assert stage.channel.published
    assert stage.publisher.last_error == ""


def test_flush_ends_at_its_deadline(stage: Stage) -> None:
    """And returns that not all is published."""
    stage.group.is_silent, stage.channel.fate = True, Fate.COMMITTED_IN_DOUBT
    stage.offer(dispatch(event(PARTITIONS[0], 1), p0=Position(1, 0, 0)))
    began = stage.clock.seconds
    assert not stage.publisher.flush(2.0)
    assert 2.0 <= stage.clock.seconds - began < 2.5
    stage.group.is_silent = False
    assert stage.publisher.flush(2.0)
    assert [each.body for each in stage.channel.published] == [b"1"]
