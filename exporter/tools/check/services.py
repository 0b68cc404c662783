"""What `check` finds out about all but Kafka: the schema registry, Redis, the address to listen on, the series."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.app import App
from exporter.config.addresses import host_and_port
from exporter.config.feed_globs import is_glob
from exporter.config.schema import Config, FeedsConfig
from exporter.config.subscription import Subscription
from exporter.events.registry import Subject, denial, is_forbidden, is_missing, is_same, subject
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
# What to do, by the first that is found in the words of Redis.
_REDIS_ADVICE = (
    ("READONLY|MASTERDOWN", "give the address of the master, or one that leads to it"),
    ("NOREPLICAS|OOM|MISCONF|LOADING|BUSY", "mend the server: until then updates wait, as many as redis.queue allows"),
    ("WRONGPASS|NOAUTH|AUTH", "see redis.username and redis.password"),
    ("NOPERM", _REDIS_RIGHTS),
    ("", "see that it runs and the URL is right"),
)

# The schema registry.

REGISTRY = "output.schema_registry"


class Answers(NamedTuple):
    """What a registry answered about one schema: whether it has it, whether it fits, whether it could be registered.

    `latest` is what it has in its place when it could not; what was not asked is None.
    """

    lookup: Reply
    compatibility: Reply | None = None
    trial: Reply | None = None
    latest: Reply | None = None


def registry(config: Config) -> Iterator[Finding]:
    """Ask whether each schema is there or would be accepted, until the first answer without hope for the others."""
    output = config.output
    if output.schema_registry is None or not output.enabled:
        return
    from exporter.events.registry_http import RegistryHttp  # what is not configured is not loaded

    http = RegistryHttp(output)
    http.begin()
    for event_type in EventType:
        topic = output.error_topic if event_type is EventType.ERROR else output.topic
        schema = load_schema(event_type)
        asked = Subject(http, subject(topic, schema), schema)
        try:
            answers = _asked(asked)
        except RegistryError as error:
            yield Finding(Level.FAIL, REGISTRY, f"{http.place}: {error}", "see that it runs and the URL is right")
            return
        yield judged(http.place, asked, answers)
        if answers.lookup.status == 401:
            return


def _asked(subject: Subject) -> Answers:
    """Ask what `run` depends on; nothing is registered."""
    lookup = subject.lookup()
    if lookup.status in (200, 401) or lookup.status >= 500:
        return Answers(lookup)
    compatibility, trial = subject.compatibility(), subject.trial()
    return Answers(lookup, compatibility, trial, subject.latest() if is_forbidden(trial) else None)


def judged(place: str, subject: Subject, answers: Answers) -> Finding:
    """Return what the registry's answers mean."""
    name, lookup, latest = subject.name, answers.lookup, answers.latest
    if lookup.status == 401:
        text = f"{place} does not accept user or password: {lookup}"
        advice = "see output.schema_registry_username and output.schema_registry_password, or those in the URL"
        return Finding(Level.FAIL, REGISTRY, text, advice)
    if lookup.status == 200:
        if lookup.id is None:
            return _no_registry(place, name, lookup)
        return Finding(Level.OK, REGISTRY, f"{name} is registered")
    if latest is not None and latest.status == 200 and is_same(latest, subject.schema):
        return Finding(Level.OK, REGISTRY, f"{name} is registered with the same fields")
    return _judged_new(place, name, answers)


def _judged_new(place: str, name: str, answers: Answers) -> Finding:
    """Return what becomes of a schema that the registry does not have, or does not show."""
    lookup, compatibility, trial, _ = answers
    if compatibility is None or trial is None:
        return _no_registry(place, name, lookup)
    is_compatible = compatibility.body.get("is_compatible") if compatibility.status == 200 else None
    if is_compatible is False:
        advice = "another schema is there: choose another topic, or change the compatibility of the subject"
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
    """Yield whether the Redis that is configured, if any, is of a supported kind, allows all and takes writes."""
    if config.redis.url is None:
        return
    from exporter.store.client import RedisClient, StoreMetrics

    key, where = "redis.url", _place(config.redis.url) or urlsplit(config.redis.url).path
    try:
        reason, advice = _redis_error(RedisClient(config.redis, StoreMetrics(CollectorRegistry())))
    except (StoreUnavailable, ValueError) as error:
        reason = str(error).rstrip(".")
        advice = next(text for pattern, text in _REDIS_ADVICE if re.search(pattern, reason))
    if reason:
        # The driver's own errors name the place already.
        yield Finding(Level.FAIL, key, reason if where in reason else f"{where}: {reason}", advice)
    else:
        yield Finding(Level.OK, key, f"{where} answers and takes writes")


