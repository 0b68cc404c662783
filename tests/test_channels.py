"""The channels fulfil the contract that the publisher relies on: the fake, and the real ones on a real broker."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import AnyEventType, EventType, Partition
from exporter.publishing.channels import Channel, ChannelError, CommitResult, CommitState
from exporter.publishing.channels.idempotent import ErrorKeepingProducer, IdempotentChannel
from exporter.publishing.channels.null import NullChannel
from exporter.publishing.channels.transactional import TransactionalChannel
from tests.fakes import FakeChannel, FakeGroup
from tests.support.kafka import Broker
from tests.support.waiting import eventually

FRAME = b"frame:"
TRANSACTION_SECONDS = 60.0  # the default of librdkafka


class Stage(NamedTuple):
    """A channel, its published events and the group's offsets; `again` makes another channel of the same name."""

    channel: Channel
    group: object
    source: Partition
    topic: str
    published: Callable[[], list[bytes]]
    offsets: Callable[[], dict[int, int]]
    again: Callable[[], Channel]

    def events(self, *bodies: bytes) -> list[Event]:
        """Events with these bodies."""
        return [Event(EventType.BATCH, self.topic, b"key", body, [("ce_id", b"1")], self.source) for body in bodies]

    def shows(self, *bodies: bytes) -> None:
        """Wait until these are published, and nothing else: a commit is answered before all partitions know of it."""
        eventually(lambda: self.published() == list(bodies))

    def publish(self, commit: bool, offset: int, *bodies: bytes) -> CommitResult:
        """Send events, and commit or abort them with a position."""
        self.channel.begin()
        events = self.events(*bodies)
        assert self.channel.send(events, 0) == (len(events), [])
        positions = {self.source: Position(offset, 0, 5)}
        result = self.channel.commit(positions, self.group) if commit else self.channel.abort()
        if result == CommitResult.COMMITTED:
            self.channel.store_offsets(positions)
        return result


def fake() -> Stage:
    """The stand-in of the publisher's tests."""
    group = FakeGroup()
    channel = FakeChannel(group)
    source = Partition("ticker-data.korea", 0)
    return Stage(
        channel,
        group.metadata(),
        source,
        "events",
        lambda: [FRAME + event.body for event in channel.published],
        lambda: {partition.number: position.offset for partition, position in group.positions.items()},
        lambda: channel,
    )


def frames() -> dict[AnyEventType, bytes]:
    """A frame that differs from every body."""
    return dict.fromkeys(EventType, FRAME)


@contextmanager
def exactly_once_stage(
    broker: Broker, topic: Callable[..., str], make: Callable[[dict[str, Any]], TransactionalChannel]
) -> Iterator[Stage]:
    """A channel that is made with these properties, and a group beside it."""
    source, output, group = Partition(topic(), 0), topic(), f"group-{uuid.uuid4().hex[:8]}"
    again = partial(make, {"bootstrap.servers": broker.bootstrap, "transactional.id": group, "log_level": 0})
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    yield Stage(
        again(),
        consumer.consumer_group_metadata(),
        source,
        output,
        lambda: [record.value for record in broker.read_all(output)],
        lambda: broker.committed(group, source.topic),
        again,
    )
    consumer.close()


@pytest.fixture
def transactional(broker: Broker, topic: Callable[..., str]) -> Iterator[Stage]:
    """The channel of exactly_once."""

    def make(properties: dict[str, Any]) -> TransactionalChannel:
        return TransactionalChannel(partial(Producer, properties), frames, TRANSACTION_SECONDS)

    with exactly_once_stage(broker, topic, make) as stage:
        yield stage


@pytest.fixture
def idempotent(broker: Broker, topic: Callable[..., str]) -> Stage:
    """The channel of at_least_once."""
    source, output = Partition(topic(), 0), topic()
    stored: dict[int, int] = {}

    def store(offsets: list[TopicPartition]) -> None:
        stored.update({offset.partition: offset.offset for offset in offsets})

    def make() -> IdempotentChannel:
        properties = {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "log_level": 0}
        return IdempotentChannel(partial(ErrorKeepingProducer, properties), frames, store)

    published = partial(broker.read_all, output)
    return Stage(make(), None, source, output, lambda: [record.value for record in published()], lambda: stored, make)


