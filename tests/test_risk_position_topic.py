"""Positions from a compacted topic: JSON and Avro, removals, mistakes, and the topic itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

import fastavro
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions  # confluent_kafka.admin has it too, but does not tell mypy

from exporter.config.loader import load
from exporter.events.encoding import confluent_frame, single_object_frame
from exporter.events.values import load_schema
from exporter.model import Reason, RegistryError, Rejected
from exporter.risk import position_topic
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionsError
from exporter.risk.position_records import PositionRecords
from exporter.risk.position_topic import PositionTopic
from tests.support.cluster import Record
from tests.support.documents import blocks
from tests.support.kafka import Broker
from tests.support.registry import RegistryServer
from tests.support.waiting import eventually

SCHEMA = load_schema("risk_position")


def records(*pairs: tuple[str, Any], find: Callable[[int], Any] | None = None) -> PositionRecords:
    made = PositionRecords(find)
    for key, value in pairs:
        made.add(key.encode(), value if value is None or isinstance(value, bytes) else json.dumps(value).encode())
    return made


def avro(**value: Any) -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, {"volume": None, **value})
    return body.getvalue()


def test_the_example_of_the_page_is_a_record() -> None:
    (text,) = (block for block in blocks("json") if '"quantities"' in block)
    assert records(("A", text.encode())).portfolios() == [
        Portfolio("hedge", {"A": -0.5}, volumes={"A": 1.2}),
        Portfolio("main", {"A": 0.5}, volumes={"A": 1.2}),
    ]


def test_the_last_record_of_a_symbol_counts() -> None:
    found = records(
        ("A", {"quantity": 1}),
        ("A", {"quantity": 2, "portfolio": "other"}),
        ("B", {"quantities": {"main": 3}}),
        ("C", {"quantity": 5}),
        ("C", None),
        ("$cash", {"quantities": {"main": 100, "empty": 7}}),
    )
    assert found.portfolios() == [
        Portfolio("empty", {}, 7.0),
        Portfolio("main", {"B": 3.0}, 100.0),
        Portfolio("other", {"A": 2.0}),
    ]


def test_avro_is_read_with_the_schema_that_ships_or_that_of_a_registry() -> None:
    body = avro(quantities={"main": 2.5}, volume=4.0)
    found = records(
        ("A", single_object_frame(SCHEMA) + body), ("B", confluent_frame(7) + body), find=lambda number: SCHEMA
    )
    assert found.portfolios() == [Portfolio("main", {"A": 2.5, "B": 2.5}, volumes={"A": 4.0, "B": 4.0})]


def unknown(number: int) -> Any:
    raise Rejected(Reason.INVALID_ENCODING, f"schema {number} is unknown")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"{", "unexpected end of data"),
        (b"[1]", "it is no object"),
        (b"{}", "the quantity of main is no number from -1e+18 to 1e+18"),
        (b'{"quantity": true}', "the quantity of main is no number from -1e+18 to 1e+18"),
        (b'{"quantity": "1"}', "the quantity of main is no number from -1e+18 to 1e+18"),
        (b'{"quantities": {"": 1}}', "the name of a portfolio has 1 to 64 printable characters"),
        (b'{"quantities": [1]}', "quantities is no object"),
        (b'{"quantity": 1, "volume": -1}', "volume is no number from 0 to 1e+18"),
        (single_object_frame(SCHEMA) + b"\x05", "no Avro of its schema"),
        (confluent_frame(9) + b"\x00", "schema 9 is unknown"),
    ],
)
def test_an_invalid_record_is_named_until_it_is_corrected(value: bytes, error: str) -> None:
    found = records(("A", {"quantity": 1}), ("B", value), find=unknown)
    with pytest.raises(PositionsError, match=f"the record of 'B' is invalid: .*{re.escape(error)}"):
        found.portfolios()
    found.add(b"B", b'{"quantity": 2}')
    assert found.portfolios() == [Portfolio("main", {"A": 1.0, "B": 2.0})]


def test_records_whose_schemas_have_no_answer_are_read_once_they_have_one() -> None:
    answers: dict[int, Any] = {}

    def find(number: int) -> Any:
        if number not in answers:
            raise RegistryError("no answer")
        return answers[number]

    body = avro(quantities={"main": 1.0})
    found = records(
        ("A", confluent_frame(1) + body), ("B", confluent_frame(2) + body), ("C", {"quantity": 3}), find=find
    )
    for answered in ((), (2,)):
        answers |= dict.fromkeys(answered, SCHEMA)
        assert found.retry() is bool(answered)
        with pytest.raises(PositionsError, match="the record of 'A' is invalid: no answer"):
            found.portfolios()
    answers[1] = SCHEMA
    found.add(b"B", b'{"quantity": 5}')
    assert found.retry()
    assert found.portfolios() == [Portfolio("main", {"C": 3.0, "B": 5.0, "A": 1.0})]
    assert not found.retry()


def test_positions_are_known_once_a_registry_that_was_down_answers(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic("positions", cleanup_policy="compact")
    with RegistryServer() as registry:
        registry.schemas.append(SCHEMA)
        registry.refuse = True
        settings = {
            "kafka.bootstrap_servers": broker.bootstrap,
            "output.schema_registry": registry.url,
            "risk.positions.topic": name,
        }
        positions = PositionTopic(load(None, {}, settings, hostname="box", read_file=str))
        frame = confluent_frame(len(registry.schemas)) + avro(quantities={"main": 1.0})
        broker.produce(name, [Record(frame, symbol.encode()) for symbol in ("A", "B", "C")])
        try:
            with pytest.raises(PositionsError, match="the record of 'A' is invalid: the schema registry answered 503"):
                positions.read()
            assert len(registry.asked) == 1
            registry.refuse = False

            def read() -> list[Portfolio] | None:
                with suppress(PositionsError):
                    return positions.read()
                return None

            assert eventually(read) == [Portfolio("main", {"A": 1.0, "B": 1.0, "C": 1.0})]
        finally:
            positions.close()


def test_the_topic_is_read_from_its_beginning_and_then_as_it_grows(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic("positions", 3, cleanup_policy="compact")

    def write(**quantities: float | None) -> None:
        values = {
            key: b"" if value is None else json.dumps({"quantity": value}).encode() for key, value in quantities.items()
        }
        broker.produce(name, [Record(value, key.encode()) for key, value in values.items()])

    settings = {"kafka.bootstrap_servers": broker.bootstrap, "risk.positions.topic": name, "risk.enabled": True}
    positions = PositionTopic(load(None, {}, settings, hostname="box", read_file=str))
    try:
        write(A=1, B=2, C=3)
        assert positions.read() == [Portfolio("main", {"A": 1.0, "B": 2.0, "C": 3.0})]
        assert positions.read() is None
        write(B=5)
        assert eventually(positions.read) == [Portfolio("main", {"A": 1.0, "B": 5.0, "C": 3.0})]
        broker.produce(name, [Record(b"no json", b"A")])
        with pytest.raises(PositionsError, match=f"{name}: the record of 'A' is invalid"):
            eventually(positions.read)
        with pytest.raises(PositionsError, match="is invalid"):
            positions.read()
    finally:
        positions.close()


def test_partitions_that_are_added_are_read(
    broker: Broker, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position_topic, "PARTITIONS_SECONDS", 0.0)
    name = topic("positions", cleanup_policy="compact")
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "risk.positions.topic": name}
    positions = PositionTopic(load(None, {}, settings, hostname="box", read_file=str))
    broker.produce(name, [Record(b'{"quantity": 1}', b"A", partition=0)])
    try:
        assert positions.read() == [Portfolio("main", {"A": 1.0})]
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_partitions([NewPartitions(name, 2)])[name].result(20)
        broker.produce(name, [Record(b'{"quantity": 2}', b"B", partition=1)])
        assert eventually(positions.read) == [Portfolio("main", {"A": 1.0, "B": 2.0})]
    finally:
        positions.close()


def test_a_topic_that_does_not_exist_is_named(broker: Broker) -> None:
    settings = {
        "kafka.bootstrap_servers": broker.bootstrap,
        "kafka.consumer_properties": {"allow.auto.create.topics": "false"},
        "risk.positions.topic": "no-such-topic",
    }
    positions = PositionTopic(load(None, {}, settings, hostname="box", read_file=str))
    with pytest.raises(PositionsError, match="no-such-topic: Broker: Unknown topic or partition"):
        positions.read()
