"""The store on a single Redis, on a master that real Sentinels name, and on a real Redis Cluster."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.config.redis_place import SentinelConfig
from exporter.config.schema import Config, RedisConfig
from exporter.config.tls_files import TlsFiles
from exporter.ingestion.cache.actions import Lifetimes
from exporter.ingestion.cache.redis_cache import CacheUnavailable, RedisCache
from exporter.instrument import MetricsCollector
from exporter.model import Partition
from exporter.performance import CacheManager
from exporter.preflight import mistakes_of_cache
from exporter.store.store import StoreUnavailable, SymbolStatistics
from exporter.tools.check import services
from exporter.tools.check.model import Finding, Level
from tests.support.documents import DOCUMENTS
from tests.support.process import free_port
from tests.support.redis import ClusterOfThree, Deployment, RedisServer, SentinelServer, Tls, WithSentinels
from tests.support.secure import Authority
from tests.support.store import BITHUMB, PLACE, UPBIT, Replica, listed, replicas, update, written
from tests.support.waiting import eventually

Maker = Callable[..., Replica]
KINDS: dict[str, type[WithSentinels] | type[ClusterOfThree]] = {"sentinel": WithSentinels, "cluster": ClusterOfThree}
PARTITIONS = [Partition(PLACE.topic, number) for number in range(40)]  # in all parts of a cluster


class Single:
    """A single server as a deployment."""

    def __init__(self, server: RedisServer) -> None:
        self.master = self.replica = server
        self.nodes = [server]
        self.keys: dict[str, Any] = {"url": server.url}

    def flush(self) -> None:
        """See Deployment."""
        with self.master.client() as client:
            client.flushall()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """A deployment of each kind, for tests that let its servers live."""
    with ExitStack() as running:
        yield {kind: make(tmp_path_factory.mktemp(kind)).start(running) for kind, make in KINDS.items()}


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """The same with TLS: servers and clients show certificates of an authority of their own."""
    with ExitStack() as running:
        tls = Tls.made_in(tmp_path_factory.mktemp("authority"))
        yield {
            f"{kind} with TLS": make(tmp_path_factory.mktemp(kind), tls).start(running) for kind, make in KINDS.items()
        }


@pytest.fixture(params=["single", "sentinel", "cluster", "sentinel with TLS", "cluster with TLS"])
def deployment(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    shared: dict[str, Deployment],
    encrypted: dict[str, Deployment],
) -> Deployment:
    """Each kind of Redis, empty."""
    found: Deployment = (shared | encrypted | {"single": Single(redis_server)})[request.param]
    found.flush()
    return found


@pytest.fixture
def replica() -> Iterator[Maker]:
    """A factory of replicas, which are stopped at the end."""
    with replicas() as make:
        yield make


def made_collector() -> MetricsCollector:
    """A collector with a registry of its own."""
    return MetricsCollector(registry=CollectorRegistry(), strict=True)


def judged(**keys: Any) -> list[Finding]:
    """What `check` finds about a Redis."""
    return list(services.redis(Config(redis=RedisConfig(**keys))))


def seen(one: Replica) -> dict[str, int]:
    """The counts, none while Redis is away."""
    try:
        return one.counts()
    except StoreUnavailable:
        return {}


# What holds for each kind.


def test_partitions_in_all_slots_add_up_and_are_read_by_page_and_by_name(deployment: Deployment) -> None:
    one = written(
        Replica(**deployment.keys),
        *(update(0, "KRW-BTC", f"KRW-{each.number}", partition=each, stamp=each.number) for each in PARTITIONS),
        update(1, "KRW-BTC", feed=BITHUMB, stamp=5),
    )
    counts = {"KRW-BTC": len(PARTITIONS)} | {f"KRW-{each.number}": 1 for each in PARTITIONS}
    assert one.counts(UPBIT) == counts
    assert listed(one.store, BITHUMB) == [SymbolStatistics(BITHUMB, "KRW-BTC", 1, 5)]
    assert one.store.lookup(UPBIT, ["KRW-BTC", "KRW-7"]) == [
        SymbolStatistics(UPBIT, "KRW-BTC", len(PARTITIONS), 39),
        SymbolStatistics(UPBIT, "KRW-7", 1, 7),
    ]
    assert (one.dropped, one.metric("failures_total", operation="write")) == (0, 0)


def test_distinct_symbols_are_estimated(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.store.redis_store.now_ms", lambda: 1_000)
    one = written(Replica(**deployment.keys), *(update(n, f"KRW-{n % 30}", partition=PARTITIONS[n]) for n in range(40)))
    assert one.store.distinct(UPBIT) == 30


def test_a_record_that_is_offered_again_counts_once(deployment: Deployment) -> None:
    written(Replica(**deployment.keys), *(update(offset, "KRW-BTC") for offset in range(5)))
    other = written(Replica(**deployment.keys), *(update(offset, "KRW-BTC") for offset in range(8)))
    assert other.counts() == {"KRW-BTC": 8}


def test_check_finds_each_kind_in_order_and_leaves_nothing_in_it(deployment: Deployment) -> None:
    assert [finding.level for finding in judged(**deployment.keys)] == [Level.OK]
    with deployment.master.client() as client:
        assert client.dbsize() == 0


def test_a_wrong_password_is_named_and_not_shown(deployment: Deployment) -> None:
    (finding,) = judged(**deployment.keys, username="me", password="sesame")
    assert (finding.level, "WRONGPASS" in str(finding) or "invalid username" in str(finding)) == (Level.FAIL, True)
    assert "sesame" not in str(finding)
    assert "redis.username" in finding.advice


def test_the_rights_in_the_documents_suffice_for_a_cluster(shared: dict[str, Deployment]) -> None:
    rules, more = (
        re.search(r"^ACL SETUSER marketdata on >PASSWORD (.*)$", DOCUMENTS, re.MULTILINE),
        "+cluster|slots +command",
    )
    assert rules is not None
    assert f"`{more}`" in DOCUMENTS
    deployment = shared["cluster"]
    deployment.flush()
    user: dict[str, Any] = {"username": "marketdata", "password": "se/s+me"}
    for node in deployment.nodes:
        with node.client() as client:
            client.execute_command("ACL", "SETUSER", "marketdata", "on", ">se/s+me", *rules[1].split(), *more.split())
    assert [each.level for each in judged(**deployment.keys, **user)] == [Level.OK]
    one = written(Replica(**deployment.keys, **user), *(update(0, "KRW-BTC", partition=each) for each in PARTITIONS))
    assert one.counts() == {"KRW-BTC": len(PARTITIONS)}
    assert one.store.distinct(UPBIT) == 0
    with deployment.nodes[2].client() as client:
        client.execute_command("ACL", "SETUSER", "marketdata", "-hscan")
    assert "the user may not run HSCAN: NOPERM" in judged(**deployment.keys, **user)[0].text


# A failover.


def cut_off(deployment: Deployment) -> None:
    """Freeze the replica, and let the master send it nothing more, not even into a buffer."""
    deployment.replica.freeze()
    with deployment.master.client() as client:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "replica") == 1


@pytest.mark.parametrize(("kind", "has_tls"), [("sentinel", False), ("sentinel", True), ("cluster", True)])
def test_a_failover_under_load_loses_nothing_even_of_what_the_replica_did_not_have(
    kind: str, has_tls: bool, tmp_path: Path, replica: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """The replica hangs while the master accepts updates, and the master dies with them."""
    caplog.set_level(logging.WARNING)
    with ExitStack() as running:
        tls = Tls.made_in(tmp_path / "authority") if has_tls else None
        deployment = KINDS[kind](tmp_path, tls).start(running)
        one = replica(**deployment.keys).start()
        offered = iter(range(1_000_000))

        def offer() -> int:
            one.store.offer([update(next(offered), "KRW-BTC")])
            offset = next(offered)
            one.store.offer([update(offset, "KRW-ETH", partition=PLACE)])
            return offset

        offer()
        eventually(lambda: seen(one) == {"KRW-BTC": 1, "KRW-ETH": 1})
        cut_off(deployment)
        for _ in range(50):
            offer()
        eventually(lambda: seen(one) == {"KRW-BTC": 51, "KRW-ETH": 51})
        deployment.master.kill()
        deployment.replica.resume()
        while one.metric("failures_total", operation="write") == 0:
            offer()
            eventually(lambda: one.metric("queue") == 0 or one.metric("failures_total", operation="write"), 20)
        with deployment.replica.client() as client:
            eventually(lambda: client.info("replication")["role"] == "master", 30)
        last = offer() + 1
        eventually(lambda: seen(one) == {"KRW-BTC": last // 2, "KRW-ETH": last // 2}, 30)
        one.stop()
    assert one.dropped == 0
    assert "Redis lost symbol counts that it had accepted, writing them again" in caplog.text


@pytest.mark.chaos  # six servers, and three failovers
@pytest.mark.parametrize("has_tls", [False, True])
def test_all_parts_of_a_cluster_may_fail_over_one_after_the_other_and_every_count_is_right(
    has_tls: bool, tmp_path: Path, replica: Maker
) -> None:
    """Six nodes; each primary is killed while updates of all slots are written, and its replica takes its place."""
    with ExitStack() as running:
        tls = Tls.made_in(tmp_path / "authority") if has_tls else None
        deployment = ClusterOfThree(tmp_path, tls, is_paired=True).start(running)
        one = replica(**deployment.keys).start()
        rounds = 0

        def offer() -> None:
            nonlocal rounds
            one.store.offer([update(rounds, "KRW-BTC", f"KRW-{each.number}", partition=each) for each in PARTITIONS])
            rounds += 1

        def has_taken_over(client: Any) -> bool:
            offer()
            return bool(client.info("replication")["role"] == "master")

        def is_right() -> bool:
            return seen(one) == {"KRW-BTC": rounds * len(PARTITIONS)} | {f"KRW-{n.number}": rounds for n in PARTITIONS}

        offer()
        eventually(is_right)
        for primary, successor in deployment.pairs:
            primary.kill()
            offer()
            with successor.client() as client:
                eventually(partial(has_taken_over, client), 30)
            eventually(is_right, 30)
        one.stop()
    assert one.dropped == 0


def test_a_partition_without_news_is_written_again_after_a_failover(tmp_path: Path, replica: Maker) -> None:
    with ExitStack() as running:
        deployment = WithSentinels(tmp_path).start(running)
        one = replica(**deployment.keys).start()
        cut_off(deployment)
        one.store.offer([update(0, "KRW-BTC", "KRW-ETH")])
        one.store.offer([update(1, "KRW-BTC")])
        eventually(lambda: seen(one) == {"KRW-BTC": 2, "KRW-ETH": 1})
        deployment.master.kill()
        deployment.replica.resume()
        with deployment.replica.client() as client:
            eventually(lambda: client.info("replication")["role"] == "master", 30)
        one.store.offer([update(0, "KRW-BTC", partition=PARTITIONS[1])])  # else the next ping would notice
        eventually(lambda: seen(one) == {"KRW-BTC": 3, "KRW-ETH": 1}, 30)


# Sentinels.


def test_the_master_is_given_by_a_key_as_well(shared: dict[str, Deployment]) -> None:
    url = shared["sentinel"].keys["url"].replace("+sentinel", "").replace("/mymaster/0", "/0")
    (finding,) = judged(url=url, sentinel=SentinelConfig(master="mymaster"))
    assert finding.level is Level.OK


def test_sentinels_that_do_not_help_are_named(shared: dict[str, Deployment], redis_server: RedisServer) -> None:
    good, dead = shared["sentinel"].keys["url"], free_port()
    (finding,) = judged(url=good.replace("mymaster", "other"))
    assert (finding.level, "other is not known" in finding.text) == (Level.FAIL, True)
    (ok, warning) = judged(url=good.replace("/mymaster", f",127.0.0.1:{dead}/mymaster"))
    assert (ok.level, warning.level, f"127.0.0.1:{dead}" in warning.text) == (Level.OK, Level.WARN, True)
    (finding,) = judged(url=f"redis+sentinel://127.0.0.1:{redis_server.port},127.0.0.1:{dead}/mymaster")
    assert "unknown command" in finding.text.lower()
    assert f"127.0.0.1:{dead}" in finding.text


def test_a_password_of_the_sentinels_is_theirs_alone(tmp_path: Path, redis_server: RedisServer) -> None:
    sentinel = SentinelServer(tmp_path / "sentinel", redis_server, password="se/s+me").start()
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"
    try:
        (without,) = judged(url=url)
        assert (without.level, "Authentication required" in without.text) == (Level.FAIL, True)
        (given,) = judged(url=url, sentinel=SentinelConfig(password="se/s+me"))
        assert given.level is Level.OK
    finally:
        sentinel.kill()


def test_caches_follow_sentinels_to_the_next_master(tmp_path: Path) -> None:
    """What a cache service uses; it does not retry by itself, its events wait."""

    async def story(deployment: WithSentinels) -> None:
        caches = RedisCache(RedisConfig(**deployment.keys), Lifetimes())
        await caches.ping()
        deployment.master.kill()
        with deployment.replica.client() as client:
            await asyncio.to_thread(eventually, lambda: client.info("replication")["role"] == "master", 30)
        await asyncio.to_thread(eventually, lambda: deployment.names(deployment.replica), 30)
        with suppress(CacheUnavailable):  # on the connection to the dead one
            await caches.ping()
        await caches.ping()
        await caches.close()

    with ExitStack() as running:
        asyncio.run(story(WithSentinels(tmp_path).start(running)))


def test_caches_name_what_is_wrong_with_sentinels(redis_server: RedisServer) -> None:
    async def story() -> None:
        caches = RedisCache(RedisConfig(url=f"redis+sentinel://127.0.0.1:{redis_server.port}/mymaster"), Lifetimes())
        with pytest.raises(CacheUnavailable, match=rf"no Sentinel names .*:{redis_server.port}: unknown command"):
            await caches.ping()
        await caches.close()

    asyncio.run(story())


def test_caches_refuse_a_cluster(shared: dict[str, Deployment]) -> None:
    with pytest.raises(ValueError, match="Cluster"):
        RedisCache(RedisConfig(**shared["cluster"].keys), Lifetimes())
    found = list(mistakes_of_cache(Config(redis=RedisConfig(**shared["cluster"].keys))))
    assert [(each.paths, "got a Redis Cluster" in each.message) for each in found] == [(("redis.url",), True)]


# TLS.


async def pinged(config: RedisConfig) -> None:
    """Ping by the client of cache services."""
    caches = RedisCache(config, Lifetimes())
    try:
        await caches.ping()
    finally:
        await caches.close()


def test_sentinels_and_nodes_of_another_authority_are_refused_and_named(
    encrypted: dict[str, Deployment], tmp_path: Path
) -> None:
    """Also by the clients of cache services, and of caches of programs, which have the same keys."""
    other = TlsFiles(ca_file=str(Authority(tmp_path / "other").certificate))
    for deployment in encrypted.values():
        (finding,) = judged(url=deployment.keys["url"], tls=other)
        assert (finding.level, "certificate verify failed" in finding.text) == (Level.FAIL, True)
    keys = encrypted["sentinel with TLS"].keys
    asyncio.run(pinged(RedisConfig(**keys)))
    with pytest.raises(CacheUnavailable, match="certificate verify failed"):
        asyncio.run(pinged(RedisConfig(url=keys["url"], tls=other)))


def test_caches_of_programs_have_the_places_of_the_store(encrypted: dict[str, Deployment]) -> None:
    """What one has loaded, another finds in Redis."""
    keys = encrypted["sentinel with TLS"].keys
    url, files = keys["url"], {name: getattr(keys["tls"], name) for name in ("ca_file", "cert_file", "key_file")}
    by_keys = {"url": url.replace("+sentinel", "").replace("/mymaster/0", "/0"), "sentinel": {"master": "mymaster"}}
    for given in ({"redis_url": url, "redis": {"tls": files}}, {"redis": by_keys | {"tls": files}}):
        with CacheManager("prices", redis_timeout=5, collector=made_collector(), **given) as first:
            first.set("KRW-BTC", 7)
        with CacheManager("prices", redis_timeout=5, collector=made_collector(), **given) as second:
            assert second.get("KRW-BTC") == 7
        assert asyncio.run(read_in_event_loop("KRW-BTC", given)) == 7


async def read_in_event_loop(key: str, given: dict[str, Any]) -> Any:
    """Read by a cache that has nothing in memory."""
    async with CacheManager("prices", redis_timeout=5, collector=made_collector(), **given) as cache:
        return await cache.aget(key)


def test_a_cache_names_what_is_wrong_with_its_redis(shared: dict[str, Deployment]) -> None:
    for given, words in (
        ({"redis_url": shared["cluster"].keys["url"]}, "Cluster"),
        ({"redis": {"url": "redis://redis", "queue": 5}}, "no key 'queue', expected password, sentinel, tls, url"),
        ({"redis": {"username": "me"}}, "got no url"),
        ({"redis": {"url": "redis://redis", "tls": {"ca_file": "ca.pem"}}}, "redis.tls.ca_file: goes with a URL"),
        ({"redis_url": "redis://one,two"}, "redis.url: has several hosts"),
        ({"redis_url": "http://redis"}, "redis.url"),
    ):
        with pytest.raises(ValueError, match=words):
            CacheManager(collector=made_collector(), **given)


def test_an_own_authority_and_a_client_certificate_are_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server, client = authority.issue("server"), authority.issue("client")
    other = Authority(tmp_path / "other")
    tls = TlsFiles(ca_file=str(authority.certificate), cert_file=str(client.certificate), key_file=str(client.key))
    both = TlsFiles(ca_file=str(authority.certificate), cert_file=str(client.in_one_file()))
    files = ("cert-file", server.certificate), ("key-file", server.key), ("ca-cert-file", authority.certificate)
    options = [f"--tls-{name} {path}" for name, path in files]
    port = free_port()
    words = [word for option in options for word in option.split()]
    redis = RedisServer(tmp_path / "redis", "--tls-port", str(port), *words)
    with ExitStack() as running:
        running.callback(redis.start().kill)
        url = f"rediss://127.0.0.1:{port}/0"
        assert [each.level for each in judged(url=url, tls=tls)] == [Level.OK]
        assert [each.level for each in judged(url=url, tls=both)] == [Level.OK]
        (untrusted,) = judged(url=url, tls=TlsFiles(ca_file=str(other.certificate)))
        assert "certificate verify failed" in untrusted.text
        (anonymous,) = judged(url=url, tls=TlsFiles(ca_file=str(authority.certificate)))
        assert anonymous.level is Level.FAIL
        asyncio.run(pinged(RedisConfig(url=url, tls=tls)))
        with pytest.raises(CacheUnavailable, match="certificate verify failed"):
            asyncio.run(pinged(RedisConfig(url=url, tls=TlsFiles(ca_file=str(other.certificate)))))
        (missing,) = judged(url=url, tls=TlsFiles(ca_file=str(tmp_path / "none.pem")))
        assert "ca_file" in missing.text
