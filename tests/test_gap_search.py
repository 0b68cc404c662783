"""A place is only stepped over on evidence; the consumer that is asked answers as a script says."""

from collections import deque

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from exporter.kafka import gap_search
from exporter.kafka.gap_search import PAUSE_SECONDS, GapSearch, Prober, is_unreadable
from exporter.kafka.unreadable import LEAST_TRIES, Gap
from exporter.model import Partition
from tests.support.waiting import eventually

PLACE = Partition("a", 0)
END = 10
RECORD, EOF, BROKEN = None, KafkaError._PARTITION_EOF, KafkaError._BAD_COMPRESSION
SILENT = KafkaError._TRANSPORT


class Answers:
    """A consumer of a partition with `END` records: what it answers at each offset, in turn; the last answer stays."""

    def __init__(self, answers: dict[int, list[int | None]]) -> None:
        self._answers = {offset: deque(codes) for offset, codes in answers.items()}
        self._at = 0
        self.is_closed = False

    def get_watermark_offsets(self, _partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """See Consumer."""
        return 0, END

    def assign(self, partitions: list[TopicPartition]) -> None:
        """See Consumer."""
        self._at = partitions[0].offset

    def poll(self, _seconds: float) -> Message:
        """See Consumer."""
        codes = self._answers.get(self._at, deque([EOF if self._at == END else RECORD]))
        code = codes.popleft() if len(codes) > 1 else codes[0]
        error = None if code is None else KafkaError(code)
        return Message(topic=PLACE.topic, partition=PLACE.number, offset=self._at, error=error)

    def close(self) -> None:
        """See Consumer."""
        self.is_closed = True


def gap(answers: dict[int, list[int | None]]) -> Gap | None:
    """What is found from offset 3 on."""
    return Prober(Answers(answers), PLACE).gap(3)


def test_what_fails_again_and_again_is_a_gap() -> None:
    """Up to the first offset that can be read."""
    assert gap({3: [BROKEN], 4: [BROKEN], 5: [BROKEN]}) == Gap(3, 6)


def test_what_can_be_read_to_the_end_of_a_partition_is_none() -> None:
    """Also when it only failed for the other consumer."""
    assert gap({}) is None


def test_place_that_recovers_during_the_search_is_none() -> None:
    """As after a fault of the broker that lasted a while."""
    assert gap({3: [BROKEN, BROKEN, RECORD]}) is None


def test_partition_that_cannot_be_read_at_its_end_either_has_no_gap() -> None:
    """Then it is not the place."""
    assert gap({offset: [BROKEN] for offset in range(3, END + 1)}) is None
    assert gap({offset: [BROKEN] for offset in range(3, END)}) == Gap(3, END)


def test_broker_that_does_not_answer_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search fails, and nothing is known."""
    monkeypatch.setattr(gap_search, "ANSWER_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        gap({3: [BROKEN], 4: [SILENT]})


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        (BROKEN, True),
        (KafkaError._BAD_MSG, True),
        (KafkaError._NOT_IMPLEMENTED, True),
        (KafkaError.INVALID_MSG, True),
        (KafkaError.MSG_SIZE_TOO_LARGE, True),
        (RECORD, False),
        (EOF, False),
        (SILENT, False),
        (KafkaError._AUTO_OFFSET_RESET, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
    ],
)
def test_error_of_a_place_is_one_that_comes_with_its_offset_and_blames_nothing_else(
    code: int | None, is_one: bool
) -> None:
    error = None if code is None else KafkaError(code)
    assert is_unreadable(Message(topic="a", partition=0, offset=7, error=error)) is is_one
    assert not is_unreadable(Message(topic="a", partition=0, offset=-1001, error=error))


def test_search_runs_beside_its_caller_and_what_it_found_is_told_once() -> None:
    """Its consumer is closed afterwards."""
    consumer = Answers({3: [BROKEN]})
    places = GapSearch(lambda: consumer)
    for _ in range(LEAST_TRIES):
        places.failed(PLACE, 3, "broken", 0.0)
    assert places.search(0.0) is None
    found: list[tuple[Partition, Gap, str]] = []

    def is_found() -> bool:
        result = places.search(100.0)
        found.extend([result] if result else [])
        return bool(found)

    eventually(is_found)
    assert found == [(PLACE, Gap(3, 4), "broken")]
    assert places.search(200.0) is None
    eventually(lambda: consumer.is_closed)


def test_finding_about_a_partition_that_went_on_meanwhile_is_dropped() -> None:
    consumer = Answers({3: [BROKEN]})
    places = GapSearch(lambda: consumer)
    for _ in range(LEAST_TRIES):
        places.failed(PLACE, 3, "broken", 0.0)
    assert places.search(100.0) is None
    eventually(lambda: consumer.is_closed)
    places.passed([PLACE])
    assert places.search(100.0) is None
    assert places.search(100.0) is None


def test_search_that_finds_nothing_is_made_again_after_a_pause() -> None:
    """As long as the partition stands; each takes a consumer of its own."""
    made: list[Answers] = []

    def make() -> Answers:
        made.append(Answers({}))
        return made[-1]

    places = GapSearch(make)
    for _ in range(LEAST_TRIES):
        places.failed(PLACE, 3, "broken", 0.0)
    assert places.search(100.0) is None
    eventually(lambda: bool(made) and made[0].is_closed)
    for seconds in (0.0, 0.1, 0.2, PAUSE_SECONDS - 0.1):
        assert places.search(100.0 + seconds) is None
    assert len(made) == 1
    assert places.search(100.0 + PAUSE_SECONDS) is None
    eventually(lambda: len(made) == 2 and made[1].is_closed)
