"""Monitors inside a program; Kafka and Redis are real."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from socket import socket
from typing import Any

import pytest
import requests
from confluent_kafka import KafkaException

import exporter.api.monitor
from exporter import BatchMonitoringProducer, BatchPerformanceMonitor, ConfigError
from exporter.model import FeedKey
from tests.support.captures import MADE_UP, capture
from tests.support.cluster import Record
from tests.support.events import read_event
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.sidecar import Scrape
from tests.support.waiting import eventually

UPBIT: dict[str, Any] = {"region": "korea", "exchange": "upbit", "request_type": "ticker"}
STAMP_MS = 1_760_031_213_693
MADE_UP_FEEDS = ("korea:beta:orderbook", "korea:beta:trade", "korea:alpha:ticker")
RECORDED_FEEDS = ("korea:upbit:orderbook", "korea:upbit:trade", "korea:bithumb:ticker")


class Desk:
    """Topics of one test, and monitors of them."""

    def __init__(self, broker: Broker, topic: Callable[..., str]) -> None:
        self.broker = broker
        self.input, self.events, self.errors = topic("ticker-data.korea", 2), topic("events"), topic("errors")

    def monitor(
        self, feed: str = "korea:upbit:ticker", settings: Mapping[str, object] | None = None, **arguments: Any
    ) -> BatchPerformanceMonitor:
        """A monitor of the feed that is not started yet."""
        config = {
            "kafka.consumer_properties": {"fetch.wait.max.ms": "20"},
            "input": {"topics": [self.input], "group": f"{self.input}-{feed}"},
            "output": {"topic": self.events, "error_topic": self.errors, "commit_interval": "20ms"},
            **(settings or {}),
        }
        named = {"bootstrap_servers": self.broker.bootstrap, "config": config, **FeedKey(*feed.split(":"))._asdict()}
        return BatchPerformanceMonitor(**{**named, **arguments})

    def write(self, *values: object) -> None:
        """Write batches."""
        self.broker.produce(self.input, [json.dumps(value).encode() for value in values])

    def sent(self, event_type: str) -> list[tuple[Record, dict[str, Any]]]:
        """The events of a type, as records and as values."""
        events = [(record, read_event(record)) for record in self.broker.read_all(self.events)]
        return [(record, event) for record, event in events if event["event_type"] == event_type]


@pytest.fixture
def desk(broker: Broker, topic: Callable[..., str]) -> Desk:
    """Topics of this test's own."""
    return Desk(broker, topic)


def batch(*symbols: str) -> dict[str, Any]:
    """A batch about these symbols."""
    return {**UPBIT, "timestamp_ms": STAMP_MS, "data": [{"target_currency": symbol} for symbol in symbols]}


def scrape(monitor: BatchPerformanceMonitor) -> Scrape:
    """The metrics of the monitor."""
    return Scrape(requests.get(f"http://127.0.0.1:{monitor.port}/metrics", timeout=10).text)


def batches(monitor: BatchPerformanceMonitor) -> int:
    """How many batches the monitor has counted, as of now."""
    rows = requests.get(f"http://127.0.0.1:{monitor.port}/api/v1/feeds", timeout=10).json()["data"]
    return sum(int(row["batches"]) for row in rows)


async def counted(monitor: BatchPerformanceMonitor, number: int) -> None:
    """Return once the monitor has counted so many batches."""
    await asyncio.to_thread(eventually, lambda: batches(monitor) >= number, 20)


