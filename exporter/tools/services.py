"""What `check` finds out about all but Kafka: the schema registry, Redis, the address to listen on, the series."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.analyzers.symbols import Named, NamedSymbol
from exporter.app import App
from exporter.configuration.config import Config, FeedsConfig
from exporter.configuration.notation import host_and_port
from exporter.delivery.dispatch import Position, Start
from exporter.events.registry import TIMEOUT_SECONDS, subject
from exporter.events.values import load_schema
from exporter.model import EventType, Partition, Record
from exporter.store.counts import RedisCounts, StoreMetrics
from exporter.store.refusals import NO_CLUSTER
from exporter.store.store import StoreUnavailable
from exporter.subscription import Subscription
from exporter.tools import healthcheck
from exporter.tools.facts import Cluster, Finding, Level, counted
from exporter.web.connections import ListenError, listen

SERIES_MAX = 100_000
WEB_SECONDS = 1.0
# A registry's own codes for a subject, or a version of it, that does not exist.
UNKNOWN_CODES = (40401, 40402)
SERVER = "marketdata-exporter"
_REDIS_RIGHTS = "allow its user all that README lists under Redis, on the keys of redis.prefix"
# What to do, by the first that is found in the words of Redis.
_REDIS_ADVICE = (
    ("READONLY|MASTERDOWN", "give the address of the master, or one that leads to it"),
    ("NOREPLICAS|OOM|MISCONF|LOADING|BUSY", "mend the server: until then updates wait, as many as redis.queue allows"),
    ("WRONGPASS|NOAUTH|AUTH", "see redis.username and redis.password"),
    ("NOPERM", _REDIS_RIGHTS),
    ("", "see that it runs and the URL is right"),
)

# The schema registry.


class Verdict(NamedTuple):
    """What a registry answered to the question whether it would take a schema.

    `status` is that of HTTP, 0 when there was no answer; `body` is its JSON, {} when it was something else.
    """

    status: int
    body: dict[str, object]
    trouble: str = ""


def registry(config: Config) -> Iterator[Finding]:
    """Ask whether each schema would be accepted, until the first answer that leaves no hope for the others."""
    url, output = config.output.schema_registry, config.output
    if url is None or not output.enabled:
        return
    for event_type in EventType:
        topic = output.error_topic if event_type is EventType.ERROR else output.topic
        schema = load_schema(event_type)
        name = subject(topic, schema)
        verdict = _ask_registry(url, name, schema)
        yield judged(f"{urlsplit(url).scheme}://{_place(url)}", name, verdict)
        if verdict.status in (0, 401):
            return


def judged(url: str, subject: str, verdict: Verdict) -> Finding:
    """Return what the registry's answer means."""
    key, (status, body, trouble) = "output.schema_registry", verdict
    if status == 0:
        return Finding(Level.FAIL, key, f"{url} does not answer: {trouble}", "see that it runs and the URL is right")
    if status in (401, 403):
        return Finding(Level.FAIL, key, f"{url} does not let us at {subject}", "see user and password in the URL")
    if status == 404 and body.get("error_code") in UNKNOWN_CODES:
        return Finding(Level.OK, key, f"{subject} is new and will be registered")
    if status != 200 or not isinstance(compatible := body.get("is_compatible"), bool):
        text = f"{url} answers {status} about {subject}: {body.get('message', 'no schema registry')}"
        return Finding(Level.FAIL, key, text, "see that the URL is right")
    if compatible:
        return Finding(Level.OK, key, f"{subject} is compatible")
    advice = "somebody else's schema is there: choose another topic, or change the compatibility of the subject"
    return Finding(Level.FAIL, key, f"{subject} is not compatible with the version that is registered", advice)


def _ask_registry(url: str, subject: str, schema: dict[str, object]) -> Verdict:
    try:
        answer = requests.post(
            f"{url.rstrip('/')}/compatibility/subjects/{quote(subject, safe='')}/versions/latest",
            json={"schema": json.dumps(schema)},
            headers={"Accept": "application/vnd.schemaregistry.v1+json"},
            timeout=TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        return Verdict(0, {}, type(error).__name__)  # its text may hold the URL, and that a password
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        body = None
    return Verdict(answer.status_code, body if isinstance(body, dict) else {})


def _place(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


# Redis.


def redis(config: Config) -> Iterator[Finding]:
    """Ask Redis what it is and what it allows, and write what changes nothing, when there is to be one."""
    if config.redis.url is None:
        return
    key, where = "redis.url", _place(config.redis.url) or urlsplit(config.redis.url).path
    try:
        trouble, advice = _redis_trouble(RedisCounts(config.redis, StoreMetrics(CollectorRegistry())))
    except (StoreUnavailable, ValueError) as error:
        trouble = str(error)
        advice = next(text for pattern, text in _REDIS_ADVICE if re.search(pattern, trouble))
    if trouble:
        yield Finding(Level.FAIL, key, f"{where}: {trouble}", advice)
    else:
        yield Finding(Level.OK, key, f"{where} answers and takes writes")


def _redis_trouble(counts: RedisCounts) -> tuple[str, str]:
    """Return why a server that answers is of no use, and what to do about it; nothing when it is in order."""
    with closing(counts):
        mode = counts.mode()
        if mode == "cluster":
            return NO_CLUSTER, "give the URL of a server, or of an address that leads to one, without cluster mode"
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
        return healthcheck.ask(address, WEB_SECONDS).headers.get("Server") == SERVER
    except requests.RequestException:
        return False


# Series.


class Cost(NamedTuple):
    """How many series a sidecar has, and how many come with each topic, partition and feed.

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
    app.loop.high_watermarks[partition] = 2
    for record in (Record(partition, 0, now_ms, None), Record(partition, 1, now_ms, value)):
        analysis.analyze([record], analysis.decode([record]), now_ms)
        counts.append(_series(app))
    (feed,) = analysis.table.feeds.values()
    for shown in ((), (NamedSymbol("symbol", now_ms, 1),)):
        feed.watch.named, feed.version = Named(shown, 0, 0), feed.version + 1
        counts.append(_series(app))
    return Cost(counts[0], *(after - before for before, after in pairwise(counts)))


def _batch(symbol_field: str) -> bytes:
    row = {"timestamp": 1_760_000_000_000, symbol_field: "symbol"}
    feed = {"region": "region", "exchange": "exchange", "request_type": "type"}
    return json.dumps({**feed, "timestamp_ms": 1_760_000_000_000, "data": [row]}).encode()


def _series(app: App) -> int:
    own: Any = list(app.views.collect())[-1]  # the last family is how many series there are
    return int(own.samples[0].value)


def expected_feeds(config: Config) -> tuple[int, str]:
    """Return how many feeds there may be, and where in the configuration that stands."""
    if config.feeds.expected:
        return len(config.feeds.expected), "feeds.expected"
    if not any(character in glob for glob in config.feeds.include for character in "*?["):
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
