"""A topic for each symbol, as some collectors write them: one group on thousands of topics of one partition."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.bench.bench import Bench, Subject, Topics, every
from tests.bench.figures import Case, Cases
from tests.bench.process import memory, processor_seconds
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

MODES = ("all", "pattern", "none")
FEEDS = 4
CREATED_AT_ONCE = 200
CREATE_SECONDS = 120.0
READY_SECONDS = 240.0


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure a sidecar on so many topics with each way to show them, and two sidecars that share them."""
    cases: Cases = {}
    for mode in options.shown:
        cases[f"{options.topics} topics, {mode}"] = _measure(bench, options, mode)
    return cases


def _measure(bench: Bench, options: argparse.Namespace, mode: str) -> Case:
    topics = bench.topics()
    names = [f"trades-EX{number % FEEDS}-S{number}.{topics.input}" for number in range(options.topics)]
    create(bench.broker.bootstrap, names)
    producer = Producer({"bootstrap.servers": bench.broker.bootstrap, "linger.ms": 50})
    send(producer, names)
    bench.progress(f"{len(names)} topics with a tick each")
    settings: dict[str, object] = {
        "input.topics": [rf"^trades-.+\.{topics.input}$"],
        "input.formats": ["cryptofeed"],
        "metrics.topics": mode,
    }
    begin = time.monotonic()
    with bench.sidecar(topics, "first", settings) as first:
        eventually(lambda: _has_read(first, len(names)), READY_SECONDS, "not all topics are read")
        case: Case = {"ready_s": [time.monotonic() - begin], "start_cpu_s": [processor_seconds(first.pid)]}
        bench.progress(f"{mode}: ready")
        case |= _page(first)
        case["idle_percent"] = [100 * _cores(first, options.seconds)]
        case |= _live(producer, first, names, options.seconds)
        case |= _shared(bench, topics, first, names, settings) if mode == options.shown[0] else {}
        case["rss_mb"] = [memory(first.pid).now / 1e6]
        case["most_mb"] = [memory(first.pid).most / 1e6]
    drop(bench.broker.bootstrap, names)
    return case


def _page(sidecar: Sidecar) -> Case:
    """Return what a page costs."""
    seconds = []
    for _ in range(5):
        begin = time.monotonic()
        page = sidecar.get("/metrics").text
        seconds.append(time.monotonic() - begin)
    lines = sum(not line.startswith("#") for line in page.splitlines())
    return {"series": [lines], "scrape_ms": [1000 * each for each in seconds]}


def _cores(sidecar: Sidecar, seconds: float) -> float:
    begin, spent = time.monotonic(), processor_seconds(sidecar.pid)
    time.sleep(seconds)
    return (processor_seconds(sidecar.pid) - spent) / (time.monotonic() - begin)


def _live(producer: Producer, sidecar: Sidecar, names: Sequence[str], seconds: float) -> Case:
    """Return what it costs when each topic gets a tick a second, and how long the last one takes to be read."""
    before, begin, spent = sidecar.batches(), time.monotonic(), processor_seconds(sidecar.pid)
    sent = 0
    for _ in every(1.0, begin + seconds):
        send(producer, names)
        sent += len(names)
    end = time.monotonic()
    eventually(lambda: sidecar.batches() - before >= sent, READY_SECONDS, "not all ticks are read")
    took, behind = time.monotonic() - begin, time.monotonic() - end
    used = processor_seconds(sidecar.pid) - spent
    return {"live_percent": [100 * used / took], "tick_us": [1e6 * used / sent], "last_tick_s": [behind]}


def _shared(bench: Bench, topics: Topics, first: Sidecar, names: Sequence[str], settings: dict[str, object]) -> Case:
    """Return how long it takes until a second sidecar has its share, and until the first has all again."""
    begin = time.monotonic()
    with bench.sidecar(topics, "second", settings) as second:
        eventually(lambda: 0 < _partitions(second) < len(names), READY_SECONDS, "nothing was handed over")
        eventually(lambda: _partitions(first) + _partitions(second) == len(names), READY_SECONDS, "some are nowhere")
        joined = time.monotonic() - begin
        bench.progress(f"shared: {_partitions(first)} and {_partitions(second)}")
        begin = time.monotonic()
        second.stop()
    eventually(lambda: _partitions(first) == len(names), READY_SECONDS, "the first has not all again")
    return {"join_s": [joined], "leave_s": [time.monotonic() - begin]}


def _partitions(sidecar: Sidecar) -> int:
    """How many partitions a sidecar that shows all topics has."""
    return len(sidecar.scrape().series("marketdata_consumer_position_offset"))


def _has_read(sidecar: Sidecar, records: int) -> bool:
    return sidecar.get("/-/ready").ok and sidecar.batches() >= records


def tick(name: str, now_ms: int) -> bytes:
    """A trade as cryptofeed's backend writes it, whose exchange and symbol are those of the topic."""
    _, exchange, symbol = name.split("-", 2)
    trade = {"side": "buy", "amount": 0.5, "price": 100.0 + now_ms % 7, "id": str(now_ms), "type": None}
    times = {"timestamp": (now_ms - 5) / 1000, "receipt_timestamp": now_ms / 1000}
    return orjson.dumps({"exchange": exchange, "symbol": symbol[:20], **trade, **times})


def send(producer: Producer, names: Iterable[str]) -> None:
    """Write a tick into each topic."""
    now_ms, failed = time.time_ns() // 1_000_000, list[str]()

    def note(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(f"{message.topic()}: {error.str()}")

    for name in names:
        producer.produce(name, tick(name, now_ms), on_delivery=note)
        producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} ticks were not written: {failed[0]}")


def create(bootstrap: str, names: Sequence[str]) -> None:
    """Create topics of one partition, and wait until they can be written to."""
    client: Any = AdminClient({"bootstrap.servers": bootstrap})
    for some in _parts(names):
        made = client.create_topics([NewTopic(name, 1, 1) for name in some], request_timeout=CREATE_SECONDS)
        for future in made.values():
            future.result()
    eventually(lambda: _led(client) >= set(names), CREATE_SECONDS, "some topics have no leader")


def _led(client: Any) -> set[str]:
    topics = client.list_topics(timeout=CREATE_SECONDS).topics
    return {name for name, topic in topics.items() if all(each.leader >= 0 for each in topic.partitions.values())}


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[begin : begin + CREATED_AT_ONCE] for begin in range(0, len(names), CREATED_AT_ONCE))


def drop(bootstrap: str, names: Sequence[str]) -> None:
    """Delete topics, so that the next case has the broker for itself."""
    client: Any = AdminClient({"bootstrap.servers": bootstrap})
    for some in _parts(names):
        for future in client.delete_topics(list(some), request_timeout=CREATE_SECONDS).values():
            future.result()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", type=int, default=2000, help="topics, of one partition each (2000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (20)")
    parser.add_argument("--shown", nargs="+", choices=MODES, default=list(MODES), help="metrics.topics (all of them)")


TOPICS = Subject("a topic for each symbol: start, cost, rebalance", _add_options, measure)
