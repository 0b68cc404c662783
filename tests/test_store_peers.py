"""A Redis that drips, never ends, talks nonsense or holds what others wrote costs symbols, and nothing else."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import Config, RedisConfig
from exporter.redis import connection
from exporter.store import keyspace
from exporter.store.store import StoreUnavailable
from exporter.tools.check import services
from exporter.tools.check.model import Level
from tests.support.peers import HTTP_FLOODS, REDIS_DRIPS, REDIS_FLOODS, REDIS_ODD, Peer, Talk, redis
from tests.support.redis import RedisServer
from tests.support.sidecar import Deployment
from tests.support.store import BITHUMB, UPBIT, Replica, listed, update, written
from tests.support.waiting import eventually

TALKS = (
    {f"dripping {name}": talk for name, talk in REDIS_DRIPS.items()}
    | {f"endless {name}": talk for name, talk in REDIS_FLOODS.items()}
    | {"HTTP": HTTP_FLOODS["body"]}
)
any_talk = pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test can wait for."""
    monkeypatch.setattr(connection, "OPERATION_SECONDS", 0.25)


def url(peer: Peer) -> str:
    """Its address as one of a Redis."""
    return f"redis://{peer.place}/0"


@any_talk
@pytest.mark.usefixtures("hurry")
def test_reading_an_endless_reply_is_an_error_and_takes_no_memory(talk: Talk) -> None:
    with Peer(talk) as peer:
        replica = Replica(url(peer))
        tracemalloc.start()
        try:
            with pytest.raises(StoreUnavailable):
                listed(replica.store)
            # Of nested lists, which take the most.
            assert tracemalloc.get_traced_memory()[1] < 20 * connection.REPLY_BYTES
        finally:
            tracemalloc.stop()
        with pytest.raises(StoreUnavailable):
            replica.store.distinct(UPBIT)
        eventually(lambda: not peer.open)


@any_talk
@pytest.mark.usefixtures("hurry")
def test_writes_with_endless_replies_fail_and_are_repeated_until_the_store_stops(talk: Talk) -> None:
    with Peer(talk) as peer:
        replica = Replica(url(peer), failures=3).start()
        replica.store.offer([update(0, "KRW-BTC")])
        eventually(lambda: (replica.metric("failures_total", operation="write") or 0) > 1, 20)
        replica.stop()
        assert replica.dropped == 1
        eventually(lambda: not peer.open)


@pytest.mark.parametrize("reply", REDIS_ODD, ids=repr)
def test_a_malformed_reply_ends_no_thread_and_is_store_unavailable(reply: bytes) -> None:
    with Peer(redis(reply)) as peer:
        replica = Replica(url(peer), failures=3).start()
        replica.store.offer([update(0, "KRW-BTC")])
        eventually(lambda: (replica.metric("operations_total", operation="write") or 0) > 0)
        for ask in (lambda: listed(replica.store), lambda: replica.store.distinct(UPBIT)):
            with suppress(StoreUnavailable):
                ask()
        assert replica.is_alive
        replica.stop()
        (finding,) = services.redis(Config(redis=RedisConfig(url=url(peer))))
        assert finding.text.isprintable()


@any_talk
@pytest.mark.usefixtures("hurry")
def test_check_says_in_one_finding_that_it_never_ends(talk: Talk) -> None:
    with Peer(talk) as peer:
        (finding,) = services.redis(Config(redis=RedisConfig(url=url(peer))))
    assert finding.level is Level.FAIL


def test_foreign_entries_are_left_out_and_counted_and_take_nothing_away(redis_server: RedisServer) -> None:
    replica = written(Replica(redis_server.url), update(0, "KRW-BTC", "KRW-BTC"), update(1, "KRW-ETH", feed=BITHUMB))
    messages, seen = (f"marketdata:{{ticker-data.korea/0}}:{kind}" for kind in ("messages", "seen"))
    good = "korea\0upbit\0ticker\0KRW-"
    with redis_server.client() as client:
        names = (
            "plain",
            "a\0b",
            b"\xff\0\0\0x",
            f"{good}A",
            f"{good}B",
            f"{good}C",
            f"{good}D",
            f"{good}E",
            f"{good}F",
        )
        values = ("1", "1", "1", "-1", "x", "1.5", "", "9" * 400, "9223372036854775808")
        foreign = dict(zip(names, values, strict=True))
        client.hset(messages, mapping=foreign)
        client.zadd(seen, {f"{good}A": float("inf"), f"{good}B": -1, f"{good}C": 0.5, "plain": 1, b"\xff": 2})
        partitions = ["x", "x/", "/1", "a b/1", b"\xff/0", "../0/0", "x/1/2", "wrong.messages/0", "wrong.seen/0"]
        client.zadd("marketdata:partitions", dict.fromkeys(partitions, 1e15))
        client.set("marketdata:{wrong.messages/0}:messages", "no hash")
        client.lpush("marketdata:{wrong.seen/0}:seen", "no sorted set")
    assert replica.counts() == {"KRW-BTC": 2, "KRW-ETH": 1}
    assert replica.counts(BITHUMB) == {"KRW-ETH": 1}
    assert (replica.metric("skipped_entries_total") or 0) > len(foreign) + 4 + 7 + 2
    assert replica.metric("failures_total", operation="read") == 0


@given(st.binary() | st.floats() | st.none() | st.integers())
def test_a_number_is_not_negative_and_has_64_bits(value: object) -> None:
    number = keyspace.number(value)
    assert number is None or 0 <= number < 2**63


@given(st.binary())
def test_every_valid_name_can_be_parsed(text: bytes) -> None:
    if keyspace.is_name(text):
        assert len(keyspace.parsed(text)) == 2


@pytest.mark.hostile
@pytest.mark.parametrize("talk", [REDIS_DRIPS["bulk"], REDIS_DRIPS["list"], REDIS_FLOODS["list"]])
def test_a_sidecar_reads_and_publishes_beside_such_a_redis_and_stops_in_order(
    deployment: Deployment, talk: Talk
) -> None:
    """`stop` requires exit code 0."""
    deployment.traffic.write(100)
    with Peer(talk) as peer:
        sidecar = deployment.sidecar(redis__url=url(peer)).start()
        deployment.eventually_committed()
        eventually(lambda: sidecar.scrape().total("marketdata_redis_failures_total") > 0, 40)
        assert sidecar.get("/api/v1/symbols").status_code == 503
        sidecar.stop()
