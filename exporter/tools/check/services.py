"""The findings of `check` about the schema registry, Redis, the listen address, and the number of series."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.app import App
from exporter.config.addresses import host_and_port
from exporter.config.feed_globs import is_glob
from exporter.config.files import read_text
from exporter.config.schema import Config, FeedsConfig, WebConfig
from exporter.config.subscription import Subscription, shown_as
from exporter.config.web_file import WebFile, parse_web_file
from exporter.events.registry import REGISTER, Subject, denial, is_forbidden, is_missing, is_same, subject
from exporter.events.values import load_schema
from exporter.feeds.symbols import ShownSymbol, ShownSymbols, SymbolCounts
from exporter.kafka.positions import Position, Start
from exporter.model import EventType, Partition, Record, RegistryError
from exporter.store.store import StoreUnavailable
from exporter.tools import healthcheck
from exporter.tools.check.model import Cluster, Finding, Level, counted
from exporter.web.sockets import ListenError, listen

if TYPE_CHECKING:
    from exporter.events.registry_http import Reply
    from exporter.store.client import RedisClient

SERIES_MAX = 100_000
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

# The schema registry.

REGISTRY = "output.schema_registry"


class Answers(NamedTuple):
    """The answers of a registry about one schema: its lookup, its compatibility, and a trial of its registration.

    `latest` is the latest version of the subject, if the trial was refused, or `run` registers nothing. A request that
    was not made is None.
    """

    lookup: Reply
    compatibility: Reply | None = None
    trial: Reply | None = None
    latest: Reply | None = None


def registry(config: Config) -> Iterator[Finding]:
    """Yield whether each schema is or can be registered, until an answer that is the same for the others."""
    output = config.output
    if output.schema_registry is None or not output.enabled:
        return
    from exporter.events.registry_http import RegistryHttp  # loaded only if configured

    http = RegistryHttp(output)
    http.start_session()
    for event_type in EventType:
        topic = output.error_topic if event_type is EventType.ERROR else output.topic
        schema = load_schema(event_type)
        asked = Subject(http, subject(topic, schema, output.schema_registry_subjects), schema)
        try:
            answers = _request(asked, registers=output.schema_registry_register)
        except RegistryError as error:
            yield Finding(Level.FAIL, REGISTRY, f"{http.shown_url}: {error}", "see that it runs and the URL is right")
            return
        yield evaluate(http.shown_url, asked, answers)
        if answers.lookup.status == 401:
            return


def _request(subject: Subject, *, registers: bool) -> Answers:
    """Make the requests that `run` depends on; nothing is registered."""
    lookup = subject.lookup()
    if lookup.status in (200, 401) or lookup.status >= 500:
        return Answers(lookup)
    if not registers:
        return Answers(lookup, latest=subject.latest())
    compatibility, trial = subject.compatibility(), subject.trial()
    return Answers(lookup, compatibility, trial, subject.latest() if is_forbidden(trial) else None)


def evaluate(place: str, subject: Subject, answers: Answers) -> Finding:
    """Return the finding about one schema."""
    name, lookup, latest = subject.name, answers.lookup, answers.latest
    if lookup.status == 401:
        text = f"{place} does not accept the user, the password or the token: {lookup}"
        advice = (
            "see output.schema_registry_username and output.schema_registry_password, or those in the URL, or "
            "output.schema_registry_token and output.schema_registry_token_file"
        )
        return Finding(Level.FAIL, REGISTRY, text, advice)
    if lookup.status == 200:
        if lookup.id is None:
            return _no_registry(place, name, lookup)
        return Finding(Level.OK, REGISTRY, f"{name} is registered")
    if latest is not None and latest.status == 200 and is_same(latest, subject.schema):
        return Finding(Level.OK, REGISTRY, f"{name} is registered with the same fields")
    return _evaluate_new(place, name, answers)


def _evaluate_new(place: str, name: str, answers: Answers) -> Finding:
    """Return the finding about a schema that the registry does not have, or does not show."""
    lookup, compatibility, trial, latest = answers
    if compatibility is None and latest is not None and is_missing(lookup):
        advice = f"register it beforehand, or set {REGISTER} to true"
        return Finding(Level.FAIL, REGISTRY, f"{place} does not have {name}, and {REGISTER} is false", advice)
    if compatibility is None or trial is None:
        return _no_registry(place, name, lookup)
    is_compatible = compatibility.body.get("is_compatible") if compatibility.status == 200 else None
    if is_compatible is False:
        advice = "the subject has another schema: choose another topic, or change the compatibility of the subject"
        return Finding(Level.FAIL, REGISTRY, f"{name} is not compatible with the version that is registered", advice)
    if not (is_compatible or is_missing(compatibility) or compatibility.status == 403):
        return _no_registry(place, name, compatibility)
    if is_forbidden(trial):
        advice = "register the schema beforehand, or allow the user to write to this subject"
        return Finding(Level.FAIL, REGISTRY, f"{place} refuses {name}: {denial(lookup, trial)}", advice)
    state = "compatible" if is_compatible else "new" if is_missing(compatibility) else "not shown to this user"
    return Finding(Level.OK, REGISTRY, f"{name} is {state} and will be registered")


def _no_registry(place: str, name: str, reply: Reply) -> Finding:
    text = f"{place} does not answer as a schema registry about {name}: {reply}"
    return Finding(Level.FAIL, REGISTRY, text, "see that the URL is right")


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


# Series.


class Cost(NamedTuple):
    """The number of series of a sidecar without input, of each topic and partition, and at most of each feed.

    With symbols shown by name, each feed has `rest` more for the other symbols, and each shown symbol has `name`.
    """

    fixed: int
    topic: int
    partition: int
    feed: int
    rest: int
    name: int


def cost(config: Config) -> Cost:
    """Return the cost, counted in a sidecar that does not run: without input, then with one of each."""
    app = App(replace(config, feeds=FeedsConfig()))
    partition, value, now_ms = Partition("topic", 0), _batch(config.input.symbol_field), 1_760_000_000_000
    pipeline, counts = app.loop.pipeline, [_series(app)]
    pipeline.topic(partition.topic)
    counts.append(_series(app))
    pipeline.assign(partition, Start(Position(0, 0, now_ms), 0, 2))
    pipeline.partitions[partition].end = 2
    for record in (Record(partition, 0, now_ms, None), Record(partition, 1, now_ms, value)):
        pipeline.analyze([record], pipeline.decode([record]), now_ms)
        for each in pipeline.table.feeds.values():
            each.health.symbols = SymbolCounts(1, 0, 0, 0, 1)  # as after five minutes
        counts.append(_series(app))
    (feed,) = pipeline.table.feeds.values()
    for shown in ((), (ShownSymbol("symbol", now_ms, 1),)):
        feed.health.shown_symbols = ShownSymbols(shown, 0, 0)
        feed.touch()
        counts.append(_series(app))
    return Cost(counts[0], *(after - before for before, after in pairwise(counts)))


def _batch(symbol_field: str) -> bytes:
    """Return a batch with an order book, as the feeds of these have the most series."""
    row = {"timestamp": 1_760_000_000_000, symbol_field: "symbol", "asks": [[2, 1]], "bids": [[1, 1]]}
    feed = {"region": "region", "exchange": "exchange", "request_type": "type"}
    return json.dumps({**feed, "timestamp_ms": 1_760_000_000_000, "data": [row]}).encode()


def _series(app: App) -> int:
    return app.queries.series(is_protobuf=True)


def expected_feeds(config: Config) -> tuple[int, str]:
    """Return the largest number of feeds, and the key that defines it."""
    if config.feeds.expected:
        return len(config.feeds.expected), "feeds.expected"
    if not any(map(is_glob, config.feeds.include)):
        return len(config.feeds.include), "feeds.include"
    return config.input.limits.feeds, "input.limits.feeds"


def names_of_a_feed(config: Config) -> int:
    """Return the largest number of symbols that a feed shows by name."""
    symbols = config.feeds.symbols
    return min(len(symbols.shown) + symbols.stalest, config.input.limits.symbols_per_feed)


def topics_shown(config: Config, cluster: Cluster) -> tuple[int, int]:
    """Return how many topics and partitions have series of their own; see `metrics.topics`."""
    shown, names = (
        shown_as(config.input.topics, config.metrics.topics),
        Subscription(config.input.topics, config.input.exclude),
    )
    most: dict[str, int] = {}
    for name in names.among(cluster.names):
        most[shown(name)] = max(most.get(shown(name), 0), cluster.partitions([name]))
    return len(most), sum(most.values())


def series(config: Config, cluster: Cluster | None) -> Iterator[Finding]:
    """Yield an estimate of the series of a scrape when one sidecar reads everything."""
    each, (feeds, source), shown = cost(config), expected_feeds(config), names_of_a_feed(config)
    of_feed = each.feed + (each.rest + shown * each.name if shown else 0)
    total = each.fixed + feeds * of_feed
    parts = [f"{counted(feeds, 'feed')} ({source}) with {of_feed} series"]
    if cluster is not None:
        topics, partitions = topics_shown(config, cluster)
        total += topics * each.topic + partitions * each.partition
        parts.append(f"{counted(partitions, 'partition')} with {each.partition}")
        parts.append(f"{counted(topics, 'topic')} with {each.topic}")
    text = f"about {total}: {', '.join(parts)}, and {each.fixed} others"
    if total > SERIES_MAX:
        fewer = ", or show fewer feeds.symbols" if shown else ""
        advice = f"lower input.limits.feeds, or list the feeds in feeds.expected or feeds.include{fewer}"
        yield Finding(Level.WARN, "series", text, advice)
    else:
        yield Finding(Level.OK, "series", text)
