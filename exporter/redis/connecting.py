"""Clients of Redis of each kind: a single server, the master that Sentinels name, or a cluster.

The files of TLS are read at each connection, so that they may be replaced.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import ConnectionPool, SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from exporter.config.redis_place import RedisPlace, place
from exporter.config.schema import RedisConfig
from exporter.redis.connection import OperationBudget, limited
from exporter.redis.refusals import error_text
from exporter.redis.tls import context_of, has_files

SOCKET_SECONDS = 0.3
# Options allowed in the URL. The driver has others: some are objects, and some change the types of replies.
_URL_OPTIONS = re.compile(
    "connection_class|host|port|path|db|username|password|client_name|health_check_interval|max_connections|ssl_.+|"
    "socket_(?:timeout|connect_timeout|keepalive)"
)
Options = dict[str, Any]
Parse = Callable[[str], Options]


class Sentinels(Sentinel):
    """The Sentinels of a place, asked in turn, each on a connection of its own."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the master; raise `MasterNotFoundError` with what each Sentinel answered."""
        answers = []
        for sentinel in self.sentinels:
            found = self.ask(sentinel, service_name)
            if not isinstance(found, str):
                return found
            answers.append(described(sentinel, found))
        raise MasterNotFoundError(no_master(service_name, answers))

    def ask(self, sentinel: redis.Redis, master: str) -> tuple[str, int] | str:
        """Return the address of the master in the view of one Sentinel, or why there is none."""
        try:
            with sentinel:
                masters: Any = sentinel.sentinel_masters()
        except (redis.RedisError, OSError) as error:
            return error_text(error)
        state = masters.get(master)
        if state is None:
            return f"{master} is not known"
        if not self.check_master_state(state, master):  # type: ignore[no-untyped-call]
            return f"{master} is down"
        return str(state["ip"]), int(state["port"])


def no_master(master: str, answers: Sequence[str]) -> str:
    """Return the text of an error about a master that no Sentinel names."""
    return f"no Sentinel names a master {master}: {'; '.join(answers)}"


def described(sentinel: Any, fault: str) -> str:
    """Return a fault of a Sentinel with its address, which errors of the driver may contain already."""
    where = sentinel.connection_pool.connection_kwargs
    address = f"{where['host']}:{where['port']}"
    return fault if address in fault else f"{address}: {fault}"


def place_of(config: RedisConfig) -> RedisPlace:
    """Return where the configured Redis is."""
    return place(config.url or "", config.sentinel, is_cluster=config.cluster)


def checked_options(config: RedisConfig, parse: Parse = parse_url, plain: type[Any] = redis.Connection) -> Options:
    """Return the options of a connection, with its class; raise `ValueError` for a URL that the driver refuses."""
    beside_url = {"username": config.username, "password": config.password}
    try:
        options = parse(place_of(config).driver_url)
        if not all(map(_URL_OPTIONS.fullmatch, options)):
            raise ValueError
        # Options are checked only when a connection object is created.
        kind = options.get("connection_class", plain)
        kind(**{name: value for name, value in options.items() if name not in ("connection_class", "max_connections")})
    except (ValueError, TypeError, redis.RedisError):
        # Without the cause, whose text may contain parts of the URL, and so a password.
        raise ValueError("the URL of Redis, or an option in it, is invalid") from None
    return {name: value for name, value in beside_url.items() if value is not None} | options


def open_client(
    config: RedisConfig, budget: OperationBudget | None = None, seconds: float = SOCKET_SECONDS
) -> redis.Redis:
    """Return a client with time-outs of `seconds` and no retries; the defaults of the driver block for up to a minute.

    All connections share the budget, if any. The client of a cluster, which has the same methods, connects here.
    """
    where, options = place_of(config), checked_options(config)
    fixed = {"protocol": 2, "socket_timeout": seconds, "socket_connect_timeout": seconds}

    def make(kind: type[Any]) -> type[Any]:
        return limited(kind, budget, tls_method(config))

    if where.kind == "cluster":
        return _cluster(config, where, fixed, make)
    options = {**fixed, "retry": Retry(NoBackoff(), 0), **options}
    if where.kind == "sentinel":
        return redis.Redis.from_pool(_of_sentinels(where, sentinels(config, where, options, make), options, make))
    options["connection_class"] = make(options.get("connection_class", redis.Connection))
    return redis.Redis.from_pool(ConnectionPool(**options))


def tls_method(config: RedisConfig) -> Callable[[Any, Any], ssl.SSLSocket] | None:
    """Return how a connection of the driver encrypts its socket, None where that is left to the driver."""
    if not has_files(config.tls):
        return None

    def wrap(connection: Any, sock: Any) -> ssl.SSLSocket:
        return context_of(connection, config.tls).wrap_socket(sock, server_hostname=connection.host)

    return wrap


def sentinels(config: RedisConfig, where: RedisPlace, options: Options, make: Callable[[Any], Any]) -> Sentinels:
    """Return the Sentinels of a place; user and password are theirs, the other options those of the master."""
    own = {"username": config.sentinel.username, "password": config.sentinel.password}
    manager = Sentinels(())  # type: ignore[no-untyped-call]
    for host, port in where.hosts:
        kept = {name: value for name, value in options.items() if name not in ("db", *own)} | own
        kept["connection_class"] = make(options.get("connection_class", redis.Connection))
        manager.sentinels.append(redis.Redis.from_pool(ConnectionPool(**{**kept, "host": host, "port": port})))
    return manager


def _of_sentinels(where: RedisPlace, manager: Sentinels, options: Options, make: Callable[[Any], Any]) -> Any:
    is_encrypted = issubclass(options.get("connection_class", redis.Connection), SSLConnection)
    kind = make(SentinelManagedSSLConnection if is_encrypted else SentinelManagedConnection)
    left = {name: value for name, value in options.items() if name not in ("host", "port", "connection_class")}
    return SentinelConnectionPool(where.master, manager, connection_class=kind, **left)  # type: ignore[no-untyped-call]


def _cluster(config: RedisConfig, where: RedisPlace, fixed: Options, make: Callable[[Any], Any]) -> redis.Redis:
    def pool(connection_class: Any = redis.Connection, **options: Any) -> ConnectionPool:
        return ConnectionPool(make(connection_class), **options)

    options: Options = {"username": config.username, "password": config.password}
    client = RedisCluster(
        url=where.driver_url,
        startup_nodes=[ClusterNode(host, port) for host, port in where.hosts[1:]],  # type: ignore[no-untyped-call]
        retry=Retry(NoBackoff(), 0),
        connection_pool_class=pool,
        **{name: value for name, value in options.items() if value is not None},
        **fixed,
    )
    return cast(redis.Redis, client)
