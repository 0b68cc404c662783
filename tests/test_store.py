"""The store, on a real Redis."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.model import FeedKey, Partition, SymbolUpdate
from exporter.performance.circuit import Circuit, CircuitState
from exporter.redis import connection
from exporter.store import redis_store as store
from exporter.store.client import StoreMetrics
from exporter.store.redis_store import RedisStore
from exporter.store.store import NullStore, Store, StoreUnavailable, SymbolStatistics
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.store import BITHUMB, PLACE, UPBIT, Replica, listed, replicas, update, written
from tests.support.waiting import eventually

Maker = Callable[..., Replica]


@pytest.fixture
def replica() -> Iterator[Maker]:
    """A factory of replicas, which are stopped at the end."""
    with replicas() as make:
        yield make


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.kill()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


# What all stores have in common.


@pytest.fixture(params=["null", "redis", "no server"])
def any_store(request: pytest.FixtureRequest, replica: Maker) -> Store:
    """Each kind of store."""
    if request.param == "null":
        return NullStore()
    url = f"redis://127.0.0.1:{free_port()}/0"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    return replica(url, queue=10).store


def test_a_store_accepts_any_offer(any_store: Store) -> None:
    """More than fits, nothing, text that is no text, before and after its life: offering neither blocks nor raises."""
    any_store.offer([update(0, "KRW-BTC")])
    any_store.start()
    for offset in range(1000):
        any_store.offer([update(offset, "KRW-BTC", "\ud800", "")])
        any_store.add(UPBIT, 1_000, ["KRW-BTC"])
    any_store.offer([])
    any_store.stop(0.0)
    any_store.offer([update(1000, "KRW-BTC")])
    any_store.stop(0.0)


def test_a_store_that_never_started_stops(any_store: Store) -> None:
    any_store.stop(0.0)


def test_the_null_store_keeps_nothing() -> None:
    null = NullStore()
    null.add(UPBIT, 1_000, ["KRW-BTC"])
    assert listed(null) == []
    assert null.distinct(UPBIT) is None


def test_creating_a_store_opens_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        Replica(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        with pytest.raises(BlockingIOError):
            listener.accept()


# What is counted.


def test_messages_are_counted_by_feed_and_symbol_with_the_newest_stamp(redis_server: RedisServer) -> None:
    replica = written(
        Replica(redis_server.url),
        update(0, "KRW-BTC", "KRW-ETH", "KRW-BTC", stamp=3_000),
        update(1, "KRW-BTC", stamp=2_000),
        update(2, "KRW-BTC", feed=BITHUMB, stamp=5_000),
    )
    upbit = [SymbolStatistics(UPBIT, "KRW-BTC", 3, 3_000), SymbolStatistics(UPBIT, "KRW-ETH", 1, 3_000)]
    bithumb = [SymbolStatistics(BITHUMB, "KRW-BTC", 1, 5_000)]
    assert listed(replica.store) == bithumb + upbit
    assert listed(replica.store, UPBIT) == upbit
    assert listed(replica.store, FeedKey("korea", "upbit", "trade")) == []


def test_an_older_stamp_in_a_later_write_does_not_replace_a_newer_one(redis_server: RedisServer) -> None:
    written(Replica(redis_server.url), update(0, "KRW-BTC", stamp=3_000))
    later = written(Replica(redis_server.url), update(1, "KRW-BTC", stamp=2_000))
    assert listed(later.store) == [SymbolStatistics(UPBIT, "KRW-BTC", 2, 3_000)]


def test_a_requested_feed_is_not_a_pattern(redis_server: RedisServer) -> None:
    replica = Replica(redis_server.url)
    star, range_ = FeedKey("*", "u[p]bit", "t?cker"), FeedKey("korea", "upbit", "ticker")
    written(replica, update(0, "A", feed=star), update(1, "B", feed=range_))
    assert replica.counts(star) == {"A": 1}


def test_replicas_add_up(redis_server: RedisServer) -> None:
    """The same feed on two partitions, each read by another process."""
    written(Replica(redis_server.url), update(0, "KRW-BTC", "KRW-ETH", stamp=9_000))
    other = written(Replica(redis_server.url), update(0, "KRW-BTC", partition=Partition(PLACE.topic, 1), stamp=1_000))
    assert listed(other.store) == [
        SymbolStatistics(UPBIT, "KRW-BTC", 2, 9_000),
        SymbolStatistics(UPBIT, "KRW-ETH", 1, 9_000),
    ]


def test_prefixes_are_kept_apart(redis_server: RedisServer) -> None:
    written(Replica(redis_server.url, prefix="one"), update(0, "KRW-BTC"))
    assert Replica(redis_server.url, prefix="two").counts() == {}


def test_large_groups_are_counted_completely(redis_server: RedisServer) -> None:
    """More records than one call carries, and more symbols than one page of a scan."""
    rounds = [update(offset, *(f"S{(offset + i) % 1500}" for i in range(10))) for offset in range(1500)]
    replica = written(Replica(redis_server.url), *rounds)
    assert replica.counts() == {f"S{i}": 10 for i in range(1500)}


def test_a_symbol_without_an_encoding_does_not_affect_others(redis_server: RedisServer) -> None:
    assert written(Replica(redis_server.url), update(0, "\ud800", "KRW-BTC")).counts() == {"?": 1, "KRW-BTC": 1}


# Once.

Walk = list[tuple[int, int]]
walks = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=12)
RECORDS = [update(2 * number, f"S{number % 7}", f"S{number % 5}") for number in range(200)]


def rounds(walk: Walk) -> Iterator[Sequence[SymbolUpdate]]:
    """A reader's way through RECORDS: step back a bit, read some, and in the end read what is left."""
    position = 0
    for back, ahead in walk:
        start = max(0, position - back)
        yield RECORDS[start : start + ahead]
        position = max(position, start + ahead)
    yield RECORDS[position:]


