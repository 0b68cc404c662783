"""The programs whose clients of Kafka live long, each with something to do: contracts that hold for all of them."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from exporter import BatchMonitoringProducer, BatchPerformanceMonitor
from exporter.ingestion import IngestionProducer, MessageConsumer
from tests.support.cache_service import CacheService
from tests.support.cluster import Cluster, Record
from tests.support.ingesting import SOON, TOPIC
from tests.support.ingestion_stream import RATE, Stream
from tests.support.redis import RedisServer
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

GO_ON_SECONDS = 90.0
BATCH: dict[str, Any] = {"batch_size": 2, "unique_symbols": 1, "cache_efficiency": 1.0, "timestamp_ms": 1760031213693}
FEED: dict[str, Any] = {"region": "korea", "exchange": "upbit", "request_type": "ticker"}


class Way(str):
    """Where a program connects, with the properties by which it is let in."""

    properties: Mapping[str, str]

    def __new__(cls, bootstrap: str, properties: Mapping[str, str]) -> Self:
        made = super().__new__(cls, bootstrap)
        made.properties = properties
        return made

    def config(self, **more: object) -> dict[str, object]:
        """The keys of its configuration."""
        return {"kafka.properties": dict(self.properties), **SOON, **more}


class KafkaProgram:
    """A program that runs; `go_on` gives it more to do, and returns when that is done, once."""

    def go_on(self) -> None:
        """Give it more to do, and wait until that is done."""
        raise NotImplementedError

    def finish(self) -> None:
        """End it cleanly, and see that nothing was lost."""
        raise NotImplementedError


class SidecarProgram(KafkaProgram):
    """A sidecar in a process of its own."""

    def __init__(self, deployment: Deployment, way: Way, delivery: str) -> None:
        self._deployment, self._delivery = deployment, delivery
        given: dict[str, Any] = {"kafka__bootstrap_servers": str(way), "kafka__properties": dict(way.properties)}
        self._sidecar: Sidecar = deployment.sidecar(**given, output__delivery=delivery).start()

    def go_on(self) -> None:
        """See KafkaProgram."""
        self._deployment.traffic.write(20)
        ends = self._deployment.traffic.ends()
        eventually(lambda: self._deployment.committed() == ends, GO_ON_SECONDS, self._sidecar.log[-2000:])

    def finish(self) -> None:
        """See KafkaProgram; at least once, events may be published again."""
        self._sidecar.stop()
        if self._delivery == "exactly_once":
            self._deployment.assert_told_once()
        else:
            self._deployment.eventually_visible()


class CacheProgram(KafkaProgram):
    """A cache service in a process of its own."""

    def __init__(self, stream: Stream, directory: Path, way: Way, redis: RedisServer) -> None:
        self._stream, self._redis, self._rate = stream, redis, 0
        settings = {"kafka.properties": dict(way.properties), "redis.prefix": stream.prefix}
        self._service = CacheService(directory, str(way), redis.url, stream.prefix, settings=settings)
        self._service.start()

    def go_on(self) -> None:
        """See KafkaProgram."""
        self._rate += 1
        self._stream.write_rates(1, self._rate)
        group, topic = f"cache-{self._stream.prefix}", self._stream.prefix + TOPIC
        written = len(self._stream.records(TOPIC))
        eventually(
            lambda: sum(self._stream.broker.committed(group, topic).values()) == written,
            GO_ON_SECONDS,
            self._service.log[-2000:],
        )

    def kill(self) -> None:
        """End it if it runs."""
        self._service.kill()

    def finish(self) -> None:
        """See KafkaProgram."""
        self._service.stop()
        with self._redis.client() as client:
            assert client.get("rate:USD")


class EventLoop:
    """An event loop in a thread, as that of a program."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Begin a coroutine, and return its future."""
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of a coroutine."""
        return self.start(call).result(GO_ON_SECONDS)


class MonitorProgram(KafkaProgram):
    """A monitor of the Python API."""

    def __init__(self, loop: EventLoop, cluster: Cluster, way: Way) -> None:
        self._loop, self._cluster, self._written = loop, cluster, 0
        name = uuid.uuid4().hex[:8]
        self._topic, self._events, self._errors = (
            cluster.create_topic(f"{each}-{name}") for each in ("in", "out", "err")
        )
        topics = {"input.topics": [self._topic], "output.topic": self._events, "output.error_topic": self._errors}
        group = {"input.start": "earliest", "input.group": name}
        config = way.config(**topics, **group, **{"output.commit_interval": "20ms", "output.encoding": "json"})
        self._monitor = BatchPerformanceMonitor(*FEED.values(), bootstrap_servers=str(way), config=config)
        loop.run(self._monitor.start())

    def go_on(self) -> None:
        """See KafkaProgram."""
        batch = {**FEED, "timestamp_ms": 1_760_031_213_693, "data": [{"target_currency": "KRW-BTC"}]}
        self._cluster.produce(self._topic, [json.dumps(batch).encode()])
        self._written += 1
        eventually(lambda: self._told() == self._written, GO_ON_SECONDS)

    def finish(self) -> None:
        """See KafkaProgram."""
        self._loop.run(self._monitor.stop())
        assert self._told() == self._written

    def _told(self) -> int:
        events = [json.loads(record.value) for record in self._cluster.read_all(self._events)]
        return sum(event["event_type"] == "batch_collected" for event in events)


class MonitoringProducerProgram(KafkaProgram):
    """A program that counts batches itself."""

    def __init__(self, loop: EventLoop, cluster: Cluster, way: Way) -> None:
        self._loop, self._cluster, self._sent = loop, cluster, 0
        self._topic = cluster.create_topic(f"events-{uuid.uuid4().hex[:8]}")
        self._producer = BatchMonitoringProducer(
            bootstrap_servers=str(way), topic=self._topic, timeout_seconds=GO_ON_SECONDS, config=way.config()
        )
        loop.run(self._producer.start_producer())

    def go_on(self) -> None:
        """See KafkaProgram."""
        self._loop.run(self._producer.send_batch_event(**FEED, **BATCH))
        self._sent += 1

    def finish(self) -> None:
        """See KafkaProgram; what is sent again has the same identity."""
        self._loop.run(self._producer.stop_producer())
        assert len({record.headers["ce_id"] for record in self._cluster.read_all(self._topic)}) == self._sent


class IngestingProgram(KafkaProgram):
    """A program that sends events of its ingestion."""

    def __init__(self, loop: EventLoop, stream: Stream, way: Way) -> None:
        self._loop, self._stream, self._sent = loop, stream, 0
        self._producer = IngestionProducer(
            bootstrap_servers=str(way), prefix=stream.prefix, timeout_seconds=GO_ON_SECONDS, config=way.config()
        )
        loop.run(self._producer.start())

    def go_on(self) -> None:
        """See KafkaProgram."""
        self._loop.run(self._producer.send(TOPIC, RATE))
        self._sent += 1

    def finish(self) -> None:
        """See KafkaProgram."""
        self._loop.run(self._producer.stop())
        assert len({record.headers["ce_id"] for record in self._stream.records(TOPIC)}) == self._sent


class HandlingProgram(KafkaProgram):
    """A program with handlers of events; what is no event becomes a dead letter."""

    def __init__(self, loop: EventLoop, stream: Stream, way: Way) -> None:
        self._loop, self._stream, self._written = loop, stream, 0
        self._handled: list[float] = []
        self._consumer = MessageConsumer(
            [TOPIC], f"handling-{stream.prefix}", bootstrap_servers=str(way), prefix=stream.prefix, config=way.config()
        )
        self._running = loop.start(self._consumer.consume_messages(self._handle))

    async def _handle(self, event: Any) -> None:
        self._handled.append(event.deal_base_rate)

    def go_on(self) -> None:
        """See KafkaProgram."""
        self._written += 1
        self._stream.write_rates(1, self._written)
        self._stream.broker.produce(self._stream.prefix + TOPIC, [Record(b"no event")])
        eventually(lambda: self._written in self._handled, GO_ON_SECONDS)
        eventually(lambda: self._dead_letters() >= self._written, GO_ON_SECONDS)

    def _dead_letters(self) -> int:
        """How many are there; one may be repeated."""
        letters = self._stream.records(f"{TOPIC}.dead_letter")
        return len({(each.headers["dead_letter_partition"], each.headers["dead_letter_offset"]) for each in letters})

    def finish(self) -> None:
        """See KafkaProgram."""
        self._consumer.stop()
        self._running.result(GO_ON_SECONDS)
        assert set(self._handled) == set(range(1, self._written + 1))
        assert self._dead_letters() == self._written


class KafkaPrograms:
    """All of them, each with topics of its own; ended with the context."""

    def __init__(self, cluster: Cluster, directory: Path, redis: RedisServer) -> None:
        self._cluster, self._directory, self._redis = cluster, directory, redis
        self._open = ExitStack()
        self._programs: list[KafkaProgram] = []

    def __enter__(self) -> Self:
        self._loop = self._open.enter_context(EventLoop())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self, way: Way) -> None:
        """Start one of each kind that goes this way."""
        for delivery in ("exactly_once", "at_least_once"):
            directory = self._directory / f"sidecar-{len(self._programs)}"
            deployment = self._open.enter_context(Deployment(self._cluster, directory).create_outputs())
            self._programs.append(SidecarProgram(deployment, way, delivery))
        cache = CacheProgram(self._stream(), self._directory / f"cache-{len(self._programs)}", way, self._redis)
        self._open.callback(cache.kill)
        self._programs += [
            cache,
            MonitorProgram(self._loop, self._cluster, way),
            MonitoringProducerProgram(self._loop, self._cluster, way),
            IngestingProgram(self._loop, self._stream(), way),
            HandlingProgram(self._loop, self._stream(), way),
        ]

    def go_on(self) -> None:
        """Give all more to do at once, and wait until that is done; AssertionError names those that do not go on."""
        with ThreadPoolExecutor(len(self._programs)) as pool:
            turns = [(program, pool.submit(program.go_on)) for program in self._programs]
        stuck = {type(program).__name__: error for program, turn in turns if (error := turn.exception())}
        assert not stuck, stuck

    def finish(self) -> None:
        """End all cleanly, and see that nothing was lost."""
        for program in self._programs:
            program.finish()

    def _stream(self) -> Stream:
        return Stream(self._cluster)
