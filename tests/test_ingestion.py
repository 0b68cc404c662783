"""Programs send events and handle them, over a real broker: acknowledged, in order, none skipped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.ingestion import (
    ConfigError,
    ExchangeRateUpdated,
    IngestionProducer,
    MessageConsumer,
    NewDataReceived,
    SendError,
    connect,
    create_topics,
    disconnect,
    send_cache_invalidation,
    send_data_processing_completed,
    send_exchange_rate_updated,
    send_new_data_received,
)
from exporter.ingestion.consumer import ConsumerStatistics
from exporter.ingestion.encodings import decode
from exporter.ingestion.events import EVENTS, PARTITIONS, check
from exporter.model import Partition
from tests.support.cluster import Record
from tests.support.ingesting import GROUP, TOPIC, IngestingService
from tests.support.ingestion import EXAMPLES
from tests.support.ingestion_stream import CODES, RATE, Handled, Stream, consume
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.waiting import eventually


@pytest.fixture
def stream(broker: Broker) -> Stream:
    """Topics of this test's own."""
    return Stream(broker)


# Sending.


def test_topics_have_their_partitions_and_are_created_once(stream: Stream) -> None:
    asyncio.run(create_topics(**stream.places))
    for topic, count in PARTITIONS.items():
        assert len({record.partition for record in stream.broker.produce(stream.prefix + topic, [b"x"] * 100)}) == count
        assert stream.records(f"{topic}.dead_letter") == []


def test_each_event_is_sent_with_its_key_and_headers(stream: Stream) -> None:
    async def program() -> None:
        await connect(**stream.places, instance="rates-1")
        await send_new_data_received(EXAMPLES["new_data_received"])
        await send_exchange_rate_updated(EXAMPLES["exchange_rate_updated"])
        await send_data_processing_completed(EXAMPLES["data_processing_completed"])
        await send_cache_invalidation(EXAMPLES["cache_invalidation"])
        await disconnect()

    asyncio.run(program())
    keys = []
    for topic, example in EXAMPLES.items():
        [record] = stream.records(topic)
        keys.append(record.key)
        assert record.value.startswith(b"\xc3\x01")
        assert decode(topic, record.value) == check(topic, example)
        assert record.headers["ce_type"] == f"marketdata.ingestion.{topic}".encode()
        assert record.headers["ce_source"] == b"rates-1"
        assert record.headers["content-type"] == b"application/avro"
    assert keys == [b"uuid-1234", b"USD", b"uuid-1234", None]


def test_events_can_be_sent_as_json(stream: Stream) -> None:
    async def program() -> None:
        async with stream.producer(encoding="json") as producer:
            await producer.send(TOPIC, RATE)

    asyncio.run(program())
    [record] = stream.records(TOPIC)
    assert json.loads(record.value) == RATE
    assert record.headers["content-type"] == b"application/json"


def test_nothing_is_sent_of_an_event_with_a_missing_field(stream: Stream) -> None:
    async def program() -> None:
        async with stream.producer() as producer:
            with pytest.raises(ValueError, match="required field `source`"):
                await producer.send(TOPIC, {name: value for name, value in RATE.items() if name != "source"})

    asyncio.run(program())
    assert stream.records(TOPIC) == stream.records("errors") == []


def test_an_event_that_is_refused_raises_and_puts_an_error_event(stream: Stream) -> None:
    async def program() -> None:
        async with stream.producer(encoding="json", prefix=f"{stream.prefix}missing.", timeout_seconds=2) as producer:
            with pytest.raises(SendError):
                await producer.send(TOPIC, RATE)

    asyncio.run(program())
    [record] = stream.records("errors")
    error = json.loads(record.value)
    assert (error["reason"], error["topic"]) == ("not_delivered", f"{stream.prefix}missing.{TOPIC}")


def test_without_a_broker_an_event_raises_in_time() -> None:
    async def program() -> None:
        async with IngestionProducer(bootstrap_servers=f"127.0.0.1:{free_port()}", timeout_seconds=0.5) as producer:
            with pytest.raises(SendError):
                await producer.send(TOPIC, RATE)
        with pytest.raises(RuntimeError, match="not started"):
            await producer.send(TOPIC, RATE)

    asyncio.run(program())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"timeout_seconds": each} for each in (0, None, "5", float("nan"))),
        *({"prefix": each} for each in (None, 5, "a b.", "x" * 201)),
        {"encoding": "xml"},
        {"config": {"kafka.nothing": 1}},
        {"config": "kafka.nothing"},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="|".join(wrong) + "|kafka.nothing"):
        IngestionProducer(**wrong)


# Handling.


