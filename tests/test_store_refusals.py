"""What a real Redis refuses for now is written later, once; what it refuses for good is dropped and counted."""

from __future__ import annotations

import logging
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis, RedisError
from redis._parsers.base import BaseParser

from exporter.redis.refusals import A_CLUSTER, error_text
from exporter.runtime.foreign_text import printable
from exporter.store import keyspace
from exporter.store import redis_store as store
from exporter.store.refusals import is_final
from exporter.store.store import StoreUnavailable
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.relay import Relay
from tests.support.store import PLACE, UPBIT, Replica, listed, replicas, update
from tests.support.waiting import eventually

parsed: Any = BaseParser.parse_error
PASSWORD = "pa/ss+w@rd:%=="


class Trouble(NamedTuple):
    """How a server is made to refuse, and restored, and the text of its refusal."""

    begin: Callable[[RedisServer, Any], object]
    end: Callable[[RedisServer, Any], object]
    text: str


def _fail_to_save(server: RedisServer, client: Any) -> None:
    (server.directory / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def _save(server: RedisServer, client: Any) -> None:
    (server.directory / "dump.rdb").rmdir()
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")


def _run_a_script_for_ever(server: RedisServer, client: Any) -> None:
    client.config_set("busy-reply-threshold", 1)

    def run() -> None:
        with server.client() as other, suppress(RedisError):
            other.eval("while true do end", 0)

    def is_busy() -> bool:
        try:
            return not client.ping()
        except RedisError as error:
            return "BUSY" in str(error)

    threading.Thread(target=run, daemon=True).start()
    eventually(is_busy)


def _kill_the_script(_: RedisServer, client: Any) -> None:
    def is_killed() -> bool:
        with suppress(RedisError):
            return bool(client.script_kill())
        return False

    eventually(is_killed)


def _load_slowly(server: RedisServer, client: Any) -> None:
    client.execute_command("DEBUG", "POPULATE", 20_000)
    client.config_set("loading-process-events-interval-bytes", 1024)
    client.config_set("key-load-delay", 1000)

    def reload() -> None:
        with server.client() as other:
            other.execute_command("DEBUG", "RELOAD")

    threading.Thread(target=reload, daemon=True).start()
    eventually(lambda: client.info("persistence")["loading"])


def _load_quickly(_: RedisServer, client: Any) -> None:
    client.config_set("key-load-delay", 0)


def _set(name: str, bad: str | int, good: str | int, text: str) -> Trouble:
    return Trouble(
        lambda _, client: client.config_set(name, bad), lambda _, client: client.config_set(name, good), text
    )


def _change_user(*rules: str) -> Callable[[RedisServer, Any], object]:
    def change(_: RedisServer, client: Any) -> None:
        client.execute_command("ACL", "SETUSER", "sidecar", *rules)
        client.client_kill_filter(_type="normal", skipme=True)

    return change


def _forbid(rule: str, text: str) -> Trouble:
    return Trouble(_change_user(rule), _change_user("+@all", "~*", "on"), text)


TROUBLES = {
    "a replica": Trouble(
        lambda _, client: client.replicaof("127.0.0.1", free_port()),
        lambda _, client: client.replicaof("NO", "ONE"),
        "READONLY",
    ),
    "a replica without its master": Trouble(
        lambda _, client: [
            client.config_set("replica-serve-stale-data", "no"),
            client.replicaof("127.0.0.1", free_port()),
        ],
        lambda _, client: client.replicaof("NO", "ONE"),
        "MASTERDOWN",
    ),
    "too few replicas": _set("min-replicas-to-write", 1, 0, "NOREPLICAS"),
    "full": _set("maxmemory", 1, 0, "OOM"),
    "unable to save": Trouble(_fail_to_save, _save, "MISCONF"),
    "loading": Trouble(_load_slowly, _load_quickly, "LOADING"),
    "busy": Trouble(_run_a_script_for_ever, _kill_the_script, "BUSY|Timeout"),
    "another password": Trouble(_change_user("resetpass", ">another"), _change_user(f">{PASSWORD}"), "WRONGPASS"),
    "a user who is off": _forbid("off", "WRONGPASS"),
    "no EVAL": _forbid("-eval", "NOPERM"),
    "no HSET": _forbid("-hset", "can't run this command|no permissions to run"),  # Redis 7, Redis 8
    "no PFADD": _forbid("-pfadd", "NOPERM"),
    "no keys": _forbid("resetkeys", "NOPERM"),
    "no new clients": Trouble(
        lambda _, client: [
            client.config_set("maxclients", 1),
            client.client_kill_filter(_type="normal", skipme=True),
        ],
        lambda _, client: client.config_set("maxclients", 100),
        "max number of clients",
    ),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that knows the sidecar, and may be made to refuse."""
    server = RedisServer(tmp_path / "redis", "--enable-debug-command", "yes").start()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "sidecar", "on", f">{PASSWORD}", "~*", "+@all")
    yield server
    server.kill()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    """A connection that remains whatever happens to others."""
    with Redis(port=server.port, decode_responses=True, single_connection_client=True) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., Replica]]:
    """A function that starts a replica and waits until it works."""
    with replicas() as make:

        def start(url: str, **options: str) -> Replica:
            replica = make(url, **options).start()
            eventually(lambda: replica.metric("up") == 1)
            return replica

        yield start


@pytest.mark.parametrize("name", TROUBLES)
def test_temporarily_refused_records_are_kept_and_counted_once_the_server_recovers(
    server: RedisServer, admin: Any, start: Callable[..., Replica], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All ten records come, each once; meanwhile the store reports that it does not work, and why."""
    trouble = TROUBLES[name]
    caplog.set_level(logging.INFO, logger="exporter.store")
    replica = start(server.url, username="sidecar", password=PASSWORD)
    trouble.begin(server, admin)
    for offset in range(10):
        replica.store.offer([update(offset, "KRW-BTC")])
    eventually(lambda: "symbol counts cannot be written to Redis" in caplog.text)
    assert (replica.metric("up"), replica.dropped) == (0, 0)
    assert any(word in caplog.text for word in trouble.text.split("|")), caplog.text
    assert PASSWORD not in caplog.text
    trouble.end(server, admin)
    eventually(lambda: replica.metric("up") == 1)
    replica.stop()
    assert (replica.counts(), replica.dropped) == ({"KRW-BTC": 10}, 0)
    assert admin.pfcount(f"marketdata:{{{UPBIT}}}:distinct:0") == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


Step = tuple[int, bool]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8))
def test_temporary_refusals_lose_and_double_nothing(willing: RedisServer, steps: list[Step]) -> None:
    """Records in groups of any size, some offered again, to a server that refuses at times."""
    replica, offset = Replica(willing.url, prefix=uuid4().hex).start(), 0
    with willing.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "RECORDS_PER_WRITE", 1)
        for records, is_refusing in steps:
            client.config_set("min-replicas-to-write", int(is_refusing))
            for first, end in ((max(0, offset - 5), offset), (offset, offset + records)):
                replica.store.offer([update(number, f"S{number % 3}") for number in range(first, end)])
            offset += records
        client.config_set("min-replicas-to-write", 0)
        eventually(lambda: replica.metric("queue") == 0)
        replica.stop()
    assert replica.counts() == Counter(f"S{number % 3}" for number in range(offset))
    assert replica.dropped == 0