@pytest.mark.captures
@pytest.mark.parametrize(
    ("names", "feeds"),
    [((MADE_UP,), MADE_UP_FEEDS), (("upbit", "bithumb"), RECORDED_FEEDS)],
    ids=[MADE_UP, "recorded"],
)
def test_three_monitors_in_one_process_count_their_own_feeds_exactly(
    desk: Desk, redis_server: RedisServer, names: Sequence[str], feeds: Sequence[str]
) -> None:
    """On their pages, in events of batches and in the summaries of their ends."""
    values = [record.value for name in names for record in capture(name).records]
    truth = {feed: exact for name in names for feed, exact in capture(name).truth.items() if feed in feeds}

    async def program() -> dict[str, Scrape]:
        async with AsyncExitStack() as running:
            monitors = {feed: desk.monitor(feed, redis_url=redis_server.url) for feed in feeds}
            for monitor in monitors.values():
                await monitor.start()
                running.push_async_callback(monitor.stop)
            await asyncio.to_thread(desk.write, *values)
            await asyncio.gather(*(counted(monitor, truth[feed].batches) for feed, monitor in monitors.items()))
            assert len({monitor.port for monitor in monitors.values()}) == 3
            return {feed: await asyncio.to_thread(scrape, monitor) for feed, monitor in monitors.items()}

    scrapes = asyncio.run(program())
    for feed, exact in truth.items():
        stats_sent = [event["stats"] for _, event in desk.sent("batch_collected") if _feed(event) == feed]
        assert len(stats_sent) == exact.batches
        assert sum(stats["batch_size"] for stats in stats_sent) == exact.messages
        [summary] = [event["aggregated_stats"] for _, event in desk.sent("performance_summary") if _feed(event) == feed]
        assert (summary["total_batches"], summary["total_messages"]) == (exact.batches, exact.messages)
        assert scrapes[feed].total("marketdata_batches_total") == exact.batches
        assert scrapes[feed].total("marketdata_records_filtered_total") == len(values) - exact.batches
    with redis_server.client() as client:
        assert client.keys(f"*{feeds[-1]}*distinct*")


def _feed(event: dict[str, Any]) -> str:
    return str(FeedKey(event["region"], event["exchange"], event["request_type"]))


def test_a_batch_written_once_the_monitor_has_started_is_counted(desk: Desk) -> None:
    """And one that was written before is not: a new group begins at the end."""

    async def program() -> None:
        monitor = desk.monitor()
        desk.write(batch("OLD"))
        await monitor.start()
        desk.write(batch("A", "B", "A"))
        await counted(monitor, 1)
        await monitor.stop()

    asyncio.run(program())
    [(_, event)] = desk.sent("batch_collected")
    assert event["stats"] == {
        "batch_size": 3,
        "unique_symbols": 2,
        "cache_efficiency": 0.5,
        "collection_timestamp_ms": STAMP_MS,
    }


def test_a_restarted_monitor_continues_where_it_stopped(desk: Desk) -> None:
    async def program() -> None:
        monitor = desk.monitor()
        for size in (1, 3, 5):
            await monitor.start()
            desk.write(batch(*"ABCDEF"[:size]))
            await counted(monitor, 1 if size == 1 else 2)
            await monitor.stop()
            desk.write(batch(*"ABCDEF"[: size + 1]))

    asyncio.run(program())
    assert sorted(event["stats"]["batch_size"] for _, event in desk.sent("batch_collected")) == [1, 2, 3, 4, 5]


def test_events_of_a_program_look_like_those_of_its_monitor(desk: Desk) -> None:
    """Except for source and time."""

    async def program() -> None:
        monitor = desk.monitor(instance="monitor")
        await monitor.start()
        desk.write(batch("A", "B"))
        await counted(monitor, 1)
        await monitor.stop()
        async with BatchMonitoringProducer(bootstrap_servers=desk.broker.bootstrap, topic=desk.events) as producer:
            [(_, summary)] = desk.sent("performance_summary")
            counts: dict[str, Any] = {"batch_size": 2, "unique_symbols": 2, "cache_efficiency": 0.5}
            await producer.send_batch_event(**UPBIT, **counts, timestamp_ms=STAMP_MS)
            await producer.send_summary_event(**UPBIT, **summary["aggregated_stats"], summary_period_seconds=60)

    asyncio.run(program())
    for event_type in ("batch_collected", "performance_summary"):
        (by_monitor, its), (by_program, ours) = desk.sent(event_type)
        assert its | {"event_timestamp_utc": ""} == ours | {"event_timestamp_utc": ""}
        assert by_monitor.key == by_program.key
        assert by_monitor.headers.keys() == by_program.headers.keys()
        for name in ("content-type", "ce_type", "ce_specversion"):
            assert by_monitor.headers[name] == by_program.headers[name]
        assert by_monitor.value[:10] == by_program.value[:10], "another schema"