def test_each_topic_has_its_handler(stream: Stream) -> None:
    consumer = stream.consumer(*EVENTS)
    found: dict[str, list[Any]] = {topic: [] for topic in EVENTS}
    for topic, example in EXAMPLES.items():
        stream.broker.produce(stream.prefix + topic, [json.dumps(example).encode()])

    def handler(topic: str) -> Callable[[Any], Awaitable[None]]:
        async def handle(event: Any) -> None:
            found[topic].append(event)
            if all(found.values()):
                consumer.stop()

        return handle

    consume(consumer, {topic: handler(topic) for topic in EVENTS})
    assert found == {topic: [check(topic, example)] for topic, example in EXAMPLES.items()}
    assert [stream.committed(topic) for topic in EVENTS] == [1, 1, 1, 1]


def test_events_of_a_partition_are_handled_in_order(stream: Stream) -> None:
    """More than are read ahead."""
    stream.write_rates(1500)
    consumer = stream.consumer()
    handled = Handled(consumer, 1500 * len(CODES))
    consume(consumer, handled)
    assert handled.by_currency() == {code: list(range(1, 1501)) for code in CODES}
    assert stream.committed() == 1500 * len(CODES)


def test_a_handler_that_waits_holds_up_no_other_partition(stream: Stream) -> None:
    """The first event of one partition is handled last of all; behind it wait more than are read ahead."""
    rates = 1200
    stream.write_rates(rates)
    partitions = {record.key: record.partition for record in stream.records(TOPIC)}
    others = [code for code in CODES if partitions[code.encode()] != partitions[b"USD"]]
    consumer = stream.consumer()
    done: list[str] = []

    async def program() -> None:
        released = asyncio.Event()

        async def handle(event: ExchangeRateUpdated) -> None:
            if partitions[event.currency_code.encode()] == partitions[b"USD"]:
                await released.wait()
            done.append(event.currency_code)
            if len(done) == rates * len(others):
                released.set()
            if len(done) == rates * len(CODES):
                consumer.stop()

        await consumer.consume_messages(handle)

    assert others
    asyncio.run(program())
    assert set(done[: rates * len(others)]) == set(others)


def test_a_handler_that_fails_is_called_again_and_the_events_behind_it_wait(stream: Stream) -> None:
    stream.write_rates(3)
    consumer = stream.consumer(retry_delay=0.01)
    handled = Handled(consumer, 3 * len(CODES))
    failures = iter([OSError("busy"), asyncio.CancelledError(), ValueError("no")])

    async def handle(event: ExchangeRateUpdated) -> None:
        if event.currency_code == "USD" and (error := next(failures, None)):
            raise error
        await handled(event)

    consume(consumer, handle)
    assert handled.by_currency() == {code: [1, 2, 3] for code in CODES}
    assert stream.records(f"{TOPIC}.dead_letter") == []


def test_an_event_that_cannot_be_handled_becomes_a_dead_letter_and_the_next_is_handled(stream: Stream) -> None:
    stream.write_rates(2)
    consumer = stream.consumer(retry_delay=0.01, max_retries=2)
    handled = Handled(consumer, 2 * len(CODES) - 1)
    calls = 0

    async def handle(event: ExchangeRateUpdated) -> None:
        nonlocal calls
        if (event.currency_code, event.deal_base_rate) == ("USD", 1):
            calls += 1
            raise OSError("the cache is full")
        await handled(event)

    consume(consumer, handle)
    [original, *_] = [record for record in stream.records(TOPIC) if record.key == b"USD"]
    [letter] = stream.records(f"{TOPIC}.dead_letter")
    assert (calls, letter.value, letter.key) == (3, original.value, b"USD")
    assert letter.headers == {
        "dead_letter_reason": b"handler_failed",
        "dead_letter_error": b"OSError: the cache is full",
        "dead_letter_topic": f"{stream.prefix}{TOPIC}".encode(),
        "dead_letter_partition": str(original.partition).encode(),
        "dead_letter_offset": str(original.offset).encode(),
        "dead_letter_group": f"{GROUP}{stream.prefix}".encode(),
    }
    assert handled.by_currency()["USD"] == [2]
    assert stream.committed() == 2 * len(CODES)


def test_what_is_no_event_becomes_a_dead_letter_at_once(stream: Stream) -> None:
    topic = "new_data_received"
    bad = [b"\xff", b"{}", b"", json.dumps(EXAMPLES[topic] | {"data_count": -1}).encode()]
    stream.broker.produce(stream.prefix + topic, [Record(each, headers={"a": b"b"}) for each in bad])
    stream.broker.produce(stream.prefix + topic, [json.dumps(EXAMPLES[topic]).encode()])
    consumer = stream.consumer(topic)
    handled = Handled(consumer, 1)
    consume(consumer, handled)
    letters = stream.records(f"{topic}.dead_letter")
    assert handled.events == [NewDataReceived(**EXAMPLES[topic])]
    assert [letter.value for letter in letters] == bad
    assert {letter.headers["dead_letter_reason"] for letter in letters} == {b"invalid_event"}
    assert {letter.headers["a"] for letter in letters} == {b"b"}
    assert b"`data_count`" in letters[-1].headers["dead_letter_error"]