@pytest.fixture(scope="module")
def willing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that lives through several tests."""
    server = RedisServer(tmp_path_factory.mktemp("willing")).start()
    yield server
    server.kill()


# Failover.


class Pair(NamedTuple):
    """A master and its replica behind one address."""

    address: Relay
    master: RedisServer
    replica: RedisServer

    @property
    def url(self) -> str:
        """The address, as the store is given it."""
        return f"redis://127.0.0.1:{self.address.port}/0"

    def fail_over(self) -> None:
        """Swap the two; connections stay where they are, new ones come to the new master."""
        with self.master.client() as old, self.replica.client() as new:
            eventually(
                lambda: old.info("replication")["slave0"]["offset"] == old.info("replication")["master_repl_offset"]
            )
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", self.replica.port)
        self.address.target = self.replica.port


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair whose replica is in step."""
    master = RedisServer(tmp_path / "master", "--repl-diskless-sync-delay", "0").start()
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(master.port)).start()
    with replica.client() as client:
        eventually(lambda: client.info("replication")["master_link_status"] == "up")
    with Relay(master.port) as address:
        yield Pair(address, master, replica)
    for one in (master, replica):
        one.kill()


def test_a_failover_behind_one_address_is_followed_and_costs_no_record(
    pair: Pair, start: Callable[..., Replica]
) -> None:
    replica = start(pair.url)
    replica.store.offer([update(0, "KRW-BTC")])
    eventually(lambda: replica.counts() == {"KRW-BTC": 1})
    pair.fail_over()
    for offset in range(1, 11):
        replica.store.offer([update(offset, "KRW-BTC")])
    eventually(lambda: replica.counts() == {"KRW-BTC": 11})
    replica.stop()
    assert (replica.metric("up"), replica.dropped) == (1, 0)
    assert replica.metric("failures_total", operation="write") == 1


