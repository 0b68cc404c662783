"""The findings of `check` about Redis and the listen address."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from exporter.config.addresses import host_and_port
from exporter.config.files import read_text
from exporter.config.schema import Config
from exporter.config.web_file import WebFile, parse_web_file
from exporter.config.web_schema import WebConfig
from exporter.store.store import StoreUnavailable
from exporter.tools import healthcheck
from exporter.tools.check.model import Finding, Level
from exporter.web.sockets import ListenError, listen

if TYPE_CHECKING:
    from exporter.store.client import RedisClient

WEB_SECONDS = 1.0
SERVER = "marketdata-exporter"
_REDIS_RIGHTS = "allow its user the commands that docs/deployment.md lists under Redis, on the keys of redis.prefix"
_REDIS_MASTER = "use the address of the master, or Sentinels (redis.sentinel.master)"
# Remedies; the first whose pattern is found in the error of Redis.
_REDIS_ADVICE = (
    ("READONLY|MASTERDOWN", _REDIS_MASTER),
    ("no Sentinel names a master", "see redis.sentinel: the addresses, the name of the master, user and password"),
    ("Cluster mode is not enabled", "it is a server without cluster mode: remove redis.cluster"),
    (
        "NOREPLICAS|OOM|MISCONF|LOADING|BUSY",
        "repair the server: until then updates wait, up to redis.queue",
    ),
    ("WRONGPASS|NOAUTH|AUTH|invalid username", "see redis.username and redis.password"),
    ("NOPERM", _REDIS_RIGHTS),
    ("Redis Cluster cannot be connected", "see that the nodes run and redis.url names some of them"),
    ("", "see that it runs and the URL is right"),
)


def _place(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


# Redis.


def redis(config: Config) -> Iterator[Finding]:
    """Yield whether the configured Redis, if any, is of a supported kind, allows all commands and accepts writes."""
    if config.redis.url is None:
        return
    from exporter.store.client import RedisClient, StoreMetrics

    key, where = "redis.url", _place(config.redis.url) or urlsplit(config.redis.url).path
    try:
        with closing(RedisClient(config.redis, StoreMetrics(CollectorRegistry()))) as client:
            reason, advice = _redis_error(client)
            faults = [] if reason else client.sentinel_faults()
    except (StoreUnavailable, ValueError) as error:
        reason, faults = str(error).rstrip("."), []
        advice = next(text for pattern, text in _REDIS_ADVICE if re.search(pattern, reason))
    if reason:
        # Errors of the driver contain the address already.
        yield Finding(Level.FAIL, key, reason if where in reason else f"{where}: {reason}", advice)
    else:
        yield Finding(Level.OK, key, f"{where} {_REDIS_WORKS[client.place.kind]}")
    for fault in faults:
        advice = "repair it, or correct redis.url: without enough Sentinels a failover is not found"
        yield Finding(Level.WARN, key, f"a Sentinel does not name the master: {fault}", advice)


_REDIS_WORKS = {
    "single": "answers and accepts writes",
    "sentinel": "name a master, which answers and accepts writes",
    "cluster": "are of a cluster, which answers and accepts writes",
}


def _redis_error(client: RedisClient) -> tuple[str, str]:
    """Return why a server that answers cannot be used, and a remedy; empty texts when it can."""
    mode = client.mode() if client.place.kind == "single" else ""
    if mode == "cluster":
        return "this is a node of a Redis Cluster", "set redis.cluster to true"
    if mode == "sentinel":
        return "this is a Sentinel", "name the master that it knows in redis.sentinel.master"
    if forbidden := client.forbidden_commands():
        return f"the user may not run {', '.join(forbidden)}: {next(iter(forbidden.values()))}", _REDIS_RIGHTS
    client.ping()
    return "", ""


# HTTP.


def web(config: Config) -> Iterator[Finding]:
    """Yield what protects the address, and whether it is free, by listening on it for a moment."""
    if config.web.config_file is not None:
        yield _protection(parse_web_file(read_text(config.web.config_file)))
    address, key = config.web.listen_address, "web.listen_address"
    host, port = host_and_port(address)
    try:
        listen(host, port).close()
    except ListenError as error:
        if getattr(error.__cause__, "errno", None) == errno.EADDRINUSE and _is_sidecar(config.web):
            text = f"a sidecar serves on {address} already"
            yield Finding(Level.WARN, key, text, "a second one on this machine needs another address")
        else:
            yield Finding(Level.FAIL, key, str(error), "stop what listens there, or choose another address")
    else:
        yield Finding(Level.OK, key, f"{address} is free")


def _protection(file: WebFile) -> Finding:
    tls, users = file.tls_server_config, len(file.basic_auth_users)
    if users and not tls.is_enabled:
        text = "passwords are sent without encryption"
        return Finding(Level.WARN, "web.config_file", text, "add tls_server_config, unless a proxy adds TLS")
    parts = [
        "TLS" if tls.is_enabled else "no TLS",
        f"client certificates: {tls.client_auth_type}" if tls.verifies_clients else "no client certificates",
        f"passwords of {users}" if users else "no passwords",
    ]
    return Finding(Level.OK, "web.config_file", ", ".join(parts))


def _is_sidecar(web: WebConfig) -> bool:
    try:
        return healthcheck.ask(web.listen_address, "/-/healthy", WEB_SECONDS, web).headers.get("server") == SERVER
    except OSError:
        return False
