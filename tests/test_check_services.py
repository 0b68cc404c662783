"""`check` says what is wrong with Redis and the schema registry, and leaves no trace in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.configuration.config import Config, RedisConfig
from exporter.store import layout
from exporter.tools import services
from exporter.tools.facts import Finding, Level
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.store import UPBIT, Replica, update, written

README = Path(__file__).parents[1] / "README.md"


class Sentinel(RedisServer):
    """A Sentinel that watches nothing."""

    def command(self) -> Sequence[str]:
        """See Part."""
        (self.directory / "sentinel.conf").write_text(f"port {self.port}\nbind 127.0.0.1\n")
        return [super().command()[0], "sentinel.conf", "--sentinel"]


def test_a_redis_that_is_dead_or_wants_a_password_is_a_failure(redis_server: RedisServer) -> None:
    for url in (f"redis://me:sesame@127.0.0.1:{free_port()}", redis_server.url.replace("//", "//me:sesame@")):
        found = list(services.redis(Config(redis=RedisConfig(url=url))))
        assert [finding.level for finding in found] == [Level.FAIL]
        assert "sesame" not in str(found[0])


def asked(server: RedisServer, **keys: str) -> Finding:
    """What is found about a Redis."""
    (finding,) = services.redis(Config(redis=RedisConfig(url=server.url, **keys)))  # type: ignore[arg-type]
    return finding


def test_a_redis_that_answers_is_ok_and_nothing_is_left_in_it(redis_server: RedisServer) -> None:
    assert asked(redis_server).level is Level.OK
    with redis_server.client() as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize(
    ("name", "bad", "good", "text", "advice"),
    [
        ("min-replicas-to-write", 1, 0, "NOREPLICAS Not enough good replicas to write.", "mend the server"),
        ("maxmemory", 1, 0, "OOM command not allowed", "mend the server"),
        ("replicaof", f"127.0.0.1 {free_port()}", "no one", "READONLY You can't write", "address of the master"),
    ],
)
def test_a_redis_that_refuses_writes_is_a_failure_and_the_failure_has_one_prefix(
    redis_server: RedisServer, name: str, bad: str | int, good: str | int, text: str, advice: str
) -> None:
    """A PING would be answered."""
    with redis_server.client() as client:
        client.config_set(name, bad) if name != "replicaof" else client.replicaof(*str(bad).split())
        try:
            assert client.ping()
            finding = asked(redis_server)
        finally:
            client.config_set(name, good) if name != "replicaof" else client.replicaof(*str(good).split())
    assert finding.level is Level.FAIL
    assert finding.text.startswith(f"127.0.0.1:{redis_server.port}: {text}")
    assert advice in finding.advice


def test_the_rights_in_the_documents_suffice_and_each_that_is_missing_is_named(redis_server: RedisServer) -> None:
    """The user of README's line is in order; without one of the commands it is said which."""
    rules = re.search(r"^ACL SETUSER marketdata on >PASSWORD (.*)$", README.read_text(), re.MULTILINE)
    assert rules is not None
    with redis_server.client() as client:
        admin: Any = client
        admin.execute_command("ACL", "SETUSER", "marketdata", "on", ">se/s+me", *rules[1].split())
        user = {"username": "marketdata", "password": "se/s+me"}
        try:
            assert asked(redis_server, **user).level is Level.OK
            written(Replica(redis_server.url, **user), update(0, "KRW-BTC"))  # type: ignore[arg-type]
            assert Replica(redis_server.url, **user).counts() == {"KRW-BTC": 1}  # type: ignore[arg-type]
            assert Replica(redis_server.url, **user).store.distinct(UPBIT) == 0  # type: ignore[arg-type]
            for command, *_ in layout.trials(layout.Keys("marketdata")):
                admin.execute_command("ACL", "SETUSER", "marketdata", f"-{command}")
                assert f"the user may not run {command}: NOPERM" in asked(redis_server, **user).text
                admin.execute_command("ACL", "SETUSER", "marketdata", f"+{command}")
        finally:
            admin.execute_command("ACL", "DELUSER", "marketdata")


def test_a_user_without_our_keys_is_told_so(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.acl_setuser("elsewhere", enabled=True, passwords=["+sesame"], keys=["other:*"], categories=["+@all"])
        finding = asked(redis_server, username="elsewhere", password="sesame")
        client.acl_deluser("elsewhere")
    assert (finding.level, "one of the keys" in finding.text) == (Level.FAIL, True)


def test_a_redis_cluster_is_a_failure_in_words(redis_cluster: tuple[RedisServer, RedisServer]) -> None:
    """Whether the node would redirect our keys or not."""
    for node in redis_cluster:
        finding = asked(node)
        assert (finding.level, "Redis Cluster is not supported" in finding.text) == (Level.FAIL, True)


def test_a_sentinel_is_no_redis(tmp_path: Path) -> None:
    sentinel = Sentinel(tmp_path / "redis").start()
    try:
        assert "this is a Sentinel" in asked(sentinel).text
    finally:
        sentinel.kill()
