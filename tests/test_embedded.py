"""The broker inside this process takes records and gives them back, until it is stopped."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from exporter.kafka.embedded import EmbeddedBroker
from tests.support.cluster import Cluster, Record


def test_records_can_be_read_back() -> None:
    """With key, headers and timestamp, by clients of their own."""
    broker = EmbeddedBroker()
    cluster = Cluster(broker.bootstrap_servers)
    sent = [
        Record(b"value", b"key", {"ce_id": b"a/0/1"}, 1_760_000_000_000 + number, partition=2, offset=number)
        for number in range(10)
    ]
    cluster.produce("ticker-data.korea", sent)
    assert cluster.read_all("ticker-data.korea") == sent
    broker.stop()


def test_topic_has_four_partitions_as_soon_as_it_is_written_to() -> None:
    """As the documentation says."""
    broker = EmbeddedBroker()
    cluster = Cluster(broker.bootstrap_servers)
    cluster.produce("trade-data.asia", [b"value"])
    topics = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10).topics
    assert len(topics["trade-data.asia"].partitions) == 4
    broker.stop()


def test_two_brokers_do_not_know_each_other() -> None:
    """What is written to one cannot be read from the other."""
    one, other = EmbeddedBroker(), EmbeddedBroker()
    assert one.bootstrap_servers != other.bootstrap_servers
    Cluster(one.bootstrap_servers).produce("ticker-data.korea", [b"value"])
    client = AdminClient({"bootstrap.servers": other.bootstrap_servers})
    assert "ticker-data.korea" not in client.list_topics(timeout=10).topics
    one.stop()
    other.stop()


def test_stopped_broker_does_not_answer() -> None:
    """It is gone, and so is what it held."""
    broker = EmbeddedBroker()
    broker.stop()
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)
