"""Whatever lies in the topic, the sidecar goes on: all is counted, nothing is lost, and the page can be read."""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import confluent_kafka
import pytest
import requests
from confluent_kafka import Producer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from exporter.model import Reason
from tests.support.events import read_event
from tests.support.kafka import Broker
from tests.support.poison import ACCEPTED, BIG, CORPUS, FILTERED, GOOD, Poison
from tests.support.prometheus import promtool
from tests.support.sidecar import Scrape, Sidecar
from tests.support.waiting import eventually

RECORDS = [record for poison in CORPUS for record in (Poison(GOOD, ACCEPTED), poison)] + [Poison(GOOD, ACCEPTED)]
FATES = Counter(record.fate for record in RECORDS)
REJECTED = {reason: FATES[reason] for reason in Reason}
# Of the rate limit of error events, for each reason.
BURST = 10


class Scene:
    """A sidecar between topics of its own; `seconds` is how long it has read."""

    def __init__(self, broker: Broker, topic: Callable[..., str], directory: Path) -> None:
        self.broker = broker
        self.input = topic("ticker-data.hostile", max_message_bytes=2 * BIG)
        self.events, self.errors = topic("events", 2), topic("errors", 2)
        settings = {
            "kafka.bootstrap_servers": broker.bootstrap,
            "kafka.consumer_properties": {"fetch.wait.max.ms": "20"},
            "input.topics": [self.input],
            "input.group": self.input,
            "input.start": "earliest",
            "feeds.exclude": ["us:*"],
            "output.topic": self.events,
            "output.error_topic": self.errors,
            "output.commit_interval": "20ms",
        }
        self.sidecar = Sidecar(directory, settings)
        self.seconds = 0.0

    def write(self, values: Iterable[bytes | None]) -> None:
        """Write records of any size, and such that have no value."""
        settings = {"message.max.bytes": 2 * BIG, "max.in.flight": 1}
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, **settings})
        for value in values:
            producer.produce(self.input, value)
        assert producer.flush(30) == 0

    def read_to(self, offset: int) -> None:
        """Start the sidecar and wait until it has committed the offset."""
        started = time.monotonic()
        self.sidecar.start()
        eventually(lambda: self.sidecar.get("/-/ready").ok, 40, "not ready")
        eventually(lambda: self.broker.committed(self.input, self.input) == {0: offset}, 40, f"{offset} not committed")
        self.seconds = time.monotonic() - started

    def page(self, accept: str) -> str:
        """The metrics in the format asked for."""
        url = f"http://127.0.0.1:{self.sidecar.port}/metrics"
        answer = requests.get(url, headers={"Accept": accept}, timeout=10)
        assert answer.ok
        return answer.content.decode()

    def places(self) -> Counter[bytes]:
        """The records that batch events are about."""
        told = [(record, read_event(record)) for record in self.broker.read_all(self.events)]
        return Counter(record.headers["ce_id"] for record, event in told if event["event_type"] == "batch_collected")


