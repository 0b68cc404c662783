"""The real parts do what the other tests rely on."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.captures import MADE_UP, capture, each_capture
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.prometheus import PrometheusServer, promtool
from tests.support.recordings import NAMES, Counted
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

METRICS = "# HELP marketdata_records_total Read.\n# TYPE marketdata_records_total counter\nmarketdata_records_total 3\n"


def transactional(broker: Broker, name: str) -> Producer:
    """A producer whose transactions can begin."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions(20)
    return producer


def test_records_come_back_as_they_were_sent(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic(partitions=2)
    record = Record(b"value", b"key", {"ce_id": b"a/0/1"}, timestamp_ms=1_760_031_213_693, partition=1)
    written = broker.produce(name, [record, b"bare"])
    assert written[0] == Record(b"value", b"key", {"ce_id": b"a/0/1"}, 1_760_031_213_693, partition=1, offset=0)
    assert sorted(written, key=lambda r: (r.partition, r.offset)) == broker.read_all(name)


def test_only_committed_transactions_are_read(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic()
    producer = transactional(broker, name)
    producer.begin_transaction()
    producer.produce(name, b"aborted")
    producer.flush(20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(name, b"committed")
    producer.commit_transaction(20)
    assert [record.value for record in broker.read_all(name)] == [b"committed"]
    assert [record.value for record in broker.read_all(name, "read_uncommitted")] == [b"aborted", b"committed"]


def test_an_open_transaction_hides_what_follows_it(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic()
    producer = transactional(broker, name)
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush(20)
    broker.produce(name, [b"after"])
    assert broker.read_all(name) == []
    producer.abort_transaction(20)
    assert [record.value for record in broker.read_all(name)] == [b"after"]


def test_committed_offsets_are_told_by_partition(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic(partitions=2)
    assert broker.committed("readers", name) == {}
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "readers"})
    consumer.commit(offsets=[TopicPartition(name, 1, 7)], asynchronous=False)
    consumer.close()
    assert broker.committed("readers", name) == {1: 7}


def test_records_of_any_age_are_kept_unless_their_topic_says_otherwise(own_broker: Broker) -> None:
    """What is deleted where a topic says so shows that retention was looked at since all was written."""
    kept, deleted = own_broker.create_topic("aged"), own_broker.create_topic("deleted", retention_ms=1)
    records = [Record(b"old", timestamp_ms=stamp) for stamp in (1, 1_000_000_000_000)]
    written = own_broker.produce(kept, records)
    own_broker.produce(deleted, records)
    eventually(lambda: not own_broker.read_all(deleted), 30, "nothing was deleted")
    assert own_broker.read_all(kept) == written


def test_a_killed_broker_returns_with_its_records(own_broker: Broker) -> None:
    written = own_broker.produce(own_broker.create_topic("kept", retention_ms=600_000), [b"a", b"b"])
    own_broker.kill()
    own_broker.start()
    assert own_broker.read_all("kept") == written


def test_a_broker_unpacks_its_codecs_into_its_own_folder(own_broker: Broker) -> None:
    """Not to where the temporary files of all programs are: it leaves them there when it is killed."""
    own_broker.produce(own_broker.create_topic("packed", compression_type="snappy"), [b"value"])
    mapped = {line.split()[-1] for line in Path(f"/proc/{own_broker.pid}/maps").read_text().splitlines()}
    unpacked = {Path(name).parent for name in mapped if name.endswith("snappyjava.so")}
    assert unpacked == {own_broker.directory}


def test_redis_answers_and_is_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert client.keys() == []
        client.set("last_seen", 1)


def test_redis_is_empty_again_in_the_next_test(redis_server: RedisServer) -> None:
    test_redis_answers_and_is_empty(redis_server)


def test_prometheus_scrapes_a_target(prometheus: Callable[..., PrometheusServer]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), MetricsHandler) as target:
        threading.Thread(target=target.serve_forever).start()
        try:
            server = prometheus([f"127.0.0.1:{target.server_port}"])
            sample = eventually(lambda: server.query("marketdata_records_total"), message="no sample")[0]
        finally:
            target.shutdown()
    assert (sample.labels["job"], sample.value) == ("marketdata-exporter", 3.0)


def test_promtool_tells_good_from_bad_metrics() -> None:
    promtool("check", "metrics", input=METRICS)
    with pytest.raises(AssertionError, match="no help text"):
        promtool("check", "metrics", input=METRICS.partition("\n")[2])


def test_a_part_that_cannot_start_shows_its_output(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Invalid value none"):
        Broker(tmp_path / "kafka", {"num.io.threads": "none"}).start()


def test_waiting_tells_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match="no rain within 0 s; the last result was 0"):
        eventually(lambda: 0, deadline_seconds=0, message="no rain")


@each_capture
def test_a_capture_holds_what_it_says(name: str) -> None:
    """Each batch is counted by the book here, and nowhere else."""
    records, truth = capture(name)
    symbols: dict[str, list[list[str]]] = {feed: [] for feed in truth}
    for record in records:
        symbols[record.feed].append([row["target_currency"] for row in record.value["data"]])
    counted = {
        feed: Counted(
            len(batches),
            sum(map(len, batches)),
            sum(len(set(batch)) for batch in batches),
            round(sum(1 / len(set(batch)) for batch in batches), 6),
            len(set().union(*batches)),
        )
        for feed, batches in symbols.items()
    }
    assert {feed: one._replace(efficiency_sum=round(one.efficiency_sum, 6)) for feed, one in truth.items()} == counted


@pytest.mark.captures
def test_made_up_traffic_has_the_shape_of_recorded_traffic() -> None:
    """The same fields of the same types, whatever is requested."""
    assert shapes(MADE_UP) == set().union(*map(shapes, NAMES))


def shapes(name: str) -> set[tuple[str, ...]]:
    """The fields of each kind of row in a capture, and their types."""
    return {
        (record.value["request_type"], *(f"{field}: {type(value).__name__}" for field, value in row.items()))
        for record in capture(name).records
        for row in record.value["data"]
    }


class MetricsHandler(BaseHTTPRequestHandler):
    """Serves METRICS."""

    def do_GET(self) -> None:
        """Answer every path alike."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(METRICS.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
