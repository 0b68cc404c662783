"""Input that is deleted, or made anew, before it was read: what is lost is counted, and what is left is told once."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import Batch, Traffic, missing, surplus, totals
from tests.support.waiting import eventually

# Topics are looked at every 5 s.
NOTICED_SECONDS = 20.0
# A member that stands still for a while keeps its partitions.
PATIENT = {"session.timeout.ms": "60000", "heartbeat.interval.ms": "300", "fetch.wait.max.ms": "20"}
# The broker answers a fetch with the first records there are, and does not wait for more.
ANSWERED_AT_ONCE = {"fetch.min.bytes": "1"}


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Iterator[Deployment]:
    """Topics for input and output; no sidecar runs yet."""
    with Deployment(broker, tmp_path, partitions=2) as deployment:
        deployment.create_outputs()
        yield deployment


class Input:
    """Deletes what is in the input topic, or all of it."""

    def __init__(self, deployment: Deployment) -> None:
        self._cluster = deployment.cluster
        self._topic = deployment.topic
        self._group = deployment.group
        self._admin = AdminClient({"bootstrap.servers": deployment.cluster.bootstrap})

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Delete the records before the offset of each partition."""
        asked = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        for deleted in self._admin.delete_records(asked).values():
            deleted.result(10)

    def delete(self) -> None:
        """Delete the topic."""
        self._admin.delete_topics([self._topic])[self._topic].result(10)

    def make_anew(self) -> None:
        """Delete the topic and create it again, at once."""
        self.delete()
        eventually(self._is_created)

    def committed(self) -> list[TopicPartition]:
        """What the group has committed, metadata and all."""
        with self._member() as member:
            return member.committed([TopicPartition(self._topic, partition) for partition in (0, 1)], timeout=10)

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit for the group, which has no member."""
        with self._member() as member:
            member.commit(offsets=offsets, asynchronous=False)

    def _is_created(self) -> bool:
        try:
            return bool(self._cluster.create_topic(self._topic, 2))
        except KafkaException:  # the old one is not gone everywhere yet
            return False

    @contextmanager
    def _member(self) -> Iterator[Consumer]:
        member = Consumer({"bootstrap.servers": self._cluster.bootstrap, "group.id": self._group})
        try:
            yield member
        finally:
            member.close()


def place(batch: Batch) -> tuple[int, int]:
    """The partition and the offset of a batch's record."""
    _, partition, offset = batch.id.rsplit("/", 2)
    return int(partition), int(offset)


def resets(sidecar: Sidecar, cause: str) -> float:
    """How many partitions were reset for a cause."""
    return sidecar.scrape().total("marketdata_partition_resets_total", cause=cause)


def eventually_reset(sidecar: Sidecar, cause: str, partitions: int = 2) -> None:
    """Wait until so many partitions were reset for a cause."""
    eventually(lambda: resets(sidecar, cause) == partitions, NOTICED_SECONDS, f"not {cause}")


def eventually_told(deployment: Deployment, batches: list[Batch]) -> None:
    """Wait until nothing of these is missing; then nothing else may be told."""
    eventually(lambda: not missing(deployment.told().batches, batches), 30, "events are missing")
    assert not surplus(deployment.told().batches, batches)


def errors(deployment: Deployment) -> list[tuple[str, int, int]]:
    """Reason, partition and offset of each error event, in order."""
    events = [json.loads(event.value) for event in deployment.cluster.read_all(deployment.errors)]
    return sorted((event["reason"], event["partition"], event["offset"]) for event in events)


def test_records_deleted_while_nobody_ran_are_counted_and_told(deployment: Deployment) -> None:
    """Each deleted record that was not read; all others have their event and are in a summary."""
    traffic, sidecar = deployment.traffic, deployment.sidecar().start()
    traffic.write(90)
    deployment.eventually_committed()
    sidecar.stop()
    left = traffic.ends()
    traffic.write(90)
    Input(deployment).delete_before({partition: offset + 10 for partition, offset in left.items()})
    there = [batch for batch in traffic.batches if not 0 <= place(batch)[1] - left[place(batch)[0]] < 10]

    sidecar.start()
    eventually_told(deployment, there)
    assert resets(sidecar, "records_deleted") == 2
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_records_lost_total") == 20
    assert scrape.total("marketdata_records_total") == 70
    assert scrape.total("marketdata_partition_last_reset_timestamp_seconds", cause="records_deleted") > 0
    sidecar.stop()
    assert errors(deployment) == [("records_deleted", partition, left[partition]) for partition in (0, 1)]
    assert deployment.told().summaries == totals(there)
    assert deployment.committed() == traffic.ends()


def test_records_deleted_under_a_reader_are_counted(deployment: Deployment) -> None:
    """It was too slow: it stood still, and what it would have read next is gone."""
    traffic, sidecar = deployment.traffic, deployment.sidecar(kafka__consumer_properties=ANSWERED_AT_ONCE).start()
    traffic.write(90)
    deployment.eventually_committed()
    sidecar.freeze()
    traffic.write(20)  # the answer to the fetch under way; no other fetch is sent
    traffic.write(400)
    ends = traffic.ends()
    Input(deployment).delete_before({partition: end - 5 for partition, end in ends.items()})
    sidecar.resume()

    there = [batch for batch in traffic.batches if place(batch)[1] >= ends[place(batch)[0]] - 5]
    eventually(lambda: not missing(deployment.told().batches, there), 30, "events are missing")
    deployment.eventually_committed()
    lost = missing(deployment.told().batches, traffic.batches)
    assert lost.total() > 0
    assert sidecar.scrape().total("marketdata_records_lost_total") == lost.total()
    assert sidecar.scrape().total("marketdata_records_redelivered_total") == 0
    assert not surplus(deployment.told().batches, traffic.batches)