def test_an_event_whose_dead_letter_is_not_acknowledged_is_not_acknowledged(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no topic for it before the second consumer."""
    topic = "cache_invalidation"
    stream.prefix += "bare."
    stream.broker.create_topic(stream.prefix + topic)
    stream.broker.produce(stream.prefix + topic, [b"no event"])

    async def nothing(_: object) -> None:
        raise AssertionError("there is no event")

    async def program(is_done: Callable[[], object]) -> None:
        consumer = stream.consumer(topic, config={"kafka.producer_properties": {"message.timeout.ms": "500"}})
        task = asyncio.ensure_future(consumer.consume_messages(nothing))
        await asyncio.to_thread(eventually, is_done, 60)
        consumer.stop()
        await task

    asyncio.run(program(lambda: "dead letter not delivered, retrying" in caplog.text))
    assert stream.committed(topic) == 0
    stream.broker.create_topic(f"{stream.prefix}{topic}.dead_letter")
    asyncio.run(program(lambda: "event set aside" in caplog.text))
    assert stream.committed(topic) == len(stream.records(f"{topic}.dead_letter")) == 1


def test_an_exception_beyond_errors_ends_the_consumer_and_its_event_is_handled_again(stream: Stream) -> None:
    class Fault(BaseException):
        pass

    async def fail(_: object) -> None:
        raise Fault

    stream.write_rates(1)
    with pytest.raises(Fault):
        consume(stream.consumer(), fail)
    consumer = stream.consumer()
    handled = Handled(consumer, len(CODES))
    consume(consumer, handled)
    assert handled.by_currency() == {code: [1] for code in CODES}


def test_a_cancelled_consumer_commits_what_was_handled(stream: Stream) -> None:
    stream.write_rates(1)
    consumer = stream.consumer()
    handled = Handled(consumer, -1)

    async def program() -> None:
        all_handled = asyncio.Event()

        async def handle(event: ExchangeRateUpdated) -> None:
            await handled(event)
            if len(handled.events) == len(CODES):
                all_handled.set()

        task = asyncio.ensure_future(consumer.consume_messages(handle))
        await all_handled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    assert stream.committed() == len(CODES)


def test_a_stop_waits_for_the_handler_that_runs_and_begins_no_other(stream: Stream) -> None:
    stream.write_rates(5)
    consumer = stream.consumer()
    ends: list[float] = []

    async def handle(event: ExchangeRateUpdated) -> None:
        consumer.stop()
        for _ in range(1000):
            await asyncio.sleep(0)
        ends.append(event.deal_base_rate)

    consume(consumer, handle)
    assert 1 <= len(ends) <= PARTITIONS[TOPIC]
    assert stream.committed() == len(ends)


def test_a_consumer_that_was_stopped_before_consumes_nothing(stream: Stream) -> None:
    stream.write_rates(1)
    consumer = stream.consumer()
    consumer.stop()
    handled = Handled(consumer, 1)
    consume(consumer, handled)
    assert handled.events == []


@pytest.mark.parametrize("topics", [[], ["news"], "exchange_rate_updated"])
def test_topics_are_those_of_events(topics: Any) -> None:
    with pytest.raises(ValueError, match="expected a list of new_data_received, "):
        MessageConsumer(topics, "caches")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"group": each} for each in ("", None)),
        *({"max_retries": each} for each in (-1, 1.5, "3", None)),
        *({"retry_delay": each} for each in (-1, float("nan"), "3", None)),
    ],
)
def test_arguments_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ValueError, match=f"got {name} .*, expected"):
        MessageConsumer(**{"topics": [TOPIC], "group": "caches", **wrong})


async def of_two(event: object, more: object) -> None:
    """Take more than an event."""


async def of_many(event: object) -> AsyncIterator[object]:
    """Yield, as no handler does."""
    yield event


@pytest.mark.parametrize("wrong", [print, None, "x", of_many, of_two, ExchangeRateUpdated])
def test_what_cannot_be_awaited_with_an_event_is_refused_before_any_event_is_read(wrong: Any) -> None:
    """Each event would become a dead letter."""
    for handlers in (wrong, {TOPIC: wrong}):
        with pytest.raises(TypeError, match="handler"):
            consume(MessageConsumer([TOPIC], "caches"), handlers)


def test_a_topic_without_a_handler_is_refused() -> None:
    with pytest.raises(ValueError, match="no handler for cache_invalidation"):
        consume(MessageConsumer(["cache_invalidation"], "caches"), {})


# Several members, and faults.


def test_members_share_the_partitions_and_hand_over_without_repeating_what_was_committed(stream: Stream) -> None:
    """The second joins while the first handles; then the first leaves."""
    first, second = stream.consumer(), stream.consumer()
    handled = {first: Handled(first, -1), second: Handled(second, -1)}
    written = 0

    def write_until(is_done: Callable[[], object]) -> bool:
        nonlocal written
        stream.write_rates(20, written + 1)
        written += 20
        return bool(is_done())

    async def program() -> None:
        one = asyncio.ensure_future(first.consume_messages(handled[first]))
        await asyncio.to_thread(eventually, lambda: write_until(lambda: handled[first].events), 60)
        two = asyncio.ensure_future(second.consume_messages(handled[second]))
        await asyncio.to_thread(eventually, lambda: write_until(lambda: handled[second].events), 60)
        first.stop()
        await one
        total = written * len(CODES)
        await asyncio.to_thread(eventually, lambda: sum(len(each.events) for each in handled.values()) >= total, 60)
        second.stop()
        await two

    asyncio.run(program())
    for code in CODES:
        rates = handled[first].by_currency()[code] + handled[second].by_currency()[code]
        assert rates == list(range(1, written + 1))
    assert stream.committed() == written * len(CODES)


def test_a_member_without_partitions_is_one_as_well(stream: Stream) -> None:
    """And the statistics of the other show its partition."""
    topic = "cache_invalidation"
    stream.broker.produce(stream.prefix + topic, [b"no event"] * 3)
    members = [stream.consumer(topic) for _ in range(2)]

    async def handle(_: object) -> None:
        raise AssertionError

    def are_members() -> bool:
        found = [member.get_statistics() for member in members]
        partitions = [tuple(each) for one in found for each in one.partitions]
        letters = [number for one in found for number in one.dead_letters.values()]
        is_done = (partitions, letters) == ([(Partition(stream.prefix + topic, 0), 0, 0)], [3])
        return is_done and all(one.is_member for one in found)

    async def program() -> None:
        assert members[0].get_statistics() == ConsumerStatistics()
        tasks = [asyncio.ensure_future(member.consume_messages(handle)) for member in members]
        await asyncio.to_thread(eventually, are_members, 60)
        for member in members:
            member.stop()
        await asyncio.gather(*tasks)

    asyncio.run(program())


def has_committed_more(stream: Stream, before: int) -> bool:
    """Whether the group has acknowledged more events."""
    return stream.committed() > before


def lines(file: Path) -> list[str]:
    """What services have written down."""
    return file.read_text().splitlines() if file.exists() else []


def test_a_kill_acknowledges_nothing_unhandled_and_loses_nothing(stream: Stream, tmp_path: Path) -> None:
    stream.write_rates(2000)
    total, file = 2000 * len(CODES), tmp_path / "handled"
    services = [IngestingService(tmp_path / str(n), stream.broker.bootstrap, stream.prefix, file) for n in range(3)]
    with ExitStack() as running:
        for service in services:
            running.callback(service.kill)
        for service in services[:2]:
            before = stream.committed()
            service.start()
            eventually(partial(has_committed_more, stream, before), 60)
            service.kill()
            ended = {line for line in lines(file) if line.startswith("end")}
            assert before < stream.committed() <= len(ended) < total
        services[2].start()
        eventually(lambda: len({line for line in lines(file) if line.startswith("end")}) == total, 120)
        services[2].stop()
    assert stream.committed() == total
    for code in CODES:
        assert_no_gap([int(line.split()[2]) for line in lines(file) if line.startswith(f"end {code} ")])


def assert_no_gap(rates: list[int]) -> None:
    """Rates begin with 1, and each is the next, or one that was handled before the kill, from where on they repeat."""
    assert rates[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(rates))


def test_a_lost_broker_is_waited_for(own_broker: Broker) -> None:
    stream = Stream(own_broker)
    stream.write_rates(200)
    consumer = stream.consumer()
    handled = Handled(consumer, -1)

    async def program() -> None:
        half, rest = asyncio.Event(), asyncio.Event()

        async def handle(event: ExchangeRateUpdated) -> None:
            await handled(event)
            if len(handled.events) == 100 * len(CODES):
                half.set()
            if {code: max(rates) for code, rates in handled.by_currency().items()} == dict.fromkeys(CODES, 400):
                rest.set()

        task = asyncio.ensure_future(consumer.consume_messages(handle))
        await half.wait()
        await asyncio.to_thread(own_broker.kill)
        await asyncio.to_thread(own_broker.start)
        await asyncio.to_thread(stream.write_rates, 200, 201)
        await rest.wait()
        consumer.stop()
        await task

    asyncio.run(program())
    for rates in handled.by_currency().values():
        assert_no_gap([int(rate) for rate in rates])
    assert stream.committed() == 400 * len(CODES)