def test_an_idle_store_does_not_stay_with_a_demoted_server(
    pair: Pair, start: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica answers PING; the store notices all the same, and does not wait for the next ping to be due."""
    monkeypatch.setattr(store, "PING_SECONDS", 0.01)
    replica = start(pair.url)
    before = pair.address.accepted
    pair.fail_over()
    monkeypatch.setattr(store, "PING_SECONDS", 3600.0)
    eventually(lambda: replica.metric("failures_total", operation="ping"))
    eventually(lambda: pair.address.accepted > before and replica.metric("up") == 1)


def test_a_ping_leaves_nothing_behind(willing: RedisServer, start: Callable[..., Replica]) -> None:
    replica = start(willing.url, prefix="pinged")
    assert (replica.metric("operations_total", operation="ping") or 0) > 0
    with willing.client() as client:
        assert list(client.scan_iter("pinged:*")) == []


# A cluster.


def test_a_node_of_a_cluster_that_is_used_as_a_server_is_reported(
    redis_cluster: tuple[RedisServer, RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """In the log of the writer and in the errors of readers, not by the number of a slot alone."""
    replica = Replica(redis_cluster[0].url).start()
    replica.store.offer([update(0, "KRW-BTC")])
    eventually(lambda: f"symbol counts cannot be written to Redis, retrying: {A_CLUSTER}" in caplog.text)
    replica.stop()
    with pytest.raises(StoreUnavailable, match=rf"^{A_CLUSTER} \(MOVED \d+ 127.0.0.1:\d+\)$"):
        listed(Replica(redis_cluster[0].url).store)


@pytest.mark.parametrize(
    "answer",
    ["MOVED 10494 10.0.0.1:6379", "ASK 7 10.0.0.1:6379", "CROSSSLOT Keys don't hash to the same slot"],
)
def test_every_redirection_of_a_cluster_names_the_key_to_set(answer: str) -> None:
    error = parsed(answer)
    assert (error_text(error), is_final(error)) == (f"{A_CLUSTER} ({answer})", False)


# Final refusals.


@pytest.mark.parametrize(
    ("answer", "is_dropped"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", True),
        ("ERR Error running script (call to f_1): @user_script:2: WRONGTYPE Operation against a key", True),
        ("ERR Error running script (call to f_1): @user_script:4: @user_script: 4: -READONLY You can't write", False),
        ("ERR hash value is not an integer script: 1, on @user_script:6.", True),
        ("HALFWAY ERR increment or decrement would overflow", True),
        ("INVALIDOBJ Corrupted HLL object detected", True),
        ("ERR unknown command 'EVAL', with args beginning with: 'local", False),
        ("READONLY You can't write against a read only replica.", False),
        ("NOREPLICAS Not enough good replicas to write.", False),
        ("UNHEARDOF of", False),
    ],
)
def test_only_errors_of_the_stored_data_are_final(answer: str, is_dropped: bool) -> None:
    """Also with the texts of Redis 6."""
    assert is_final(parsed(answer)) is is_dropped


def test_records_refused_within_a_delta_are_dropped_and_counted_and_the_others_arrive(
    willing: RedisServer,
    start: Callable[..., Replica],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The fence has moved: offered again the record would pass for counted. The server works, so nothing waits."""
    monkeypatch.setattr(keyspace, "RECORDS_PER_DELTA", 1)
    with willing.client() as client:
        client.hset(f"middle:{{{PLACE}}}:messages", keyspace.name(UPBIT, "KRW-BTC"), "no number")
    replica = start(willing.url, prefix="middle")
    replica.store.offer([update(offset, symbol) for offset, symbol in enumerate(["KRW-BTC", "KRW-ETH"] * 3)])
    replica.stop()
    with willing.client() as client:
        assert client.hget(f"middle:{{{PLACE}}}:messages", keyspace.name(UPBIT, "KRW-ETH")) == "3"
    assert replica.dropped == 3
    assert replica.metric("circuit_state", state="closed") == 1
    assert [record.message for record in caplog.records] == [
        "symbol counts dropped, Redis will never accept them: HALFWAY ERR hash value is not an integer"
    ]


@given(st.text(max_size=500), st.integers(1, 300))
def test_foreign_texts_are_one_printable_bounded_line(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    assert printable(line, limit) == line


class OddServer(socketserver.ThreadingTCPServer):
    """A server that gives the same answer to each command, as a context."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(ConnectionError):
                    while line := self.rfile.readline():
                        self.wfile.write(answer if line.startswith(b"*") else b"")

        super().__init__(("127.0.0.1", 0), Handler)
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_close(self) -> None:
        """See BaseServer; its context ends with this."""
        self.shutdown()
        super().server_close()


def test_a_server_with_meaningless_replies_opens_the_circuit() -> None:
    """It answers every command with OK: nothing counts as written, and requests pause."""
    with OddServer(b"+OK\r\n") as odd:
        replica = Replica(f"redis://127.0.0.1:{odd.port}").start()
        replica.store.offer([update(0, "KRW-BTC")])
        eventually(lambda: replica.metric("circuit_state", state="closed") == 0)
        assert (replica.metric("up"), replica.dropped) == (0, 0)
        replica.store.stop(0.0)
