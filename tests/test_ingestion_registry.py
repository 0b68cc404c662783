"""Events in Confluent's wire format: sent and handled with a schema registry, whose outage they wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
import pytest

from exporter.events.encoding import confluent_frame
from exporter.ingestion import ConfigError, IngestionProducer, SendError
from exporter.ingestion.encodings import SCHEMAS
from exporter.ingestion.events import EVENTS, check
from tests.support.cluster import Record
from tests.support.ingesting import TOPIC
from tests.support.ingestion import EXAMPLES
from tests.support.ingestion_stream import RATE, Handled, Stream, consume
from tests.support.kafka import Broker
from tests.support.registry import READ, WRITE, RegistryServer
from tests.support.waiting import eventually

USER, PASSWORD = "rates", "sesame"


@pytest.fixture
def stream(broker: Broker) -> Stream:
    """Topics of this test's own."""
    return Stream(broker)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry that requires a password."""
    with RegistryServer({f"{USER}:{PASSWORD}": {READ, WRITE}}) as server:
        yield server


def settings(registry: RegistryServer) -> dict[str, object]:
    """The keys of a registry, as in the configuration of a sidecar."""
    keys = {"": registry.url, "_username": USER, "_password": PASSWORD}
    return {f"output.schema_registry{name}": value for name, value in keys.items()}


def written(registry: RegistryServer, stream: Stream, rate: float, **more: str) -> Record:
    """A rate as another program writes it with a registry, by a schema with further fields."""
    further = [{"name": name, "type": "string"} for name in more]
    schema = SCHEMAS[TOPIC] | {"fields": [*further, *SCHEMAS[TOPIC]["fields"]]}
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), RATE | {"deal_base_rate": rate} | more)
    return Record(confluent_frame(registry.add(f"{stream.prefix}{TOPIC}-value", schema)) + body.getvalue(), b"USD")


def test_events_are_sent_with_the_ids_of_a_registry_and_handled(stream: Stream, registry: RegistryServer) -> None:
    async def program() -> None:
        async with stream.producer(config=settings(registry)) as producer:
            for topic, example in EXAMPLES.items():
                await producer.send(topic, example)

    asyncio.run(program())
    for topic, example in EXAMPLES.items():
        [record] = stream.records(topic)
        schema = registry.schemas[int.from_bytes(record.value[1:5]) - 1]
        assert (record.value[0], schema) == (0, SCHEMAS[topic])
        assert fastavro.schemaless_reader(BytesIO(record.value[5:]), schema, None) == example
        assert record.headers["content-type"] == b"application/avro"
    named = {f"{stream.prefix}{topic}-{SCHEMAS[topic]['namespace']}.{SCHEMAS[topic]['name']}" for topic in EVENTS}
    assert registry.subjects.keys() - named == {f"{stream.prefix}errors-marketdata.monitoring.MonitoringError"}
    consumer = stream.consumer(*EVENTS, config=settings(registry))
    handled = Handled(consumer, len(EVENTS))
    consume(consumer, handled)
    assert sorted(handled.events, key=repr) == sorted([check(*each) for each in EXAMPLES.items()], key=repr)


def test_without_an_answer_of_the_registry_nothing_is_sent(stream: Stream, registry: RegistryServer) -> None:
    registry.refuse = True

    async def program() -> None:
        async with stream.producer(config=settings(registry)) as producer:
            with pytest.raises(SendError, match="the schema registry answered 503"):
                await producer.send(TOPIC, RATE)
            registry.refuse = False
            await producer.send(TOPIC, RATE)

    asyncio.run(program())
    assert len(stream.records(TOPIC)) == 1


def test_events_wait_for_the_registry_and_others_are_handled_with_the_schemas_of_their_writers(
    stream: Stream, registry: RegistryServer
) -> None:
    """Behind one in JSON, which needs no registry, and by two schemas."""
    first = Record(json.dumps(RATE | {"deal_base_rate": 1}).encode(), b"USD")
    rest = [written(registry, stream, 2), written(registry, stream, 3, reason="none"), written(registry, stream, 4)]
    stream.broker.produce(stream.prefix + TOPIC, [first, *rest])
    registry.refuse = True
    consumer = stream.consumer(config=settings(registry), max_retries=0)
    handled = Handled(consumer, 4)

    async def program() -> None:
        task = asyncio.ensure_future(consumer.consume_messages(handled))
        await asyncio.to_thread(eventually, lambda: len(registry.asked) >= 2, 30)
        assert len(handled.events) == 1
        registry.refuse = False
        await task

    asyncio.run(program())
    assert handled.by_currency() == {"USD": [1, 2, 3, 4]}
    assert stream.committed() == 4
    assert stream.records(f"{TOPIC}.dead_letter") == []


def test_an_event_that_waits_is_left_to_the_next_owner_by_a_stop(stream: Stream, registry: RegistryServer) -> None:
    stream.broker.produce(stream.prefix + TOPIC, [written(registry, stream, 1)])
    registry.refuse = True
    consumer = stream.consumer(config=settings(registry))

    async def program() -> None:
        task = asyncio.ensure_future(consumer.consume_messages(Handled(consumer, -1)))
        await asyncio.to_thread(eventually, lambda: registry.asked, 30)
        consumer.stop()
        await task

    asyncio.run(program())
    registry.refuse = False
    following = stream.consumer(config=settings(registry))
    handled = Handled(following, 1)
    consume(following, handled)
    assert handled.by_currency() == {"USD": [1]}


def test_an_event_whose_schema_does_not_exist_becomes_a_dead_letter(stream: Stream, registry: RegistryServer) -> None:
    records = [Record(confluent_frame(99) + b"x", b"USD"), Record(json.dumps(RATE).encode(), b"USD")]
    stream.broker.produce(stream.prefix + TOPIC, records)
    consumer = stream.consumer(config=settings(registry))
    consume(consumer, Handled(consumer, 1))
    [letter] = stream.records(f"{TOPIC}.dead_letter")
    assert letter.headers["dead_letter_reason"] == b"invalid_event"
    assert b"schema 99 does not exist in the schema registry" in letter.headers["dead_letter_error"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"config": {"output.schema_registry": "registry:8081"}},
        {"config": {"output.schema_registry": "http://registry"}, "encoding": "json"},
    ],
)
def test_a_registry_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="schema_registry"):
        IngestionProducer(**wrong)
