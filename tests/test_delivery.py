"""Each batch has exactly one event, whatever happens to the sidecar; Kafka and the sidecar are real."""

import random
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import FEEDS, disordered, surplus
from tests.support.waiting import eventually


def counted(sidecar: Sidecar, batches: int) -> None:
    """Wait until the sidecar has counted `batches`."""
    eventually(lambda: sidecar.batches() >= batches, 30, f"{batches} batches were not counted")


def killed_often(deployment: Deployment, sidecar: Sidecar, times: int) -> None:
    """Kill the sidecar at random times while batches are written, and start it again."""
    moments = random.Random(times)
    with deployment.traffic.flowing():
        for _ in range(times):
            sidecar.start()
            counted(sidecar, moments.randint(1, 1500))
            sidecar.kill()
    sidecar.start()
    deployment.eventually_committed()


def test_clean_restart_neither_repeats_nor_loses_anything(deployment: Deployment) -> None:
    """Waiting records are left to the next process, and none is read again."""
    deployment.traffic.write(4000)
    sidecar = deployment.sidecar().start()
    counted(sidecar, 1)
    sidecar.stop()
    deployment.traffic.write(1000)
    sidecar.start()
    deployment.eventually_committed()
    scrape = sidecar.scrape()
    sidecar.stop()
    deployment.assert_told_once()
    assert scrape.total("marketdata_records_redelivered_total") == 0
    assert scrape.total("marketdata_records_recovered_total") == 0


def test_killed_sidecar_neither_repeats_nor_loses_anything(deployment: Deployment) -> None:
    """Killed in the middle of transactions, also those that carry summaries."""
    sidecar = deployment.sidecar(output__summary_interval="1s")
    killed_often(deployment, sidecar, 3)
    sidecar.stop()
    deployment.assert_told_once()


def test_successor_of_a_killed_sidecar_counts_only_what_is_new(deployment: Deployment) -> None:
    """It reads again what no summary covers, and counts that apart."""
    sidecar = deployment.sidecar().start()
    deployment.traffic.write(900)
    deployment.eventually_committed()
    sidecar.kill()
    deployment.traffic.write(90)
    sidecar.start()
    deployment.eventually_committed()
    scrape = sidecar.scrape()
    sidecar.stop()
    assert scrape.total("marketdata_records_total") == 90
    assert scrape.total("marketdata_batches_total") == 90
    assert scrape.total("marketdata_records_recovered_total") == 900
    assert scrape.total("marketdata_records_redelivered_total") == 0
    deployment.assert_told_once()


def test_successor_of_a_sidecar_killed_before_its_commit_does_not_wait(deployment: Deployment) -> None:
    """It ends the transaction itself; the offsets in it never count, nor do the events."""
    deployment.traffic.write(900)
    bootstrap = {"bootstrap.servers": deployment.cluster.bootstrap, "log_level": 0}
    dead = Producer({**bootstrap, "transactional.id": f"{deployment.group}-one"})
    member = Consumer({**bootstrap, "group.id": deployment.group})
    dead.init_transactions(20)
    dead.begin_transaction()
    dead.produce(deployment.events, b"never committed")
    offsets = [TopicPartition(deployment.topic, 0, 50)]
    dead.send_offsets_to_transaction(offsets, member.consumer_group_metadata(), 20)
    dead.flush(20)
    sidecar = deployment.sidecar().start()
    deployment.eventually_committed()
    sidecar.stop()
    deployment.assert_told_once()
    member.close()


def test_killed_sidecar_repeats_but_loses_nothing_at_least_once(deployment: Deployment) -> None:
    """What is repeated has the id and the content of the first."""
    sidecar = deployment.sidecar(output__delivery="at_least_once")
    killed_often(deployment, sidecar, 2)
    sidecar.stop()
    told = deployment.eventually_visible().batches
    assert set(told) == set(deployment.traffic.batches)