@pytest.fixture(params=["fake", "transactional", "idempotent"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Each of the channels, not opened yet."""
    stage: Stage = fake() if request.param == "fake" else request.getfixturevalue(request.param)
    yield stage
    stage.channel.close()


@pytest.fixture(params=["fake", "transactional"])
def exactly_once(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The channels that can undo."""
    stage: Stage = fake() if request.param == "fake" else request.getfixturevalue(request.param)
    yield stage
    stage.channel.close()


def test_begin_raises_on_a_channel_that_is_not_open(stage: Stage) -> None:
    with pytest.raises(ChannelError):
        stage.channel.begin()


def test_committed_events_are_published_in_order_with_their_position(stage: Stage) -> None:
    """Each body with the frame of its type before it; one commit after the other."""
    stage.channel.open()
    assert stage.publish(True, 2, b"1", b"2") == CommitResult.COMMITTED
    assert stage.publish(True, 3, b"3") == CommitResult.COMMITTED
    stage.shows(b"frame:1", b"frame:2", b"frame:3")
    assert stage.offsets() == {0: 3}


def test_an_abort_commits_no_position(stage: Stage) -> None:
    """The channel can be used further."""
    stage.channel.open()
    assert stage.publish(False, 2, b"1") == CommitResult.ABORTED
    assert stage.offsets() == {}
    assert stage.publish(True, 2, b"2") == CommitResult.COMMITTED
    assert stage.published()[-1] == b"frame:2"
    assert stage.offsets() == {0: 2}


def test_positions_are_committed_without_events(stage: Stage) -> None:
    stage.channel.open()
    assert stage.publish(True, 9) == CommitResult.COMMITTED
    assert stage.offsets() == {0: 9}


def test_an_empty_transaction_is_committed(stage: Stage) -> None:
    """A dispatch whose partitions were lost in the meantime leaves an empty transaction behind."""
    stage.channel.open()
    stage.channel.begin()
    assert stage.channel.commit({}, stage.group) == CommitResult.COMMITTED


def test_an_event_that_is_too_large_is_returned_as_unsendable(stage: Stage) -> None:
    """Those around it are published."""
    stage.channel.open()
    stage.channel.begin()
    events = stage.events(b"1", bytes(1_000_001), b"2")
    assert stage.channel.send(events, 0) == (3, [events[1]])
    assert stage.channel.commit({stage.source: Position(3, 0, 0)}, stage.group) == CommitResult.COMMITTED
    stage.shows(b"frame:1", b"frame:2")


def test_sending_begins_at_the_index(stage: Stage) -> None:
    stage.channel.open()
    stage.channel.begin()
    assert stage.channel.send(stage.events(b"1", b"2", b"3"), 1) == (3, [])
    stage.channel.commit({}, stage.group)
    stage.shows(b"frame:2", b"frame:3")


def test_a_closed_channel_can_be_opened_again(stage: Stage) -> None:
    stage.channel.open()
    stage.channel.close()
    with pytest.raises(ChannelError):
        stage.channel.begin()
    stage.channel.open()
    assert stage.publish(True, 1, b"1") == CommitResult.COMMITTED
    stage.shows(b"frame:1")


def test_uncommitted_events_are_never_published(exactly_once: Stage) -> None:
    """Neither after an abort, nor after the channel was opened again."""
    stage = exactly_once
    stage.channel.open()
    stage.publish(False, 1, b"aborted")
    stage.channel.begin()
    stage.channel.send(stage.events(b"left open"), 0)
    stage.channel.open()
    assert stage.publish(True, 1, b"1") == CommitResult.COMMITTED
    stage.shows(b"frame:1")


def test_a_successor_ends_the_open_transaction_of_its_predecessor(transactional: Stage) -> None:
    """The predecessor, if it still runs, can commit nothing any more."""
    transactional.channel.open()
    transactional.channel.begin()
    transactional.channel.send(transactional.events(b"left open"), 0)
    successor = transactional.again()
    successor.open()
    positions = {transactional.source: Position(1, 0, 0)}
    assert transactional.channel.commit(positions, transactional.group) != CommitResult.COMMITTED
    assert transactional.offsets() == {}
    assert transactional.published() == []
    successor.close()


class StuckProducer(Producer):
    """A producer with the fault of librdkafka #5456: a call outlives its time-out, until the test releases it."""

    def __init__(self, properties: dict[str, Any], released: threading.Event) -> None:
        super().__init__(properties)
        self._released = released

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        """Wait, for much longer than is allowed."""
        self._released.wait(60)
        super().send_offsets_to_transaction(*arguments)


def test_a_call_that_does_not_return_is_abandoned(broker: Broker, topic: Callable[..., str]) -> None:
    """Its transaction was never committed, the next producer continues, and its late end changes nothing."""
    released = threading.Event()

    def make(properties: dict[str, Any]) -> TransactionalChannel:
        producers = iter([StuckProducer(properties, released), Producer(properties)])
        return TransactionalChannel(lambda: next(producers), frames, TRANSACTION_SECONDS, stuck_seconds=1.0)

    with exactly_once_stage(broker, topic, make) as stage:
        stage.channel.open()
        assert stage.publish(True, 1, b"stuck").state is CommitState.ABORTED
        released.set()
        assert stage.publish(True, 2, b"1") == CommitResult.COMMITTED
        stage.shows(b"frame:1")
        assert stage.offsets() == {0: 2}
        stage.channel.close()


def test_null_channel_publishes_nothing_and_stores_positions() -> None:
    """What it stores is what a commit would bring."""
    stored: list[TopicPartition] = []
    channel = NullChannel(stored.extend)
    channel.open()
    channel.begin()
    position = Position(7, 3, 5)
    assert channel.commit({Partition("topic", 1): position}, None) == CommitResult.COMMITTED
    assert stored == []
    channel.store_offsets({Partition("topic", 1): position})
    assert [(each.topic, each.partition, each.offset, each.metadata) for each in stored] == [
        ("topic", 1, 7, "summarized=3 since=5")
    ]
