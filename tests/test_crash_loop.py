"""Records that end whatever process reads them are stepped over, exactly those; Kafka and the sidecar are real."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from exporter.kafka.positions import Position, Start
from exporter.kafka.unreadable import LEAST_STARTS
from exporter.model import Record
from exporter.source import isolated_reader
from tests.support.kafka import Broker
from tests.support.memory_spikes import LARGEST_MESSAGE, LimitedSidecar, write
from tests.support.pipeline import FIRST, NOW_MS, pipeline, record, take
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

# A batch of three records, which together unpack to more than a process may have.
LIMIT_BYTES = 256 * 1024**2
BOMB_RECORDS, BOMB_BYTES = 3, 70_000_000
FOUND_SECONDS = 120.0


class Partly:
    """One partition that has `end` records, and the processes that read it one after another."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.left = Position(end, end, NOW_MS)

    def start(self) -> int:
        """Begin to read; return how many began here and came no further, this one included."""
        self._here = pipeline()
        counted = Start(self.left, max(0, self.left.offset - 5), self.end).counted()
        self._commit(self._here.begin({FIRST: counted}, NOW_MS).positions[FIRST])
        return self.left.starts

    def read(self) -> None:
        """Read the next record, and commit."""
        offset = self._here.partitions[FIRST].next_offset
        self._commit(take(self._here, record(offset)).positions[FIRST])

    def hand_over(self) -> None:
        """End in order."""
        self._here.survive([FIRST])
        self._commit(self._here.summarize([FIRST], NOW_MS).positions[FIRST])

    def _commit(self, position: Position) -> None:
        self.left = Position.committed(position.offset, position.metadata, NOW_MS)


def test_starts_at_which_nothing_is_read_are_counted_until_a_record_is_passed() -> None:
    partition = Partly(10)
    partition.end = 11
    assert [partition.start() for _ in range(4)] == [1, 2, 3, 4]
    for _ in range(5):
        partition.read()
    assert partition.left.starts == 4
    partition.read()
    assert (partition.left.offset, partition.left.starts) == (11, 0)


def test_restarts_over_a_quiet_topic_are_never_suspected() -> None:
    """What was published before is read again each time, and nothing follows it."""
    partition = Partly(10)
    for _ in range(10):
        assert partition.start() == 1
        for _ in range(5):
            partition.read()
    assert Partly(0).start() == 0


def test_partition_that_is_handed_over_in_order_is_not_suspected() -> None:
    partition = Partly(10)
    partition.end = 11
    for _ in range(10):
        assert partition.start() == 1
        partition.hand_over()


def test_partition_that_stands_stays_suspected_also_after_an_end_in_order() -> None:
    partition = Partly(10)
    partition.end = 11
    partition.start()
    partition._commit(partition._here.hold(FIRST).positions[FIRST])
    partition.hand_over()
    assert partition.start() > LEAST_STARTS


def test_what_is_deadly_is_never_read_again() -> None:
    """Not even to complete a summary."""
    here = pipeline()
    here.begin({FIRST: Start(Position(3, 0, NOW_MS), 0, 10)}, NOW_MS)
    take(here, *(record(offset) for offset in range(5)))
    here.summarize([FIRST], NOW_MS)
    position = here.step_over(FIRST, 5, 7, NOW_MS, is_deadly=True).positions[FIRST]
    assert position == Position(7, 7, NOW_MS, floor=7)


@given(st.lists(st.builds(record, st.integers(0, 2**60), st.none() | st.binary(max_size=300))), st.integers(0, 400))
def test_records_cross_the_border_of_a_process_whole_or_not_at_all(records: list[Record], missing: int) -> None:
    stream = io.BytesIO()
    for one in records:
        isolated_reader.write(one, stream)
    assert list(isolated_reader.read(io.BytesIO(stream.getvalue()))) == records
    read = list(isolated_reader.read(io.BytesIO(stream.getvalue()[: -missing or None])))
    assert read == records[: len(read)]


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Iterator[Deployment]:
    """Topics for input and output; the input has two partitions."""
    with Deployment(broker, tmp_path, partitions=2) as deployment:
        deployment.create_outputs()
        yield deployment


class Supervisor:
    """Starts a sidecar with little memory again whenever it has ended, as compose and Kubernetes do."""

    def __init__(self, deployment: Deployment, directory: Path, **settings: object) -> None:
        given = {name.replace("__", "."): value for name, value in settings.items()}
        self.sidecar = LimitedSidecar(directory / "limited", {**deployment.sidecar().settings, **given}, LIMIT_BYTES)
        self.ends = 0
        self._begin()

    def says(self, path: str, text: str) -> bool:
        """Whether the sidecar answers with a text; one that has ended is started again."""
        try:
            return text in self.sidecar.get(path).text
        except requests.ConnectionError:
            if not self.sidecar.is_running:
                self.ends += 1
                self._begin()
            return False

    def _begin(self) -> None:
        """Start it; it may end before it answers."""
        self.sidecar.kill()
        with suppress(RuntimeError):
            self.sidecar.start()


def counted(deployment: Deployment, number: int) -> str:
    """The line of `/metrics` that says how many records were stepped over."""
    return f'marketdata_records_unreadable_total{{topic="{deployment.topic}"}} {number}.0'


def errors(deployment: Deployment) -> list[tuple[str, int, str]]:
    """Reason, partition and words of each error event, in order."""
    events = [json.loads(event.value) for event in deployment.cluster.read_all(deployment.errors)]
    return sorted((event["reason"], event["partition"], event["message"].rpartition(": ")[2]) for event in events)


@pytest.mark.hostile
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_records_that_end_each_process_are_left_or_stepped_over_as_is_configured(
    deployment: Deployment, tmp_path: Path, delivery: str
) -> None:
    """All others are told once, those before and behind them."""
    deployment.traffic.write(40)
    bomb = [b" " * BOMB_BYTES] * BOMB_RECORDS
    write(deployment.cluster, deployment.topic, bomb, partition=0, together=LARGEST_MESSAGE)
    deployment.traffic.write(40)
    ends = deployment.traffic.ends()

    standing = Supervisor(deployment, tmp_path / "stop", input__on_unreadable="stop", output__delivery=delivery)
    try:
        place = f"{deployment.topic}/0 is blocked at offset 20"
        eventually(lambda: standing.says("/-/ready", place), FOUND_SECONDS, "it does not stand")
        # One of the first may have come up to the place, from where they are counted again.
        assert LEAST_STARTS <= standing.ends < 2 * LEAST_STARTS
        eventually(lambda: deployment.committed() == {0: 20, 1: ends[1]}, 30, "the other partition is not read")
        standing.sidecar.stop()
    finally:
        standing.sidecar.kill()

    passing = Supervisor(deployment, tmp_path / "skip", input__warm_start=1000, output__delivery=delivery)
    try:
        eventually(lambda: passing.says("/metrics", counted(deployment, BOMB_RECORDS)), FOUND_SECONDS)
        deployment.eventually_committed()
        passing.sidecar.kill()
        passing.sidecar.start()
        deployment.traffic.write(40)
        deployment.eventually_committed()
        passing.sidecar.stop()
    finally:
        passing.sidecar.kill()
    assert passing.ends == 0
    deployment.eventually_visible()
    if delivery == "exactly_once":
        deployment.assert_told_once()
    assert errors(deployment) == [("records_unreadable", 0, str(BOMB_RECORDS))]