def test_deleting_what_was_read_is_nothing_to_tell(deployment: Deployment) -> None:
    """As retention does it all the time."""
    traffic, sidecar = deployment.traffic, deployment.sidecar().start()
    traffic.write(90)
    deployment.eventually_committed()
    sidecar.stop()
    Input(deployment).delete_before(traffic.ends())
    sidecar.start()
    traffic.write(90)
    deployment.eventually_committed()
    Input(deployment).delete_before(traffic.ends())
    traffic.write(90)
    deployment.eventually_committed()
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_partition_resets_total") == scrape.total("marketdata_records_lost_total") == 0
    sidecar.stop()
    deployment.assert_told_once()


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_topic_made_anew_under_a_reader_is_read_from_its_beginning(deployment: Deployment, delivery: str) -> None:
    """Each record of the old and of the new one is counted once, and has one event."""
    traffic, sidecar = deployment.traffic, deployment.sidecar(output__delivery=delivery).start()
    traffic.write(200)
    deployment.eventually_committed()
    Input(deployment).make_anew()
    traffic.write(40)
    eventually_told(deployment, traffic.batches)
    eventually_reset(sidecar, "topic_recreated")
    eventually(lambda: sidecar.scrape().total("marketdata_records_total") == 240)
    assert sidecar.scrape().total("marketdata_records_redelivered_total") == 0
    traffic.write(40)
    eventually_told(deployment, traffic.batches)


def test_topic_made_anew_that_grew_beyond_our_position_is_noticed(deployment: Deployment) -> None:
    """Nothing but its id tells; until that was seen some of it may be read twice, but none is left out."""
    traffic, sidecar = deployment.traffic, deployment.sidecar(kafka__consumer_properties=PATIENT).start()
    traffic.write(20)
    deployment.eventually_committed()
    sidecar.freeze()
    Input(deployment).make_anew()
    traffic.write(400)
    sidecar.resume()
    eventually_reset(sidecar, "topic_recreated")
    eventually(lambda: not missing(deployment.told().batches, traffic.batches), 30, "events are missing")


def test_commit_of_the_topic_before_is_not_taken_for_one_of_its_successor(deployment: Deployment) -> None:
    """Kafka drops what a group committed with the topic, but a commit under way may come after that."""
    traffic, sidecar, topic = deployment.traffic, deployment.sidecar().start(), Input(deployment)
    traffic.write(40)
    deployment.eventually_committed()
    sidecar.stop()
    before = topic.committed()
    topic.make_anew()
    topic.commit(before)
    traffic.write(90)
    sidecar.start()
    eventually_told(deployment, traffic.batches)
    assert resets(sidecar, "topic_recreated") == 2


def test_topic_deleted_and_made_anew_later_begins_at_its_start(deployment: Deployment) -> None:
    """Also in a group that began at the end; until then its absence is told, and what is read beside it goes on."""
    other = Traffic(deployment.cluster, deployment.cluster.create_topic(f"{deployment.topic}-other"), 1)
    sidecar = deployment.sidecar(input__topics=[deployment.topic, other.topic], input__start="latest").start()
    eventually(lambda: sidecar.get("/-/ready").ok, 30, "not ready")
    deployment.traffic.write(40)
    deployment.eventually_committed()

    topic = Input(deployment)
    topic.delete()
    other.write(40)
    eventually_reset(sidecar, "topic_deleted")
    eventually_told(deployment, [*deployment.traffic.batches, *other.batches])
    eventually(lambda: [reason for reason, _, _ in errors(deployment)] == ["topic_deleted"] * 2, 30, "not published")

    deployment.cluster.create_topic(deployment.topic, 2)
    deployment.traffic.write(90)
    eventually_told(deployment, [*deployment.traffic.batches, *other.batches])
    assert resets(sidecar, "topic_recreated") == 2
    assert sidecar.scrape().total("marketdata_records_redelivered_total") == 0


def test_sidecar_whose_only_topic_was_deleted_says_so(deployment: Deployment) -> None:
    """It is not ready, and tells why."""
    sidecar = deployment.sidecar().start()
    deployment.traffic.write(40)
    deployment.eventually_committed()
    Input(deployment).delete()
    told = f"no partition is assigned: deleted: {deployment.topic}"
    eventually(lambda: told in sidecar.get("/-/ready").text, NOTICED_SECONDS, "readiness does not say so")


@pytest.mark.chaos
def test_reading_goes_on_at_the_end_when_brokers_lost_what_was_read(own_broker: Broker, tmp_path: Path) -> None:
    """A disk was lost: what came from it is not read again, and what comes now is new."""
    with Deployment(own_broker, tmp_path, partitions=2) as deployment:
        deployment.create_outputs()
        traffic, sidecar = deployment.traffic, deployment.sidecar().start()
        traffic.write(90)
        deployment.eventually_committed()
        own_broker.stop()
        shutil.rmtree(own_broker.data / f"{deployment.topic}-0")
        own_broker.start()
        eventually_reset(sidecar, "log_truncated", 1)
        traffic.write(90)
        eventually_told(deployment, traffic.batches)
        eventually(lambda: sidecar.scrape().total("marketdata_records_total") == 180)
        assert errors(deployment) == [("log_truncated", 0, 45)]
