"""Records that are small where they lie and large once they are unpacked: the sidecar stays within its memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer

from exporter.config.schema import Config, KafkaConfig
from exporter.kafka import clients
from tests.bench.figures import ROOT
from tests.bench.process import Memory, memory
from tests.support.kafka import Broker
from tests.support.memory_spikes import (
    LIMIT_BYTES,
    LimitedSidecar,
    batches_of_many_rows,
    invented_names,
    large_books,
    one_record,
    write,
)
from tests.support.redis import RedisServer
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

READ_SECONDS = 120.0
# What is held for a moment, and what may still be held once all is read; without any input it is 60 MB.
MOST_BYTES = 384 * 1024**2
KEPT_BYTES = 128 * 1024**2
ONE_RECORD = 150_000_000


class Reading:
    """A sidecar under a limit, and the topic that it reads."""

    def __init__(self, broker: Broker, deployment: Deployment, directory: Path) -> None:
        self._broker = broker
        self._topic = deployment.topic
        self._directory = directory
        self._settings = deployment.sidecar().settings

    def read(self, values: Iterable[bytes], **settings: object) -> tuple[LimitedSidecar, Memory]:
        """Write the records, and read them; the sidecar, and its memory then."""
        write(self._broker, self._topic, values)
        given = {name.replace("__", "."): value for name, value in settings.items()}
        sidecar = LimitedSidecar(self._directory / "limited", {**self._settings, **given}).start()
        try:
            eventually(lambda: sidecar.get("/-/ready").ok, READ_SECONDS, "it did not read all")
            return sidecar, memory(sidecar.pid)
        except BaseException:
            sidecar.kill()
            raise


def assert_given_back(sidecar: LimitedSidecar) -> None:
    """The process is ready as soon as all is read, and the turn that has read it ends after that."""
    eventually(lambda: memory(sidecar.pid).now < KEPT_BYTES)


@pytest.fixture
def reading(broker: Broker, deployment: Deployment, tmp_path: Path) -> Reading:
    return Reading(broker, deployment, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "batches"),
    [(batches_of_many_rows(1000), 1000), (large_books(250), 250)],
    ids=["batches of 10,000 rows", "books of 1 MiB"],
)
def test_large_batches_take_bounded_memory_and_give_it_back(
    reading: Reading, values: Iterable[bytes], batches: int
) -> None:
    sidecar, held = reading.read(values)
    try:
        eventually(lambda: sidecar.scrape().total("marketdata_batches_total") == batches)
        assert held.most < MOST_BYTES, held
        assert_given_back(sidecar)
    finally:
        sidecar.kill()


@pytest.mark.hostile
def test_what_waits_for_redis_takes_bounded_memory(reading: Reading, redis_server: RedisServer) -> None:
    sidecar, held = reading.read(batches_of_many_rows(1000), redis__url=redis_server.url)
    try:
        assert sidecar.scrape().total("marketdata_batches_total") == 1000
        assert (held.most < MOST_BYTES, held.now < 2 * KEPT_BYTES) == (True, True), held
    finally:
        sidecar.kill()


@pytest.mark.slow
def test_a_record_that_unpacks_to_a_third_of_the_limit_is_rejected_and_nothing_of_it_is_kept(reading: Reading) -> None:
    """librdkafka holds it once, and Python for a moment once more."""
    sidecar, _ = reading.read(one_record(ONE_RECORD))
    try:
        eventually(lambda: sidecar.scrape().total("marketdata_records_rejected_total", reason="too_large") == 1)
        assert_given_back(sidecar)
    finally:
        sidecar.kill()


def shipped_limits() -> dict[str, int]:
    """The limits that are set where the memory is limited to 512 MiB."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    [configuration] = [
        yaml.safe_load(each["data"]["sidecar.yml"])
        for each in yaml.safe_load_all((ROOT / "kubernetes" / "marketdata-exporter.yml").read_text())
        if each["kind"] == "ConfigMap"
    ]
    limits: dict[str, int] = configuration["input"]["limits"]
    assert yaml.safe_load(compose["x-sidecar-environment"]["MARKETDATA_INPUT__LIMITS"]) == limits
    return limits


@pytest.mark.slow
def test_with_the_limits_that_are_shipped_names_that_were_made_up_fit_into_the_memory_and_can_be_scraped(
    reading: Reading,
) -> None:
    limits = shipped_limits()
    sidecar, _ = reading.read(invented_names(2 * limits["feeds"]), input__limits=limits)
    try:
        for _ in range(2):
            page = sidecar.get("/metrics").text
            assert page.count("\nmarketdata_batches_total{") == limits["feeds"]
        assert f'\nmarketdata_exporter_label_overflow_total{{label="feed"}} {limits["feeds"]}.0\n' in page
        assert memory(sidecar.pid).most < LIMIT_BYTES
    finally:
        sidecar.kill()


@pytest.mark.parametrize(
    "users",
    [
        {},
        {"message.max.bytes": "5000000"},
        {"max.partition.fetch.bytes": "5000000"},
        {"fetch.min.bytes": "5000000"},
        {"fetch.max.bytes": "2000000"},
    ],
    ids=str,
)
def test_a_fetch_brings_as_much_as_is_asked_for_and_no_more(users: dict[str, str]) -> None:
    """librdkafka refuses a fetch that is smaller than a message may be; one that is smaller than its least is slow."""
    properties = clients.consumer_properties(Config(kafka=KafkaConfig(properties=users)))
    Consumer(properties).close()
    assert int(properties["fetch.max.bytes"]) == max(map(int, users.values()), default=clients.FETCH_BYTES)
