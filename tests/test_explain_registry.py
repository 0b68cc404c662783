"""`explain` and `check` read Avro with the schemas of a registry that answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.config.loader import load
from exporter.events.encoding import confluent_frame
from exporter.tools.check import command
from tests.support.kafka import Broker
from tests.support.registry import READ, RegistryServer
from tests.test_explain import run
from tests.test_formats_avro import FORMAT, SCHEMA, body


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer({"me:hunter2": {READ}}) as server:
        server.add("avro-value", SCHEMA)
        yield server


@pytest.fixture
def topic(broker: Broker) -> str:
    name = broker.create_topic(f"avro-{uuid.uuid4().hex[:8]}")
    broker.produce(name, [confluent_frame(1) + body()])
    return name


def settings(broker: Broker, topic: str, registry: RegistryServer, **changes: object) -> str:
    """A configuration with the format of the records, some of its keys replaced, as JSON."""
    login = {"url": registry.url, "username": "me", "password": "hunter2"}
    one: dict[str, Any] = FORMAT | {"topics": topic, "encoding": "avro-confluent", "schema_registry": login} | changes
    read = {"topics": [topic], "formats": [one], "limits": {"feeds": 100}}
    return json.dumps({"input": read, "kafka": {"bootstrap_servers": broker.bootstrap}})


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, 0, ["accepted  global:binance:trade, messages: 1\n", "37100.5"]),
        (
            {"row": {"symbol": "canonical_symbol", "price": "prize"}},
            0,
            ["none with a price or a timestamp", 'price: "37100.5'],
        ),
        (
            {"row": {"symbol": "symbol"}},
            1,
            ["missing required field `symbol`", 'canonical_symbol: "BTC/USDT"', "No known format reads it."],
        ),
    ],
)
def test_fields_of_avro_are_explained_with_those_that_nothing_reads(
    broker: Broker,
    topic: str,
    registry: RegistryServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    code: int,
    words: list[str],
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(settings(broker, topic, registry, **changes))
    assert run(topic, "--config.file", str(file)) == code
    text = capsys.readouterr().out
    assert [each for each in words if each not in text] == []
    assert registry.users == ["me:hunter2"]


def test_check_reads_avro_and_names_the_schema_that_the_registry_does_not_have(
    broker: Broker, topic: str, registry: RegistryServer, capfd: pytest.CaptureFixture[str]
) -> None:
    broker.committed("first", topic)  # where no group was ever used, reading would leave a trace
    lines = []
    for number in (1, 99):
        broker.produce(topic, [confluent_frame(number) + body()])
        command.main(load(settings(broker, topic, registry), {}, {}, hostname="box", read_file=str))
        lines += [each for each in capfd.readouterr().out.splitlines() if " records: " in each]
    assert [each.split()[0] for each in lines] == ["ok", "warn"]
    assert "global:binance:trade with 1 symbol (BTC/USDT); found timestamp, price" in lines[0]
    assert "1 of 3 are rejected, invalid_encoding" in lines[1]
    assert "schema 99 does not exist in the schema registry" in lines[1]