@settings(max_examples=30)
@given(st.lists(walks, min_size=2, max_size=3))
def test_a_record_counts_once_however_often_and_by_any_replica_it_is_offered(
    server_url: str, walks: list[Walk]
) -> None:
    """Several readers of one partition at once, each with other borders between its groups and with rewinds."""
    prefix = uuid4().hex
    replicas = [Replica(server_url, prefix=prefix).start() for _ in walks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "RECORDS_PER_WRITE", 1)  # so that the borders of rounds become borders of writes
        for replica, walk in zip(replicas, walks, strict=True):
            for one_round in rounds(walk):
                replica.store.offer(one_round)
        for replica in replicas:
            replica.stop()
    assert replicas[0].counts() == Counter(symbol for record in RECORDS for symbol in record.symbols)
    assert [replica.dropped for replica in replicas] == [0] * len(walks)


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that lives through all examples of a property."""
    server = RedisServer(tmp_path_factory.mktemp("store")).start()
    yield server.url
    server.kill()


def test_a_write_whose_answer_was_lost_counts_once(own_server: RedisServer, replica: Maker) -> None:
    """The server is stopped during the call, and answers after the time-out."""
    made = replica(own_server.url).start()
    eventually(lambda: made.metric("up") == 1)
    own_server.freeze()
    made.store.offer([update(0, "KRW-BTC")])
    eventually(lambda: made.metric("failures_total", operation="write"))
    own_server.resume()
    eventually(lambda: made.metric("up") == 1)
    made.stop()
    assert (made.counts(), made.dropped) == ({"KRW-BTC": 1}, 0)


def test_a_write_that_failed_halfway_does_not_count_twice(redis_server: RedisServer) -> None:
    """A gap is the price."""
    seen = "marketdata:{ticker-data.korea/0}:seen"
    with redis_server.client() as client:
        client.set(seen, "no sorted set")
        written(Replica(redis_server.url), update(0, "KRW-BTC", "KRW-ETH"))
        client.delete(seen)
    again = written(Replica(redis_server.url), update(0, "KRW-BTC", "KRW-ETH"), update(1, "KRW-BTC", "KRW-ETH"))
    assert again.counts() == {"KRW-BTC": 2, "KRW-ETH": 1}


def test_each_addition_that_does_not_come_from_kafka_counts(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    """Four threads in each of two processes, which take turns as often as they can."""
    before = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(before))
    sys.setswitchinterval(1e-6)
    replicas = [Replica(redis_server.url, queue=10_000).start() for _ in range(2)]

    def add(replica: Replica) -> None:
        for _ in range(1000):
            replica.store.add(UPBIT, 1_000, iter(["KRW-BTC", "KRW-ETH"]))

    threads = [threading.Thread(target=add, args=[replica]) for replica in replicas for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for replica in replicas:
        replica.stop()
    assert replicas[0].counts() == {"KRW-BTC": 8000, "KRW-ETH": 8000}


# Distinct symbols.


def test_distinct_symbols_are_estimated_over_this_window_and_the_one_before(redis_server: RedisServer) -> None:
    now_ms = int(time.time() * 1000)
    window_ms = now_ms * 2 // 9  # now is in the middle of a window, so that none ends before the estimate is read
    replica = written(
        Replica(redis_server.url, window=window_ms / 1000),
        update(0, *(f"S{number}" for number in range(1000)), stamp=now_ms),
        update(1, *(f"S{number}" for number in range(500, 1500)), stamp=now_ms - window_ms),
        update(2, *(f"OLD{number}" for number in range(1000)), stamp=now_ms - 3 * window_ms),
        update(3, "S1", feed=BITHUMB, stamp=now_ms),
    )
    assert replica.store.distinct(UPBIT) == pytest.approx(1500, rel=0.05)
    assert replica.store.distinct(BITHUMB) == 1
    assert replica.store.distinct(FeedKey("korea", "coinone", "ticker")) == 0


# What Redis holds does not grow without bound.


def test_every_key_expires(redis_server: RedisServer) -> None:
    replica = Replica(redis_server.url, ttl=600.0, window=120.0).start()
    replica.store.add(UPBIT, 1_000, ["KRW-BTC"])
    written_keys = {
        "marketdata:{ticker-data.korea/0}:messages",
        "marketdata:{ticker-data.korea/0}:seen",
        "marketdata:{korea:upbit:ticker}:distinct:0",
        "marketdata:partitions",
    }
    replica.store.offer([update(0, "KRW-BTC")])
    replica.stop()
    with redis_server.client() as client:
        ttls = {key: client.ttl(key) for key in client.scan_iter()}
    assert written_keys <= ttls.keys()
    assert len(ttls) == len(written_keys) + 2
    assert all(0 < seconds <= (240 if ":distinct:" in key else 600) for key, seconds in ttls.items())


def test_a_symbol_is_removed_when_it_was_in_no_batch_for_the_ttl(redis_server: RedisServer) -> None:
    ttl_ms = 600_000
    replica = written(
        Replica(redis_server.url, ttl=ttl_ms / 1000),
        update(0, "GONE", "KEPT", "LATE", stamp=1_000),
        update(1, "KEPT", stamp=1_000 + ttl_ms),
        update(2, "LATE", "NEW", stamp=1_001 + ttl_ms),
    )
    assert replica.counts() == {"KEPT": 2, "LATE": 2, "NEW": 1}
    with redis_server.client() as client:
        assert client.hlen(f"marketdata:{{{PLACE}}}:messages") == 3 + 1  # and the fence
        assert client.zcard(f"marketdata:{{{PLACE}}}:seen") == 3


def test_a_stamp_from_the_future_drops_nothing(redis_server: RedisServer) -> None:
    now_ms = int(time.time() * 1000)
    far = update(1, "FUTURE", stamp=now_ms + 10**10)
    assert written(Replica(redis_server.url), update(0, "NOW", stamp=now_ms), far).counts() == {"NOW": 1, "FUTURE": 1}


def test_partitions_that_are_silent_for_the_ttl_leave_the_index(redis_server: RedisServer) -> None:
    replica = Replica(redis_server.url)
    with redis_server.client() as client:
        client.zadd("marketdata:partitions", {"forgotten/0": 1})
        written(replica, update(0, "KRW-BTC"))
        assert client.zrange("marketdata:partitions", 0, -1) == [str(PLACE)]


# Trouble.


def test_an_outage_loses_only_what_the_queue_does_not_hold(own_server: RedisServer, replica: Maker) -> None:
    """Killed and brought back: offers continue, the circuit opens and closes, all that was not dropped arrives."""
    made = replica(own_server.url, queue=5).start()
    eventually(lambda: made.metric("up") == 1)
    own_server.kill()
    for offset in range(100):
        made.store.offer([update(offset, "KRW-BTC")])
    eventually(lambda: made.metric("up") == 0 and made.metric("circuit_state", state="closed") == 0)
    assert made.dropped >= 90
    own_server.start()
    eventually(lambda: made.metric("circuit_state", state="closed") == 1)
    made.store.offer([update(100, "KRW-ETH")])
    eventually(lambda: made.counts() == {"KRW-BTC": 100 - made.dropped, "KRW-ETH": 1})
    assert made.metric("up") == 1
    assert made.metric("circuit_state", state="open") == made.metric("circuit_state", state="half_open") == 0


def test_an_idle_store_notices_that_redis_is_back(
    own_server: RedisServer, replica: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is offered; the pings are hurried on."""
    monkeypatch.setattr(store, "PING_SECONDS", 0.01)
    made = replica(own_server.url).start()
    eventually(lambda: made.metric("up") == 1)
    own_server.kill()
    eventually(lambda: made.metric("circuit_state", state="open") == 1)
    own_server.start()
    eventually(lambda: made.metric("up") == 1)


