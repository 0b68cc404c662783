"""A consumer whose group assigns eagerly, as if it assigned cooperatively; the broker is real."""

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from exporter.kafka.eager import EagerConsumer
from tests.support.kafka import Broker
from tests.support.waiting import eventually

ROUNDS = 5


class Member:
    """A member of a group of its own that puts each assignment off."""

    def __init__(self, broker: Broker) -> None:
        name = f"eager-{uuid.uuid4().hex[:8]}"
        self.topic, self.later = broker.create_topic(f"{name}-now"), f"{name}-later"
        self.calls: list[tuple[str, list[str]]] = []
        self.broker = broker
        properties = {"group.id": name, "heartbeat.interval.ms": 100, "topic.metadata.refresh.interval.ms": 200}
        strategy = {"partition.assignment.strategy": "range", "auto.offset.reset": "earliest"}
        self.consumer = EagerConsumer(Consumer({"bootstrap.servers": broker.bootstrap, **properties, **strategy}))
        topics = [self.topic, self.later]
        self.consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def _assigned(self, consumer: EagerConsumer, partitions: list[TopicPartition]) -> None:
        self.calls.append(("assigned", sorted(each.topic for each in partitions)))
        consumer.incremental_assign([])

    def _revoked(self, consumer: EagerConsumer, partitions: list[TopicPartition]) -> None:
        self.calls.append(("revoked", sorted(each.topic for each in partitions)))
        consumer.incremental_unassign(partitions)

    def poll_until(self, calls: int) -> None:
        """Poll until there were so many calls."""
        eventually(lambda: self._poll() is None and len(self.calls) >= calls)

    def begin(self, offset: int) -> None:
        """Take up the first topic."""
        self.consumer.incremental_assign([TopicPartition(self.topic, 0, offset)])

    def read(self, first: int) -> None:
        """Write some records and read them, from an offset on."""
        for number in range(first, first + ROUNDS):
            self.broker.produce(self.topic, [b"value"])
            message = eventually(self._poll)
            assert message.offset() == number

    def _poll(self) -> Message | None:
        message: Message | None = self.consumer.poll(0.02)
        # The client reports a topic that does not exist, as `later` at first.
        return None if message is None or message.error() is not None else message


@pytest.fixture
def member(broker: Broker) -> Iterator[Member]:
    """A member that has an assignment, and reads nothing yet."""
    member = Member(broker)
    member.poll_until(1)
    yield member
    member.consumer.close()


def test_an_assignment_that_is_taken_up_later_is_made_once(member: Member) -> None:
    member.begin(0)
    member.read(0)
    assert member.calls == [("assigned", [member.topic])]


def test_a_member_that_stops_reading_its_only_partition_stays_in_the_group(member: Member) -> None:
    """So it goes on in a partition after records that cannot be read."""
    member.begin(0)
    member.read(0)
    member.consumer.incremental_unassign([TopicPartition(member.topic, 0)])
    member.begin(ROUNDS)
    member.read(ROUNDS)
    assert member.calls == [("assigned", [member.topic])]


@pytest.mark.parametrize("is_begun", [True, False])
def test_what_was_assigned_is_revoked_before_anything_else_is_assigned(member: Member, is_begun: bool) -> None:
    """Also when nothing of it was taken up."""
    if is_begun:
        member.begin(0)
    member.broker.create_topic(member.later)
    member.poll_until(3)
    both = sorted([member.topic, member.later])
    assert member.calls == [("assigned", [member.topic]), ("revoked", [member.topic]), ("assigned", both)]
