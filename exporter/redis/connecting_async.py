"""Clients of Redis for event loops: of a single server, or of the master that Sentinels name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import redis.asyncio
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from exporter.config.redis_place import RedisPlace
from exporter.config.schema import RedisConfig
from exporter.redis.connecting import Options, Parse, checked_options, described, no_master, place_of
from exporter.redis.refusals import error_text
from exporter.redis.tls import context_of, has_files

# Of each Sentinel: one that hangs delays the connection to the master.
SENTINEL_SECONDS = 1.0


class AsyncSentinels(Sentinel):
    """The Sentinels of a place, asked in turn, each on a connection of its own."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the master; raise `MasterNotFoundError` with what each Sentinel answered."""
        answers = []
        for sentinel in self.sentinels:
            try:
                async with sentinel:
                    masters: Any = await sentinel.sentinel_masters()
            except (redis.RedisError, OSError) as error:
                answers.append(described(sentinel, error_text(error)))
                continue
            state = masters.get(service_name)
            if state is not None and self.check_master_state(state, service_name):
                return str(state["ip"]), int(state["port"])
            answers.append(described(sentinel, f"{service_name} is {'not known' if state is None else 'down'}"))
        raise MasterNotFoundError(no_master(service_name, answers))


def open_async_client(config: RedisConfig, limits: Mapping[str, Any]) -> redis.asyncio.Redis:
    """Return a client without retries, `limits` are its time-outs; raise `ValueError` for a URL of another kind."""
    where = place_of(config)
    if where.kind == "cluster":
        raise ValueError("a Redis Cluster cannot hold keys that one script changes together")
    options = {**limits, "retry": Retry(NoBackoff(), 0), **checked_options(config, cast(Parse, parse_url), Connection)}
    kind = options.pop("connection_class", Connection)
    if where.kind == "sentinel":
        return redis.asyncio.Redis.from_pool(_of_sentinels(config, where, kind, options))
    return redis.asyncio.Redis.from_pool(ConnectionPool(_with_tls(kind, config), **options))


def _of_sentinels(config: RedisConfig, where: RedisPlace, kind: type[Any], options: Options) -> Any:
    own = {"username": config.sentinel.username, "password": config.sentinel.password}
    limits = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    kept = {name: value for name, value in options.items() if name != "db"} | own | limits
    manager = AsyncSentinels(())  # type: ignore[no-untyped-call]
    for host, port in where.hosts:
        pool = ConnectionPool(_with_tls(kind, config), **(kept | {"host": host, "port": port}))
        manager.sentinels.append(redis.asyncio.Redis.from_pool(pool))
    managed = SentinelManagedSSLConnection if issubclass(kind, SSLConnection) else SentinelManagedConnection
    left = {name: value for name, value in options.items() if name not in ("host", "port")}
    return SentinelConnectionPool(where.master, manager, connection_class=_with_tls(managed, config), **left)  # type: ignore[no-untyped-call]


def _with_tls(kind: type[Any], config: RedisConfig) -> type[Any]:
    """Return the class with the configured files, if any."""
    if not has_files(config.tls):
        return kind

    def arguments(connection: Any) -> dict[str, Any]:
        found: dict[str, Any] = dict(kind._connection_arguments(connection))
        return found | {"ssl": context_of(connection, config.tls)}

    return type(kind.__name__, (kind,), {"_connection_arguments": arguments})