def test_a_server_that_never_answers_costs_only_its_own_updates(black_hole: str, replica: Maker) -> None:
    made = replica(black_hole, failures=1, queue=5).start()
    for offset in range(100):
        made.store.offer([update(offset, "KRW-BTC")])
    assert made.dropped >= 90
    eventually(lambda: made.metric("circuit_state", state="closed") == 0)
    made.stop()
    eventually(lambda: made.dropped == 100)
    assert made.metric("failures_total", operation="ping") == made.metric("operations_total", operation="ping")


def test_reading_raises_when_redis_does_not_answer(black_hole: str) -> None:
    replica = Replica(black_hole)
    with pytest.raises(StoreUnavailable, match=r"^Timeout reading from socket$"):
        listed(replica.store)
    with pytest.raises(StoreUnavailable, match=r"^Timeout reading from socket$"):
        replica.store.distinct(UPBIT)
    assert replica.metric("failures_total", operation="read") == 2


def test_a_call_that_fails_is_not_repeated_by_the_driver() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with pytest.raises(StoreUnavailable):
            Replica(f"redis://127.0.0.1:{listener.getsockname()[1]}/0").store.distinct(UPBIT)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_reads_fail_at_once_while_the_circuit_is_open(redis_server: RedisServer) -> None:
    """No request is sent."""
    breaker = Circuit(failures=1)
    breaker.failed(time.monotonic())
    registry = CollectorRegistry()
    refused = RedisStore(RedisConfig(url=redis_server.url), StoreMetrics(registry), breaker)
    with pytest.raises(StoreUnavailable, match="paused after repeated failures"):
        listed(refused)
    assert registry.get_sample_value("marketdata_redis_operations_total", {"operation": "read"}) == 0


