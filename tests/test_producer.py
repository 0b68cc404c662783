"""Programs that count batches themselves send the events of the sidecar; Kafka is real."""

import asyncio
import json
import math
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import fastavro
import pytest

from exporter import BatchMonitoringProducer, ConfigError, SendError
from exporter.decoding.batch import MAX_TIMESTAMP_MS
from tests.support.cluster import Record
from tests.support.events import HEADERS, read_event
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.registry import READ, WRITE, RegistryServer

UPBIT: dict[str, Any] = {"region": "korea", "exchange": "upbit", "request_type": "ticker"}
BATCH: dict[str, Any] = {
    **UPBIT,
    "batch_size": 150,
    "unique_symbols": 25,
    "cache_efficiency": 0.04,
    "timestamp_ms": 1760031213693,
}
AGGREGATED: dict[str, Any] = {
    "total_batches": 1000,
    "total_messages": 15000,
    "avg_batch_size": 15.0,
    "avg_symbols_per_batch": 10.5,
    "avg_cache_efficiency": 0.095,
    "messages_per_second": 250.0,
    "batches_per_minute": 16.7,
    "elapsed_seconds": 60.0,
}
SUMMARY: dict[str, Any] = {**UPBIT, **AGGREGATED, "summary_period_seconds": 60}


class Topics:
    """A topic for events and one for errors, in a broker."""

    def __init__(self, broker: Broker, events: str, errors: str) -> None:
        self.broker = broker
        self.events = events
        self.errors = errors

    def producer(self, **arguments: Any) -> BatchMonitoringProducer:
        """A producer of these topics that is not started yet."""
        places = {"bootstrap_servers": self.broker.bootstrap, "topic": self.events, "error_topic": self.errors}
        return BatchMonitoringProducer(**{"instance": "collector-1", **places, **arguments})

    def events_sent(self) -> list[Record]:
        """The records of the event topic."""
        return self.broker.read_all(self.events)

    def errors_sent(self) -> list[Record]:
        """The error events."""
        return self.broker.read_all(self.errors)


@pytest.fixture
def topics(broker: Broker, topic: Callable[..., str]) -> Topics:
    """Topics of this test's own."""
    return Topics(broker, topic("events"), topic("errors"))


def test_events_arrive_with_the_values_of_their_schemas(topics: Topics) -> None:
    async def program() -> None:
        producer = topics.producer()
        await producer.start_producer()
        await producer.send_batch_event(**BATCH)
        await producer.send_summary_event(**SUMMARY)
        await producer.stop_producer()

    asyncio.run(program())
    batch, summary = topics.events_sent()
    stamped = {key: value for key, value in read_event(batch).items() if key != "event_timestamp_utc"}
    assert stamped == {
        "event_type": "batch_collected",
        **UPBIT,
        "stats": {
            "batch_size": 150,
            "unique_symbols": 25,
            "cache_efficiency": 0.04,
            "collection_timestamp_ms": 1760031213693,
        },
    }
    stamped = {key: value for key, value in read_event(summary).items() if key != "event_timestamp_utc"}
    assert stamped == {
        "event_type": "performance_summary",
        **UPBIT,
        "aggregated_stats": AGGREGATED,
        "summary_period_seconds": 60,
    }


def test_an_event_has_its_feed_as_key_and_its_sender_as_source(topics: Topics) -> None:
    async def program() -> None:
        async with topics.producer() as producer:
            await producer.send_batch_event(**BATCH)

    asyncio.run(program())
    [event] = topics.events_sent()
    assert event.key == b"korea:upbit:ticker"
    assert event.headers.keys() == HEADERS
    assert event.headers["ce_source"] == b"collector-1"
    assert event.headers["ce_type"] == b"marketdata.monitoring.batch_collected"
    assert event.headers["ce_time"].decode() == read_event(event)["event_timestamp_utc"]


def test_every_event_has_an_identity_of_its_own(topics: Topics) -> None:
    """Also simultaneous events of one feed, from two producers with the same name."""

    async def program() -> None:
        async with topics.producer() as one, topics.producer() as two:
            sends = [producer.send_batch_event(**BATCH) for producer in (one, two) for _ in range(100)]
            await asyncio.gather(*sends, *(one.send_summary_event(**SUMMARY) for _ in range(10)))

    asyncio.run(program())
    identities = {event.headers["ce_id"] for event in topics.events_sent()}
    assert len(identities) == 210