@pytest.fixture(scope="module")
def scene(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A sidecar that has read the whole corpus and still serves."""
    directory = tmp_path_factory.mktemp("hostile")

    def topic(stem: str, partitions: int = 1, **config: str | int) -> str:
        return broker.create_topic(f"{stem}-of-all", partitions, **config)

    scene = Scene(broker, topic, directory)
    try:
        scene.write(record.value for record in RECORDS)
        scene.read_to(len(RECORDS))
        yield scene
    finally:
        scene.sidecar.kill()


def test_the_corpus_holds_every_reason_that_one_record_can_give() -> None:
    """The limits on the number of feeds and symbols take more than one, and JSON is no other encoding."""
    assert {reason for reason, number in REJECTED.items() if not number} == {
        Reason.INVALID_ENCODING,
        Reason.TOO_MANY_FEEDS,
        Reason.TOO_MANY_SYMBOLS,
    }
    assert max(REJECTED.values()) > 2 * BURST


def test_each_record_is_counted_for_what_it_is(scene: Scene) -> None:
    metrics = scene.sidecar.scrape()
    assert metrics.total("marketdata_records_total", topic=scene.input) == len(RECORDS)
    assert metrics.total("marketdata_batches_total") == FATES[ACCEPTED]
    assert metrics.total("marketdata_records_filtered_total") == FATES[FILTERED]
    rejected = {row["reason"]: row.value for row in metrics.series("marketdata_records_rejected_total")}
    assert rejected == REJECTED
    assert metrics.total("marketdata_records_redelivered_total") == 0


def test_each_batch_has_its_event_and_nothing_else_has(scene: Scene) -> None:
    accepted = [offset for offset, record in enumerate(RECORDS) if record.fate == ACCEPTED]
    assert scene.places() == Counter(f"{scene.input}/0/{offset}".encode() for offset in accepted)


def test_error_events_say_why_and_where_but_not_without_end(scene: Scene) -> None:
    errors = [read_event(record) for record in scene.broker.read_all(scene.errors)]
    for error in errors:
        assert RECORDS[error["offset"]].fate == error["reason"]
        assert (error["topic"], error["partition"]) == (scene.input, 0)
        assert len(error["excerpt"]) <= 800
    told = Counter(error["reason"] for error in errors)
    for reason, number in REJECTED.items():
        assert min(number, BURST) <= told[reason] <= min(number, BURST + scene.seconds)


def test_the_page_can_be_read_by_every_parser(scene: Scene) -> None:
    text = scene.page("text/plain;version=0.0.4")
    assert promtool("check", "metrics", input=text) == ""
    assert Scrape(text).total("marketdata_batches_total") == FATES[ACCEPTED]
    families = list(openmetrics_families(scene.page("application/openmetrics-text;version=1.0.0")))
    samples = [sample for family in families for sample in family.samples]
    assert sum(sample.value for sample in samples if sample.name == "marketdata_batches_total") == FATES[ACCEPTED]
    assert {feed["exchange"] for feed in scene.sidecar.get("/api/v1/feeds").json()["data"]} == {"upbit"}


def test_no_record_shows_up_in_the_log(scene: Scene) -> None:
    assert "DROP TABLE" not in scene.sidecar.log
    assert "Traceback" not in scene.sidecar.log
    assert len(scene.sidecar.log) < 20_000


def test_headers_that_nobody_can_read_do_not_stop_the_sidecar(
    broker: Broker, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Names that are not UTF-8, of which confluent-kafka makes an error when they are asked for; and huge values."""
    scene = Scene(broker, topic, tmp_path)
    write_header(broker.bootstrap, scene.input, b"\xff\xfe", b"x")
    write_header(broker.bootstrap, scene.input, b"traceparent", b"x" * 1_500_000)
    write_header(broker.bootstrap, scene.input, b"traceparent", b"\xff")
    try:
        scene.read_to(3)
        assert len(scene.places()) == 3
        assert scene.sidecar.scrape().total("marketdata_batches_total") == 3
    finally:
        scene.sidecar.kill()


def write_header(bootstrap: str, topic: str, name: bytes, value: bytes) -> None:
    """Write a good batch with a header whose name may be any bytes: from librdkafka, for Python's client takes text."""
    [path] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
    kafka, error = ctypes.CDLL(str(path)), ctypes.create_string_buffer(512)
    kafka.rd_kafka_conf_new.restype = kafka.rd_kafka_new.restype = ctypes.c_void_p
    settings = ctypes.c_void_p(kafka.rd_kafka_conf_new())
    for setting, text in ((b"bootstrap.servers", bootstrap), (b"message.max.bytes", str(BIG))):
        kafka.rd_kafka_conf_set(settings, setting, text.encode(), error, ctypes.c_size_t(512))
    producer = ctypes.c_void_p(kafka.rd_kafka_new(0, settings, error, ctypes.c_size_t(512)))
    assert producer.value, error.value
    try:
        # Pairs of a kind (1 topic, 4 value, 9 header, 0 end) and what belongs to it.
        body, header = (4, GOOD, ctypes.c_size_t(len(GOOD))), (9, name, value, ctypes.c_ssize_t(len(value)))
        assert kafka.rd_kafka_producev(producer, 1, topic.encode(), *body, *header, 0) == 0
        assert kafka.rd_kafka_flush(producer, 10_000) == 0
    finally:
        kafka.rd_kafka_destroy(producer)