def test_clean_restart_repeats_nothing_at_least_once(deployment: Deployment) -> None:
    """The last events are delivered and their offsets stored before the sidecar leaves."""
    deployment.traffic.write(3000)
    sidecar = deployment.sidecar(output__delivery="at_least_once").start()
    counted(sidecar, 1)
    sidecar.stop()
    deployment.traffic.write(500)
    sidecar.start()
    deployment.eventually_committed()
    sidecar.stop()
    deployment.assert_told_once()


def test_without_output_there_are_metrics_only(deployment: Deployment) -> None:
    """Offsets advance, so that a restart does not count again."""
    sidecar = deployment.sidecar(output__enabled=False).start()
    deployment.traffic.write(900)
    deployment.eventually_committed()
    assert sidecar.batches() == 900
    sidecar.stop()
    deployment.traffic.write(90)
    sidecar.start()
    deployment.eventually_committed()
    assert sidecar.batches() == 90
    sidecar.stop()
    assert deployment.cluster.read_all(deployment.events) == []


def test_sidecar_of_one_feed_publishes_no_other(deployment: Deployment) -> None:
    """It reads the whole topic in a group of its own, and counts the records of other feeds."""
    deployment.traffic.write(900)
    sidecar = deployment.sidecar(feeds__include=[str(FEEDS[0])]).start()
    deployment.eventually_committed()
    scrape = sidecar.scrape()
    sidecar.stop()
    assert scrape.total("marketdata_records_total") == 900
    assert scrape.total("marketdata_records_filtered_total") == 800
    assert {series["exchange"] for series in scrape.series("marketdata_batches_total")} == {FEEDS[0].exchange}
    own = [batch for batch in deployment.traffic.batches if batch.feed == FEEDS[0]]
    told = deployment.eventually_visible(own).batches
    assert not surplus(told, own)
    assert not disordered(told)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_outage_of_the_event_topic_stops_reading_but_drops_nothing(
    broker: Broker, tmp_path: Path, delivery: str
) -> None:
    """Until the backlog is full records are read and counted; then readiness gives the reason."""
    with Deployment(broker, tmp_path) as deployment:
        deployment.traffic.write(3000)
        impatient = {
            "transaction.timeout.ms": "3000",
            "socket.timeout.ms": "3000",
            "topic.metadata.propagation.max.ms": "500",
        }
        sidecar = deployment.sidecar(
            output__delivery=delivery, output__backlog__events=300, kafka__producer_properties=impatient
        ).start()
        eventually(lambda: "the backlog is full" in sidecar.get("/-/ready").text, 30, "reading does not pause")
        assert sidecar.get("/-/ready").status_code == 503
        assert 300 <= sidecar.batches() < 3000
        eventually(lambda: sidecar.scrape().total("marketdata_consumer_commit_failures_total") >= 2, 30)
        scrape = sidecar.scrape()
        assert scrape.total("marketdata_event_backlog") >= scrape.total("marketdata_event_backlog_limit") == 300
        assert scrape.total("marketdata_consumer_lag_records") + sidecar.batches() == 3000
        deployment.create_outputs()
        deployment.eventually_committed()
        sidecar.stop()
        deployment.assert_told_once()


def test_successor_knows_when_each_feed_was_last_seen_without_counting_it_again(deployment: Deployment) -> None:
    """It reads the end of each partition once more, so a feed that is silent already is shown, not missing."""
    deployment.traffic.write(900)
    sidecar = deployment.sidecar(input__warm_start=1000).start()
    deployment.eventually_committed()
    before = sidecar.scrape()
    sidecar.stop()
    sidecar.start()
    stamps = "marketdata_feed_last_batch_timestamp_seconds"
    shown = eventually(lambda: sidecar.scrape().series(stamps) if sidecar.get("/-/ready").ok else [], 30)
    assert sorted((s["exchange"], s.value) for s in shown) == sorted(
        (s["exchange"], s.value) for s in before.series(stamps)
    )
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_batches_total") == scrape.total("marketdata_records_total") == 0
    assert scrape.total("marketdata_records_recovered_total") == 900