def test_summaries_have_the_configured_interval(desk: Desk) -> None:
    async def program() -> None:
        monitor = desk.monitor(summary_interval=1)
        await monitor.start()
        desk.write(batch("A"))
        await asyncio.to_thread(eventually, lambda: len(desk.sent("performance_summary")) >= 2, 20)
        await monitor.stop()

    asyncio.run(program())
    summaries = [event for _, event in desk.sent("performance_summary")]
    assert {summary["summary_period_seconds"] for summary in summaries} == {1}
    assert sum(summary["aggregated_stats"]["total_batches"] for summary in summaries) == 1


def test_an_unreachable_broker_does_not_block_the_start_and_readiness_names_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter.api.monitor, "JOIN_SECONDS", 0.2)

    async def program() -> requests.Response:
        nowhere = f"127.0.0.1:{free_port()}"
        monitor = desk.monitor(bootstrap_servers=nowhere, settings={"output.delivery": "at_least_once"})
        await monitor.start()
        answer = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{monitor.port}/-/ready", timeout=10)
        await monitor.stop()
        return answer

    answer = asyncio.run(program())
    assert answer.status_code == 503
    assert "no broker has answered yet" in answer.text


def test_an_address_in_use_is_an_exception(desk: Desk) -> None:
    async def program() -> None:
        with socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            monitor = desk.monitor(listen_address=f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(OSError, match="in use"):
                await monitor.start()

    asyncio.run(program())


def test_a_fenced_member_reports_it_and_keeps_trying(desk: Desk) -> None:
    """Its consumer is replaced, and the monitor ends only by `stop`."""

    async def program() -> None:
        member = {"kafka.consumer_properties": {"group.instance.id": "one"}}
        first, second = (desk.monitor(instance=name, settings=member) for name in ("first", "second"))
        await first.start()
        await second.start()

        def is_reported() -> bool:
            answers = [requests.get(f"http://127.0.0.1:{one.port}/-/ready", timeout=5).text for one in (first, second)]
            return any("fenced" in answer for answer in answers)

        await asyncio.to_thread(eventually, is_reported, 20)
        await asyncio.gather(first.stop(), second.stop())

    asyncio.run(program())


def test_a_client_that_cannot_be_created_is_an_exception(desk: Desk) -> None:
    """Wrong properties are found in the configuration, except those of a token, which is not requested there."""
    fetched = {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc"}

    async def program() -> None:
        monitor = desk.monitor(settings={"kafka.properties": {"security.protocol": "SASL_SSL", **fetched}})
        for call in (monitor.start, monitor.wait, monitor.stop):
            with pytest.raises(KafkaException, match=r"token\.endpoint\.url"):
                await call()

    asyncio.run(program())


def test_waiting_for_a_monitor_can_be_cancelled(desk: Desk) -> None:
    """The monitor keeps running."""

    async def program() -> None:
        monitor = desk.monitor()
        await monitor.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(monitor.wait(), 0.01)
        with pytest.raises(RuntimeError, match="started already"):
            await monitor.start()
        desk.write(batch("A"))
        await counted(monitor, 1)
        await monitor.stop()
        await monitor.wait()

    asyncio.run(program())
    assert len(desk.sent("batch_collected")) == 1


def test_a_monitor_that_was_never_started_is_stopped() -> None:
    async def program() -> None:
        monitor = BatchPerformanceMonitor(**UPBIT)
        await monitor.stop()
        await monitor.wait()
        assert monitor.port == 0

    asyncio.run(program())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"region": "ko:rea"}, "region"),
        ({"exchange": None}, "exchange"),
        ({"request_type": "*"}, "request_type"),
        ({"summary_interval": 0}, "output.summary_interval"),
        ({"redis_url": "http://localhost"}, "redis.url"),
        ({"redis_url": "redis://me@localhost", "redis_username": "you"}, "redis.username"),
        ({"redis_url": "redis://:one@localhost", "redis_password": "two"}, "redis.password"),
        ({"listen_address": "here"}, "web.listen_address"),
        ({"instance": ""}, "instance"),
        ({"config": {"outptu": {}}}, "outptu"),
    ],
)
def test_a_wrong_argument_raises_at_once(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BatchPerformanceMonitor(**{**UPBIT, **arguments})