def test_a_read_has_a_time_limit(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one of many short steps; the time for it is set to nothing."""
    replica = written(Replica(redis_server.url), update(0, "KRW-BTC"))
    monkeypatch.setattr(connection, "OPERATION_SECONDS", -1.0)
    with pytest.raises(StoreUnavailable, match="Timeout"):
        listed(replica.store)


def test_records_that_redis_refuses_are_dropped_and_counted_and_the_others_arrive(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("marketdata:{ticker-data.korea/0}:messages", "no hash")
    replica = Replica(redis_server.url).start()
    other = Partition(PLACE.topic, 1)
    replica.store.offer([update(0, "KRW-BTC"), update(1, "KRW-BTC"), update(0, "KRW-ETH", partition=other)])
    replica.stop()
    assert replica.dropped == 2
    assert replica.metric("failures_total", operation="write") == 1
    with redis_server.client() as client:
        assert client.hgetall("marketdata:{ticker-data.korea/1}:messages") == {
            "": "1",
            "korea\0upbit\0ticker\0KRW-ETH": "1",
        }


# Limits, stopping, secrets, series.


def test_a_full_queue_drops_whole_groups_and_counts_their_records(replica: Maker) -> None:
    made = replica("redis://127.0.0.1:1/0", queue=2)
    for _ in range(4):
        made.store.offer([update(0, "KRW-BTC"), update(1, "KRW-BTC"), update(2, "KRW-BTC")])
    assert made.metric("queue") == 2
    assert made.dropped == 6


def test_the_queue_is_limited_in_messages_too(replica: Maker) -> None:
    made = replica("redis://127.0.0.1:1/0")
    large = update(0, *["KRW-BTC"] * store.MESSAGES_WAITING)
    made.store.offer([large])
    made.store.offer([update(1, "KRW-BTC")])
    assert made.metric("queue") == 1
    assert made.dropped == 1


def test_written_groups_make_room(redis_server: RedisServer, replica: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one round at a time, many go through, and each at once: no ping comes to the rescue."""
    monkeypatch.setattr(store, "MESSAGES_WAITING", 1)
    monkeypatch.setattr(store, "PING_SECONDS", 3600.0)
    made = replica(redis_server.url).start()
    for offset in range(10):
        made.store.offer([update(offset, "KRW-BTC")])
        eventually(lambda: made.metric("queue") == 0)
    made.stop()
    assert (made.counts(), made.dropped) == ({"KRW-BTC": 10}, 0)


def test_stopping_writes_the_queue(redis_server: RedisServer) -> None:
    replica = Replica(redis_server.url)
    for offset in range(900):
        replica.store.offer([update(offset, "KRW-BTC")])
    replica.start().stop()
    assert replica.counts() == {"KRW-BTC": 900}
    assert (replica.dropped, replica.metric("queue")) == (0, 0)


def test_stopping_does_not_wait_while_the_circuit_is_open() -> None:
    """What cannot be written is dropped and counted long before the deadline."""
    replica = Replica(f"redis://127.0.0.1:{free_port()}/0").start()
    for offset in range(900):
        replica.store.offer([update(offset, "KRW-BTC")])
    threading.Thread(target=replica.store.stop, args=[3600.0], daemon=True).start()
    eventually(lambda: (replica.dropped, replica.metric("queue")) == (900, 0))


def test_stopping_ends_at_the_deadline(black_hole: str) -> None:
    """Even while the circuit is closed."""
    replica = Replica(black_hole, failures=1_000_000).start()
    replica.store.offer([update(0, "KRW-BTC")])
    replica.store.stop(0.0)
    eventually(lambda: replica.dropped == 1)


def test_what_is_offered_after_the_end_is_counted_as_dropped(redis_server: RedisServer) -> None:
    replica = written(Replica(redis_server.url))
    replica.store.offer([update(0, "KRW-BTC")])
    assert replica.dropped == 1


def test_passwords_do_not_show(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the log nor in errors, whether the server refuses the password or the URL makes no sense."""
    caplog.set_level(logging.DEBUG)
    password = uuid4().hex
    url = redis_server.url.replace("redis://", f"redis://collector:{password}@")
    replica = Replica(url, failures=1).start()
    eventually(lambda: "cannot be written" in caplog.text)
    replica.stop()
    with pytest.raises(StoreUnavailable) as refused:
        listed(Replica(url).store)
    with pytest.raises(ValueError, match="URL") as misread:
        Replica(f"redis://:{password}@localhost:{password}")
    shown = [line for error in (refused, misread) for line in traceback.format_exception(error.value)]
    assert password not in "".join([caplog.text, *shown])


def test_an_outage_and_its_end_are_logged_once_each(
    own_server: RedisServer, replica: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter.store")
    own_server.stop()
    made = replica(own_server.url).start()
    made.store.offer([update(0, "KRW-BTC")])
    eventually(lambda: (made.metric("failures_total", operation="write") or 0) > 10)
    own_server.start()
    eventually(lambda: made.metric("up") == 1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_all_series_exist_from_the_start() -> None:
    registry = CollectorRegistry()
    StoreMetrics(registry)
    found: dict[tuple[str, ...], float] = {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_sum"))
    }
    operations: dict[tuple[str, ...], float] = {
        (f"marketdata_redis_{name}", operation): 0
        for name in ("operations_total", "failures_total", "operation_seconds_count")
        for operation in ("ping", "read", "write")
    }
    circuit: dict[tuple[str, ...], float] = {
        ("marketdata_redis_circuit_state", state): int(state == "closed") for state in CircuitState
    }
    single: dict[tuple[str, ...], float] = {
        (f"marketdata_redis_{name}",): 0 for name in ("up", "queue", "dropped_records_total", "skipped_entries_total")
    }
    assert found == operations | circuit | single