def test_events_can_be_json(topics: Topics) -> None:
    async def program() -> None:
        async with topics.producer(encoding="json") as producer:
            await producer.send_batch_event(**BATCH)

    asyncio.run(program())
    [event] = topics.events_sent()
    assert json.loads(event.value)["stats"]["batch_size"] == 150
    assert event.headers["content-type"] == b"application/json"


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": -1},
        {"batch_size": 1.5},
        {"batch_size": 2**63},
        {"unique_symbols": "25"},
        {"unique_symbols": True},
        {"cache_efficiency": math.nan},
        {"cache_efficiency": 1.01},
        {"timestamp_ms": MAX_TIMESTAMP_MS + 1},
        {"timestamp_ms": None},
        {"region": None},
        {"exchange": "up:bit"},
        {"request_type": ""},
    ],
)
def test_invalid_values_of_a_batch_are_refused_by_name(topics: Topics, wrong: dict[str, Any]) -> None:
    async def program() -> None:
        async with topics.producer() as producer:
            with pytest.raises(ValueError, match=next(iter(wrong))):
                await producer.send_batch_event(**{**BATCH, **wrong})

    asyncio.run(program())
    assert not topics.events_sent()
    assert not topics.errors_sent()


@pytest.mark.parametrize("name", [*AGGREGATED, "summary_period_seconds"])
def test_invalid_values_of_a_summary_are_refused_by_name(name: str) -> None:
    async def program() -> None:
        for wrong in (-1, "many", math.inf, None):
            with pytest.raises(ValueError, match=name):
                await BatchMonitoringProducer().send_summary_event(**{**SUMMARY, name: wrong})

    asyncio.run(program())


def test_an_event_that_the_broker_refuses_is_an_exception_and_an_error_event(
    topics: Topics, topic: Callable[..., str]
) -> None:
    narrow = topic("narrow", max_message_bytes=100)

    async def program() -> None:
        async with topics.producer(topic=narrow) as producer:
            with pytest.raises(SendError, match="too large"):
                await producer.send_batch_event(**BATCH)

    asyncio.run(program())
    [record] = topics.errors_sent()
    error = read_event(record)
    assert (error["error_domain"], error["error_code"]) == ("monitoring", "monitoring_error")
    assert (error["reason"], error["topic"]) == ("not_delivered", narrow)
    assert "batch_collected of korea:upbit:ticker" in error["message"]
    assert record.headers.keys() == HEADERS


def test_error_events_are_limited_however_many_sends_fail(topics: Topics, topic: Callable[..., str]) -> None:
    narrow = topic("narrow", max_message_bytes=100)

    async def program() -> list[object]:
        async with topics.producer(topic=narrow) as producer:
            sends = (producer.send_batch_event(**BATCH) for _ in range(100))
            return list(await asyncio.gather(*sends, return_exceptions=True))

    assert [type(failure) for failure in asyncio.run(program())] == [SendError] * 100
    assert 0 < len(topics.errors_sent()) < 50


def test_an_unreachable_broker_is_an_exception_and_delays_no_other_producer(topics: Topics) -> None:
    """While one call waits for its broker, another returns, and the program ends."""
    done: list[str] = []

    async def send(name: str, producer: BatchMonitoringProducer) -> None:
        try:
            await producer.send_batch_event(**BATCH)
        finally:
            done.append(name)

    async def program() -> list[BaseException | None]:
        nowhere = topics.producer(bootstrap_servers=f"127.0.0.1:{free_port()}", timeout_seconds=1)
        async with nowhere as away, topics.producer() as here:
            return list(await asyncio.gather(send("away", away), send("here", here), return_exceptions=True))

    away, here = asyncio.run(program())
    assert done == ["here", "away"]
    assert isinstance(away, SendError)
    assert here is None