def _redis_error(counts: RedisClient) -> tuple[str, str]:
    """Return why a server that answers is of no use, and what to do about it; nothing when it is in order."""
    with closing(counts):
        mode = counts.mode()
        if mode == "cluster":
            return "Redis Cluster is not supported, and this is a node of one", "use a server without cluster mode"
        if mode == "sentinel":
            return "this is a Sentinel", "give the address of the master, or one that leads to it"
        if forbidden := counts.forbidden():
            return f"the user may not run {', '.join(forbidden)}: {next(iter(forbidden.values()))}", _REDIS_RIGHTS
        counts.ping()
    return "", ""


# HTTP.


def web(config: Config) -> Iterator[Finding]:
    """Whether the address is free, found out by listening there for a moment."""
    address, key = config.web.listen_address, "web.listen_address"
    host, port = host_and_port(address)
    try:
        listen(host, port).close()
    except ListenError as error:
        if getattr(error.__cause__, "errno", None) == errno.EADDRINUSE and _is_sidecar(address):
            text = f"a sidecar serves on {address} already"
            yield Finding(Level.WARN, key, text, "a second one on this machine needs an address of its own")
        else:
            yield Finding(Level.FAIL, key, str(error), "end what listens there, or choose another address")
    else:
        yield Finding(Level.OK, key, f"{address} is free")


def _is_sidecar(address: str) -> bool:
    try:
        return healthcheck.ask(address, "/-/healthy", WEB_SECONDS).headers.get("server") == SERVER
    except OSError:
        return False


# Series.


class Cost(NamedTuple):
    """How many series a sidecar has, and how many come with each topic and partition, and at most with each feed.

    With symbols shown by name, each feed has `rest` more for those that are not, and each name costs `name`.
    """

    fixed: int
    topic: int
    partition: int
    feed: int
    rest: int
    name: int


def cost(config: Config) -> Cost:
    """Count the series of a sidecar that does not run, with nothing, then with one of each."""
    app = App(replace(config, feeds=FeedsConfig()))
    partition, value, now_ms = Partition("topic", 0), _batch(config.input.symbol_field), 1_760_000_000_000
    analysis, counts = app.loop.analysis, [_series(app)]
    analysis.topic(partition.topic)
    counts.append(_series(app))
    analysis.assign(partition, Start(Position(0, 0, now_ms), 0, 2))
    analysis.partitions[partition].end = 2
    for record in (Record(partition, 0, now_ms, None), Record(partition, 1, now_ms, value)):
        analysis.analyze([record], analysis.decode([record]), now_ms)
        for each in analysis.table.feeds.values():
            each.health.symbols = SymbolCounts(1, 0, 0, 0, 1)  # as after five minutes
        counts.append(_series(app))
    (feed,) = analysis.table.feeds.values()
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
    own: Any = list(app.queries.collect())[-1]  # the last family is how many series there are
    return int(own.samples[0].value)


def expected_feeds(config: Config) -> tuple[int, str]:
    """Return how many feeds there may be, and where in the configuration that stands."""
    if config.feeds.expected:
        return len(config.feeds.expected), "feeds.expected"
    if not any(map(is_glob, config.feeds.include)):
        return len(config.feeds.include), "feeds.include"
    return config.input.limits.feeds, "input.limits.feeds"


def names_of_a_feed(config: Config) -> int:
    """Return how many symbols a feed may show by name."""
    symbols = config.feeds.symbols
    return min(len(symbols.shown) + symbols.stalest, config.input.limits.symbols_per_feed)


def series(config: Config, cluster: Cluster | None) -> Iterator[Finding]:
    """Estimate what a scrape has to carry when one sidecar reads everything."""
    each, (feeds, source), shown = cost(config), expected_feeds(config), names_of_a_feed(config)
    of_feed = each.feed + (each.rest + shown * each.name if shown else 0)
    total = each.fixed + feeds * of_feed
    parts = [f"{counted(feeds, 'feed')} ({source}) with {of_feed} series"]
    if cluster is not None:
        names = Subscription(config.input.topics).among(cluster.names)
        partitions = cluster.partitions(names)
        total += len(names) * each.topic + partitions * each.partition
        parts.append(f"{counted(partitions, 'partition')} with {each.partition}")
        parts.append(f"{counted(len(names), 'topic')} with {each.topic}")
    text = f"about {total}: {', '.join(parts)}, and {each.fixed} others"
    if total > SERIES_MAX:
        fewer = ", or show fewer feeds.symbols" if shown else ""
        advice = f"lower input.limits.feeds, or tell in feeds.expected or feeds.include which feeds there are{fewer}"
        yield Finding(Level.WARN, "series", text, advice)
    else:
        yield Finding(Level.OK, "series", text)
