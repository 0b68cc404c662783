"""Records in Confluent's wire format wait for their schema, and for nothing else."""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from msgspec.structs import asdict, replace

from exporter.config.schema import OutputConfig
from exporter.config.tls_files import TlsFiles
from exporter.decoding.formats.avro import confluent
from exporter.events.encoding import confluent_frame
from exporter.events.registry_http import RegistryHttp
from exporter.events.writer_schemas import REFERENCES_MAX, RETRY_SECONDS, UNKNOWN_SECONDS, WriterSchemas, fetch
from exporter.kafka.positions import Position
from exporter.kafka.unreadable import LEAST_STARTS
from exporter.model import Partition, Rejected
from exporter.model import Record as KafkaRecord
from exporter.runtime.worker import ThreadWorker
from exporter.source.held import Held
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.registry import READ, RegistryServer
from tests.support.secure import Authority, Certified
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually
from tests.test_formats_avro import FORMAT, SCHEMA, body

ANSWER_SECONDS = 20.0


class Clock:
    """A clock that stands still between calls."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer({"me:hunter2": {READ}}) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


NO_FILES = TlsFiles()


def asking(registry: RegistryServer, clock: Clock, tls: TlsFiles = NO_FILES) -> WriterSchemas:
    """Return what asks a registry for schemas."""
    output = OutputConfig(
        schema_registry=registry.url,
        schema_registry_username="me",
        schema_registry_password="hunter2",
        schema_registry_tls=tls,
    )
    http = RegistryHttp(output)
    return WriterSchemas(lambda number: fetch(http, number), ThreadWorker("schemas"), clock)


@pytest.fixture
def schemas(registry: RegistryServer, clock: Clock) -> WriterSchemas:
    return asking(registry, clock)


class Secured(NamedTuple):
    """A registry that requires a certificate and a password, and the files with which it is reached."""

    server: RegistryServer
    files: TlsFiles
    authority: Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secured(authority: Authority) -> Iterator[Secured]:
    client = authority.issue("client")
    files = TlsFiles(ca_file=str(authority.certificate), cert_file=str(client.certificate), key_file=str(client.key))
    with RegistryServer({"me:hunter2": {READ}}, tls=server_tls(authority, authority.issue("registry"))) as server:
        yield Secured(server, files, authority)


def server_tls(authority: Authority, shown: Certified) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def answered(schemas: WriterSchemas, number: int) -> str:
    """Return what hinders once the registry has answered, or has not."""
    asked = "the schema registry is asked"

    def obstacle() -> str:
        found = schemas.obstacle(number)
        return "" if asked in found else found or "none"

    return eventually(obstacle, ANSWER_SECONDS, "no answer")


def test_a_schema_is_asked_for_once_and_kept(registry: RegistryServer, schemas: WriterSchemas) -> None:
    number = registry.add("trades-value", SCHEMA)
    assert "the schema registry is asked" in schemas.obstacle(number)
    assert answered(schemas, number) == "none"
    assert schemas.find(number)["name"] == "market.crypto.Trade"
    registry.refuse = True
    assert schemas.obstacle(number) == ""
    assert registry.asked == [f"GET /schemas/ids/{number}"]
    assert registry.users == ["me:hunter2"]


def test_a_registry_that_is_away_is_asked_again_a_second_later(
    registry: RegistryServer, schemas: WriterSchemas, clock: Clock
) -> None:
    number = registry.add("trades-value", SCHEMA)
    registry.refuse = True
    assert "answered 503" in answered(schemas, number)
    assert "answered 503" in schemas.obstacle(number)
    assert len(registry.asked) == 1
    registry.refuse = False
    clock.now += RETRY_SECONDS
    assert eventually(lambda: schemas.obstacle(number) == "", ANSWER_SECONDS, "not asked again")


def test_a_schema_that_does_not_exist_hinders_nothing_and_is_asked_for_again_later(
    registry: RegistryServer, schemas: WriterSchemas, clock: Clock
) -> None:
    assert answered(schemas, 1) == "none"
    with pytest.raises(Rejected, match="invalid_encoding: schema 1 does not exist in the schema registry"):
        schemas.find(1)
    registry.add("trades-value", SCHEMA)
    clock.now += UNKNOWN_SECONDS + 1
    assert answered(schemas, 1) == "none"
    assert schemas.find(1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"schema": "syntax", "schemaType": "PROTOBUF"}, "is no Avro schema"),
        ({"schema": "{}"}, "is no Avro schema"),
        ({}, "is no Avro schema"),
        ({"schema": json.dumps(SCHEMA), "references": [{"name": "a"}]}, "is no Avro schema"),
        ({"schema": json.dumps(SCHEMA), "references": 5}, "is no Avro schema"),
        (
            {"schema": json.dumps(SCHEMA), "references": [{"name": "a", "subject": "s", "version": 3}]},
            "schema 5 refers to version 3 of s, which does not exist in the schema registry",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_rejects_its_records(
    registry: RegistryServer, schemas: WriterSchemas, answer: dict[str, object], words: str
) -> None:
    registry.forced["schemas/ids/5"] = 200, answer
    assert answered(schemas, 5) == "none"
    with pytest.raises(Rejected, match=words):
        schemas.find(5)


SIDE = {"type": "record", "name": "a.Side", "fields": [{"name": "price", "type": "double"}]}
BOOK = {"type": "record", "name": "a.Book", "fields": [{"name": side, "type": "a.Side"} for side in ("bid", "ask")]}
TICK_FIELDS = [{"name": "book", "type": "a.Book"}, {"name": "last", "type": "a.Side"}]
TICK = {"type": "record", "name": "a.Tick", "fields": TICK_FIELDS}


def test_a_schema_is_read_with_those_that_it_refers_to(registry: RegistryServer, schemas: WriterSchemas) -> None:
    registry.add("side", SIDE)
    registry.add("book", BOOK, "side")
    number = registry.add("tick", TICK, "book", "side")
    assert answered(schemas, number) == "none"
    side = {"price": 1.5}
    tick = {"book": {"bid": side, "ask": side}, "last": side}
    stream = BytesIO()
    named: dict[str, Any] = {}
    *_, written_with = [fastavro.parse_schema(schema, named) for schema in (SIDE, BOOK, TICK)]
    fastavro.schemaless_writer(stream, written_with, tick)
    assert confluent(schemas.find)(confluent_frame(number) + stream.getvalue()) == tick
    assert registry.asked == [
        f"GET /schemas/ids/{number}",
        "GET /subjects/book/versions/1",
        "GET /subjects/side/versions/1",
    ]


def test_schemas_that_refer_to_each_other_are_none(registry: RegistryServer, schemas: WriterSchemas) -> None:
    registry.add("side", SIDE | {"fields": [{"name": "book", "type": "a.Book"}]}, "book")
    number = registry.add("book", BOOK, "side")
    assert answered(schemas, number) == "none"
    with pytest.raises(Rejected, match="refers to version 1 of book, which is no Avro schema"):
        schemas.find(number)


def test_a_chain_of_references_without_end_is_cut_off(registry: RegistryServer, schemas: WriterSchemas) -> None:
    for number in range(REFERENCES_MAX + 1):
        registry.add(f"s{number}", SIDE | {"name": f"a.S{number}"}, f"s{number + 1}")
    assert answered(schemas, 1) == "none"
    with pytest.raises(Rejected, match=f"schema 1 refers to more than {REFERENCES_MAX} other schemas"):
        schemas.find(1)


def test_a_user_without_the_right_is_told_and_records_wait(registry: RegistryServer, schemas: WriterSchemas) -> None:
    assert registry.rights is not None
    registry.rights = {"me:hunter2": set()}
    assert "403 User is denied operation Read" in answered(schemas, registry.add("trades-value", SCHEMA))


# TLS.


def test_a_registry_with_tls_certificates_and_passwords_is_asked_once_and_may_then_be_away(
    secured: Secured, clock: Clock
) -> None:
    schemas = asking(secured.server, clock, secured.files)
    number = secured.server.add("trades-value", SCHEMA)
    assert answered(schemas, number) == "none"
    assert secured.server.users == ["me:hunter2"]
    secured.server.refuse = True
    assert schemas.obstacle(number) == ""
    other = secured.server.add("other-value", SCHEMA | {"doc": "another one"})
    assert "answered 503" in answered(schemas, other)
    secured.server.refuse = False
    clock.now += RETRY_SECONDS
    assert eventually(lambda: schemas.obstacle(other) == "", ANSWER_SECONDS, "not asked again")


def test_key_and_certificate_may_be_in_one_file(secured: Secured, clock: Clock) -> None:
    both = secured.authority.issue("both").in_one_file()
    schemas = asking(secured.server, clock, TlsFiles(ca_file=secured.files.ca_file, cert_file=str(both)))
    assert answered(schemas, secured.server.add("trades-value", SCHEMA)) == "none"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["ca_file"], "the schema registry cannot be reached: SSLError, .*self.signed certificate"),
        (["cert_file", "key_file"], "the schema registry cannot be reached: "),  # of TLS 1.3 the alert may be lost
    ],
)
def test_records_wait_while_one_side_does_not_trust_the_other(
    secured: Secured, clock: Clock, missing: list[str], words: str
) -> None:
    schemas = asking(secured.server, clock, replace(secured.files, **dict.fromkeys(missing)))
    assert re.search(words, answered(schemas, secured.server.add("trades-value", SCHEMA)))
    assert secured.server.asked == []


# Waiting.


def message(partition: int, offset: int, topic: str = "t") -> Any:
    value = f"{partition}/{offset}".encode()
    return Message(topic=topic, partition=partition, offset=offset, value=value, error=None)


def places(messages: list[Any]) -> list[tuple[int, int]]:
    return [(each.partition(), each.offset()) for each in messages]


def held(blocked: set[tuple[int, int]]) -> Held:
    def obstacle(topic: str, value: bytes | None) -> str:
        return "not yet" if value in [f"{partition}/{offset}".encode() for partition, offset in blocked] else ""

    return Held(obstacle)


def test_what_lies_behind_a_message_that_waits_waits_on_its_partition_only() -> None:
    blocked = {(0, 1)}
    hold = held(blocked)
    assert places(hold.release([message(0, 0), message(0, 1), message(1, 0), message(0, 2), message(1, 1)])) == [
        (0, 0),
        (1, 0),
        (1, 1),
    ]
    assert hold.partitions == {Partition("t", 0)}
    assert hold.reasons() == ["t/0 waits at offset 1: not yet"]
    assert places(hold.release([message(1, 2)])) == [(1, 2)]
    blocked.clear()
    assert places(hold.release([message(0, 3)])) == [(0, 1), (0, 2), (0, 3)]
    assert (hold.partitions, hold.reasons()) == (frozenset(), [])


def test_what_waits_goes_with_its_partition() -> None:
    blocked = {(0, 0), (1, 0)}
    hold = held(blocked)
    hold.release([message(0, 0), message(1, 0)])
    hold.drop({Partition("t", 0)})
    assert hold.partitions == {Partition("t", 1)}
    blocked.clear()
    assert places(hold.release([message(0, 0)])) == [(1, 0), (0, 0)]


def test_records_of_child_processes_wait_as_messages_do() -> None:
    blocked = {(0, 1)}
    hold = held(blocked)
    first, second = (message_record(Partition("t", 0), offset) for offset in (0, 1))
    assert hold.release([first, second, message(1, 0)])[0] is first
    assert hold.reasons() == ["t/0 waits at offset 1: not yet"]
    blocked.clear()
    assert hold.release([]) == [second]


def message_record(partition: Partition, offset: int) -> KafkaRecord:
    return KafkaRecord(partition, offset, 0, f"{partition.number}/{offset}".encode())


# All of it.


def test_records_that_wait_go_with_their_partition_and_are_counted_once(
    broker: Broker, registry: RegistryServer, tmp_path: Path
) -> None:
    """The second sidecar takes partitions over while all of them wait; then the registry comes back."""
    registry.rights = None
    number = registry.add("trades-value", SCHEMA)
    with Deployment(broker, tmp_path) as deployment:
        deployment.create_outputs()
        one = FORMAT | {"topics": deployment.topic, "encoding": "avro-confluent", "schema_registry": registry.url}
        formats = {"input__formats": [one | {"batch_events": True}]}
        registry.refuse = True
        broker.produce(deployment.topic, [Record(confluent_frame(number) + body(), partition=n % 4) for n in range(40)])
        sidecars = [deployment.sidecar("one", **formats).start()]
        eventually(lambda: "waits at offset 0" in sidecars[0].get("/-/ready").text, ANSWER_SECONDS, "nothing waits")
        sidecars.append(deployment.sidecar("two", **formats).start())
        eventually(lambda: "waits at offset 0" in sidecars[1].get("/-/ready").text, ANSWER_SECONDS, "nothing moved")
        registry.refuse = False
        all_read = dict.fromkeys(range(4), 10)
        eventually(lambda: counts(deployment, deployment.topic)() == all_read, ANSWER_SECONDS, "not all was read")
        assert sum(sidecar.batches() for sidecar in sidecars) == 40
        for sidecar in sidecars:
            sidecar.stop()
        events = deployment.told().batches
        assert len(events) == len({batch.id for batch in events}) == 40


def test_records_that_a_child_process_reads_wait_for_their_schema(
    broker: Broker, registry: RegistryServer, tmp_path: Path
) -> None:
    """Earlier processes have ended at the beginning of the partition, as far as its committed offset tells."""
    registry.rights = None
    number = registry.add("trades-value", SCHEMA)
    with Deployment(broker, tmp_path, partitions=1) as deployment:
        deployment.create_outputs()
        suspect(deployment, Position(0, 0, 0, starts=LEAST_STARTS + 1))
        one = FORMAT | {"topics": deployment.topic, "encoding": "avro-confluent", "schema_registry": registry.url}
        registry.refuse = True
        # More than the queue of the child process holds, and more than one turn takes.
        broker.produce(deployment.topic, [confluent_frame(number) + body()] * 600)
        sidecar = deployment.sidecar(input__formats=[one]).start()
        eventually(lambda: "waits at offset 0" in sidecar.get("/-/ready").text, ANSWER_SECONDS, "nothing waits")
        eventually(lambda: "a child process with limited memory reads it first" in sidecar.log)
        registry.refuse = False
        eventually(lambda: counts(deployment, deployment.topic)() == {0: 600}, ANSWER_SECONDS, "not all was read")
        scrape = sidecar.scrape()
        assert sidecar.batches() == scrape.total("marketdata_records_total") == 600
        assert scrape.total("marketdata_records_rejected_total") == 0
        sidecar.stop()


def suspect(deployment: Deployment, position: Position) -> None:
    """Commit a position in the group of a deployment."""
    consumer = Consumer({"bootstrap.servers": deployment.cluster.bootstrap, "group.id": deployment.group})
    offset = TopicPartition(deployment.topic, 0, position.offset, metadata=position.metadata)
    consumer.commit(offsets=[offset], asynchronous=False)
    consumer.close()


def counts(deployment: Deployment, topic: str) -> Callable[[], dict[int, int]]:
    return lambda: deployment.cluster.committed(deployment.group, topic)


def test_a_sidecar_holds_back_records_while_the_registry_is_away(
    broker: Broker, secured: Secured, tmp_path: Path
) -> None:
    registry = secured.server
    number = registry.add("trades-value", SCHEMA)
    suffix = os.urandom(4).hex()
    avro, plain = (broker.create_topic(f"{stem}.{suffix}", 1) for stem in ("avro", "plain"))
    one = FORMAT | {
        "topics": avro,
        "encoding": "avro-confluent",
        "schema_registry": {"url": registry.url, "username": "me", "password": "hunter2", "tls": asdict(secured.files)},
    }
    tick = {"topics": plain, "feed": FORMAT["feed"] | {"exchange": "other"}, "row": {"symbol": "s"}}
    value = confluent_frame(number) + body()
    registry.refuse = True
    with Deployment(broker, tmp_path) as deployment:
        deployment.create_outputs()
        broker.produce(avro, [value] * 3)
        sidecar = deployment.sidecar(input__topics=[avro, plain], input__formats=[one, tick]).start()
        waits = f"{avro}/0 waits at offset 0: schema {number} is unknown: the schema registry answered 503"
        eventually(lambda: waits in sidecar.get("/-/ready").text, ANSWER_SECONDS, "no word of the registry")
        broker.produce(plain, [b'{"s":"A"}'] * 5)
        eventually(lambda: counts(deployment, plain)() == {0: 5}, ANSWER_SECONDS, "the other topic waits, too")
        assert sidecar.scrape().total("marketdata_records_total", topic=avro) == 0
        registry.refuse = False
        eventually(lambda: counts(deployment, avro)() == {0: 3}, ANSWER_SECONDS, "nothing is read with the registry")
        registry.refuse = True
        broker.produce(avro, [value, value])
        eventually(lambda: counts(deployment, avro)() == {0: 5}, ANSWER_SECONDS, "a known schema was asked for again")
        registry.refuse = False
        broker.produce(avro, [confluent_frame(999) + body(), value])
        eventually(lambda: counts(deployment, avro)() == {0: 7}, ANSWER_SECONDS, "an unknown schema stops the sidecar")
        scrape = sidecar.scrape()
        assert scrape.total("marketdata_batches_total", exchange="binance") == 6
        assert scrape.total("marketdata_records_rejected_total", topic=avro, reason="invalid_encoding") == 1
        assert sidecar.get("/-/ready").ok
        sidecar.stop()
        assert sidecar.run("audit").stdout.endswith("they agree\n")
        registry.refuse = True
        told = sidecar.run("audit")
        assert told.returncode == 2
        assert told.stderr.startswith("audit: the schema registry answered 503")