def test_sending_resumes_when_the_broker_returns(topics: Topics, topic: Callable[..., str]) -> None:
    """A topic that is created later stands for the broker."""
    later = f"{topic('made')}-later"

    async def program() -> None:
        async with topics.producer(topic=later) as producer:
            sending = asyncio.create_task(producer.send_batch_event(**BATCH))
            await asyncio.to_thread(topics.broker.create_topic, later)
            await sending

    asyncio.run(program())
    assert len(topics.broker.read_all(later)) == 1


def test_a_registry_receives_user_and_password_literally(topics: Topics) -> None:
    async def program(registry: RegistryServer) -> None:
        async with topics.producer(
            schema_registry=registry.url, schema_registry_username="me", schema_registry_password="a+/b@c:=="
        ) as producer:
            await producer.send_batch_event(**BATCH)

    with RegistryServer({"me:a+/b@c:==": {READ, WRITE}}) as registry:
        asyncio.run(program(registry))
    assert len(topics.events_sent()) == 1


def test_the_id_of_the_schema_is_requested_until_the_registry_answers(topics: Topics) -> None:
    """Until then sending raises."""

    async def program(registry: RegistryServer) -> None:
        async with topics.producer(schema_registry=registry.url) as producer:
            registry.refuse = True
            with pytest.raises(SendError, match="registry"):
                await producer.send_batch_event(**BATCH)
            registry.refuse = False
            await producer.send_batch_event(**BATCH)

    with RegistryServer() as registry:
        asyncio.run(program(registry))
    [event] = topics.events_sent()
    zero, number = struct.unpack(">bI", event.value[:5])
    assert zero == 0
    value = fastavro.schemaless_reader(BytesIO(event.value[5:]), registry.schemas[number - 1], None)
    assert cast(dict[str, Any], value)["exchange"] == "upbit"


def test_events_being_sent_arrive_when_the_producer_stops(topics: Topics) -> None:
    async def program() -> None:
        producer = topics.producer()
        await producer.start_producer()
        await producer.send_batch_event(**BATCH)
        await asyncio.gather(*(producer.send_batch_event(**BATCH) for _ in range(20)), producer.stop_producer())

    asyncio.run(program())
    assert len(topics.events_sent()) == 21


def test_no_call_waits_after_the_producer_stopped(topics: Topics) -> None:
    """Neither the first one nor one without a broker."""

    async def program() -> list[object]:
        here = topics.producer()
        away = topics.producer(bootstrap_servers=f"127.0.0.1:{free_port()}", timeout_seconds=1, encoding="json")
        found: list[object] = []
        for producer in (here, away):
            await producer.start_producer()
            found += await asyncio.gather(
                producer.send_batch_event(**BATCH), producer.stop_producer(), return_exceptions=True
            )
        return found

    assert [type(outcome) for outcome in asyncio.run(program())] == [SendError, type(None)] * 2


def test_the_configuration_of_a_sidecar_is_accepted(topics: Topics) -> None:
    """Also with settings that only a sidecar uses; it overrides the arguments."""
    output = {"topic": topics.events, "delivery": "exactly_once"}

    async def program() -> None:
        async with topics.producer(topic="elsewhere", config={"output": output}) as producer:
            await producer.send_batch_event(**BATCH)

    asyncio.run(program())
    assert len(topics.events_sent()) == 1


def test_a_producer_that_is_not_started_raises() -> None:
    async def program() -> None:
        producer = BatchMonitoringProducer()
        await producer.stop_producer()
        with pytest.raises(RuntimeError, match="not started"):
            await producer.send_batch_event(**BATCH)

    asyncio.run(program())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"bootstrap_servers": ""}, "kafka.bootstrap_servers"),
        ({"topic": "no topic"}, "output.topic"),
        ({"encoding": "xml"}, "output.encoding"),
        ({"schema_registry": "registry"}, "output.schema_registry"),
        (
            {"schema_registry": "http://me:one@registry", "schema_registry_password": "two"},
            "output.schema_registry_password",
        ),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": math.nan}, "timeout_seconds"),
        ({"config": {"output": {"tipoc": "x"}}}, "output.tipoc"),
    ],
)
def test_a_wrong_argument_raises_at_once(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BatchMonitoringProducer(**arguments)
