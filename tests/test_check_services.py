"""`check` says what is wrong with Redis and the schema registry, and leaves no trace in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from exporter.config.schema import Config, OutputConfig, RedisConfig
from exporter.events.registry import subject
from exporter.events.values import load_schema
from exporter.model import EventType
from exporter.store import keyspace
from exporter.tools.check import schemas, services
from exporter.tools.check.model import Finding, Level
from tests.support.documents import DOCUMENTS
from tests.support.process import free_port
from tests.support.redis import RedisServer, SentinelServer
from tests.support.registry import MOVED, READ, WRITE, RegistryServer
from tests.support.store import UPBIT, Replica, update, written

# The schema registry.


def found(url: str, user: str = "") -> list[Finding]:
    """What is found about a registry, as a `user:password`."""
    name, _, password = user.partition(":")
    output = OutputConfig(
        schema_registry=url, schema_registry_username=name or None, schema_registry_password=password or None
    )
    return list(schemas.registry(Config(output=output)))


def subjects() -> dict[str, dict[str, Any]]:
    """Each subject of the default topics and its schema."""
    output = OutputConfig()
    topics = {kind: output.error_topic if kind is EventType.ERROR else output.topic for kind in EventType}
    schemas = {kind: load_schema(kind) for kind in EventType}
    return {subject(topics[kind], schemas[kind]): schemas[kind] for kind in EventType}


def test_a_registry_is_asked_about_each_schema_and_registers_none() -> None:
    with RegistryServer() as registry:
        first, *others = subjects()
        registry.add(first, {"type": "record", "name": "Older", "fields": []})
        findings = found(registry.url.replace("//", "//me:sesame@") + "/")
        assert registry.subjects == {first: [1]}
    assert [finding.text for finding in findings] == [
        f"{first} is compatible and will be registered",
        *(f"{name} is new and will be registered" for name in others),
    ]
    assert {finding.level for finding in findings} == {Level.OK}


def test_a_missing_schema_that_is_not_to_be_registered_is_a_failure() -> None:
    with RegistryServer() as registry:
        config = Config(output=OutputConfig(schema_registry=registry.url, schema_registry_register=False))
        findings = list(schemas.registry(config))
        assert {finding.level for finding in findings} == {Level.FAIL}
        assert (
            f"does not have {next(iter(subjects()))}, and output.schema_registry_register is false" in findings[0].text
        )
        assert registry.subjects == {}
        for name, schema in subjects().items():
            registry.add(name, {**schema, "doc": "other words"})
        assert {finding.level for finding in schemas.registry(config)} == {Level.OK}


def test_schemas_that_are_registered_are_enough_for_a_user_who_may_only_read() -> None:
    """As they are, or with other documentation."""
    with RegistryServer({"reader:sesame": {READ}}) as registry:
        for (name, schema), change in zip(subjects().items(), ({}, {"doc": "other"}, {}), strict=True):
            registry.add(name, {**schema, **change})
        findings = found(registry.url, "reader:sesame")
    assert [finding.level for finding in findings] == [Level.OK] * 3
    assert [finding.text.rpartition(" is ")[2] for finding in findings] == [
        "registered", "registered with the same fields", "registered"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rights", "level", "text"),
    [
        ({READ}, Level.FAIL, "the right to register it is missing: 403 User is denied operation Write on Subject: "),
        (set(), Level.FAIL, "the right to read the schema is missing (403 User is denied operation Read on Subject: "),
        ({WRITE}, Level.OK, "is not shown to this user and will be registered"),
        ({READ, WRITE}, Level.OK, "is new and will be registered"),
    ],
)
def test_the_right_that_is_missing_is_named(rights: set[str], level: Level, text: str) -> None:
    with RegistryServer({"user:sesame": rights}) as registry:
        findings = found(registry.url, "user:sesame")
        assert registry.subjects == {}
    assert [finding.level for finding in findings] == [level] * 3
    assert all(text in finding.text for finding in findings)
    assert not any("sesame" in str(finding) for finding in findings)


def test_a_schema_that_does_not_fit_is_a_failure() -> None:
    with RegistryServer() as registry:
        *_, last = subjects()
        registry.add(last, {"type": "record", "name": "Other", "fields": []})
        registry.is_compatible = False
        assert [finding.level for finding in found(registry.url)] == [Level.OK, Level.OK, Level.FAIL]


def test_a_registry_that_refuses_the_password_is_asked_once_and_keeps_it() -> None:
    with RegistryServer({}) as registry:
        (finding,) = found(registry.url, "me:sesame")
        assert len(registry.asked) == 1
    assert finding.level is Level.FAIL
    assert f"{registry.url} does not accept the user, the password or the token: 401 Unauthorized" in finding.text
    assert "output.schema_registry_password" in finding.advice
    assert "sesame" not in str(finding)


def test_a_registry_that_is_not_there_is_a_failure_without_the_password() -> None:
    place = f"127.0.0.1:{free_port()}"
    (finding,) = found(f"http://me:sesame@{place}")
    assert (finding.level, finding.text.count(place), "sesame" in str(finding)) == (Level.FAIL, 1, False)


@pytest.mark.parametrize(
    "answer", [(200, {}), (200, b"<html>"), (404, {}), (404, {"error_code": 404}), (500, {"message": "store is gone"})]
)
def test_what_does_not_answer_as_a_registry_is_none(answer: tuple[int, object]) -> None:
    with RegistryServer() as registry:
        registry.forced["/subjects/"] = answer
        findings = found(registry.url)
    assert {finding.level for finding in findings} == {Level.FAIL}
    assert all(f"does not answer as a schema registry about {name}: {answer[0]}" in finding.text
               for name, finding in zip(subjects(), findings, strict=True))  # fmt: skip


def test_redirects_are_followed_and_told_when_they_end_elsewhere() -> None:
    with RegistryServer() as registry, RegistryServer({}) as elsewhere:
        registry.redirect = 301, registry.url + MOVED
        assert [finding.level for finding in found(registry.url)] == [Level.OK] * 3
        registry.redirect = 308, elsewhere.url
        (finding,) = found(registry.url, "me:sesame")
    assert f"(redirected to {elsewhere.url}, where user and password are not sent)" in finding.text


# Redis.


def test_a_redis_that_is_dead_or_wants_a_password_is_a_failure(redis_server: RedisServer) -> None:
    for url in (f"redis://me:sesame@127.0.0.1:{free_port()}", redis_server.url.replace("//", "//me:sesame@")):
        found = list(services.redis(Config(redis=RedisConfig(url=url))))
        assert [finding.level for finding in found] == [Level.FAIL]
        assert str(found[0]).count("127.0.0.1:") == 1
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
        ("min-replicas-to-write", 1, 0, "NOREPLICAS Not enough good replicas to write", "repair the server"),
        ("maxmemory", 1, 0, "OOM command not allowed", "repair the server"),
        ("replicaof", "127.0.0.1 1", "no one", "READONLY You can't write", "address of the master"),
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
    """The user of the documents' line is in order; without one of the commands it is said which."""
    rules = re.search(r"^ACL SETUSER marketdata on >PASSWORD (.*)$", DOCUMENTS, re.MULTILINE)
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
            for command, *_ in keyspace.trials(keyspace.Keys("marketdata")):
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
    assert (finding.level, "NOPERM" in finding.text and "key" in finding.text) == (Level.FAIL, True)


def test_a_redis_cluster_is_a_failure_in_words(redis_cluster: tuple[RedisServer, RedisServer]) -> None:
    """Whether the node would redirect our keys or not."""
    for node in redis_cluster:
        finding = asked(node)
        assert (finding.level, "this is a node of a Redis Cluster" in finding.text) == (Level.FAIL, True)
        assert finding.advice == "set redis.cluster to true"


def test_a_sentinel_is_no_redis(tmp_path: Path) -> None:
    sentinel = SentinelServer(tmp_path / "redis").start()
    try:
        assert "this is a Sentinel" in asked(sentinel).text
    finally:
        sentinel.kill()
