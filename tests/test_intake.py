"""A turn takes so many records and bytes, whatever the consumer hands out at once."""

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from exporter.source.intake import TAKE_BYTES, TAKE_RECORDS, Intake

MIB = 1024**2
BODIES = {size: bytes(size) for size in (0, 1, 2000, MIB // 2, MIB, 5 * MIB)}
SIZES = st.lists(st.sampled_from(list(BODIES)), max_size=12).map(lambda few: few * 100)


class Fetched:
    """A consumer that has fetched messages of these sizes."""

    def __init__(self, sizes: list[int]) -> None:
        self.left = [Message(topic="t", partition=n % 3, offset=n, value=BODIES[size]) for n, size in enumerate(sizes)]

    def poll(self, _seconds: float) -> Message | None:
        """See Consumer."""
        return self.left.pop(0) if self.left else None

    def consume(self, count: int, _seconds: float) -> list[Message]:
        """See Consumer."""
        taken, self.left = self.left[:count], self.left[count:]
        return taken


def turns(consumer: Fetched, intake: Intake) -> list[list[Message]]:
    """What each turn takes until nothing is left."""
    found: list[list[Message]] = []
    while True:
        intake.fetch(consumer, 1.0)
        messages = intake.take()
        if not messages:
            return found
        found.append(messages)


@given(SIZES)
def test_each_turn_is_bounded_and_all_come_in_order(sizes: list[int]) -> None:
    """In records, and in bytes but for the one that reaches the bound."""
    found = turns(Fetched(sizes), Intake())
    assert [message.offset() for messages in found for message in messages] == list(range(len(sizes)))
    for messages in found:
        assert len(messages) <= TAKE_RECORDS
        assert sum(len(message) for message in messages[:-1]) < TAKE_BYTES


def test_small_records_are_taken_as_many_at_once_as_a_turn_may_have() -> None:
    """The bound in bytes costs them no turns."""
    assert [len(messages) for messages in turns(Fetched([2000] * 1200), Intake())] == [500, 500, 200]


def test_what_waits_of_a_partition_that_goes_is_dropped() -> None:
    """It would be applied at the wrong place when the partition comes back."""
    consumer, intake = Fetched([2000] * 10 + [MIB] * 60), Intake()
    intake.fetch(consumer, 1.0)
    taken = intake.take()
    intake.drop({("t", 1)})
    consumer.left = []
    rest = [message for messages in turns(consumer, intake) for message in messages]
    assert rest
    assert all(message.partition() != 1 for message in rest)
    assert taken[-1].offset() < rest[0].offset()
