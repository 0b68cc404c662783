"""Contradictions in a configuration whose single values are all valid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.config import redis_place, registry_token
from exporter.config.display import shown
from exporter.config.feed_globs import FeedFilter
from exporter.config.parsers import credentials
from exporter.config.schema import Config
from exporter.config.subscription import Subscription, is_pattern
from exporter.config.tls_files import contradictions
from exporter.core import is_installed

# Fields of a row other than its symbol.
RESERVED_FIELDS = ("timestamp", "last", "high", "low", "price", "asks", "bids", "units")
INGESTION_TOPICS = (
    "new_data_received",
    "exchange_rate_updated",
    "data_processing_completed",
    "cache_invalidation",
)
PROPERTY_MAPS = ("properties", "consumer_properties", "producer_properties")
_COMMITS = "the sidecar commits offsets itself, leave it out"
_OWNED = {
    "bootstrap.servers": "use kafka.bootstrap_servers instead",
    "metadata.broker.list": "use kafka.bootstrap_servers instead",
    "group.id": "use input.group instead",
    "auto.offset.reset": "use input.start instead",
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.commit.interval.ms": "use output.commit_interval instead",
    "enable.auto.offset.store": _COMMITS,
    "topic.blacklist": "use input.exclude instead",
    "partition.assignment.strategy": "the sidecar needs cooperative-sticky and sets it, leave it out",
    "isolation.level": "the sidecar reads committed records only, leave it out",
    "delivery.report.only.error": "the sidecar sets it where it needs it, leave it out",
    "transactional.id": "the sidecar makes it from instance, leave it out",
}
_ALL = ("all", ("all", "-1"))
_IN_FLIGHT = ("1 to 5", ("1", "2", "3", "4", "5"))
# Allowed values, in words and in librdkafka's spellings.
_EXACTLY_ONCE_NEEDS = {
    "enable.idempotence": ("true", ("true", "t", "1")),
    "acks": _ALL,
    "request.required.acks": _ALL,
    "max.in.flight.requests.per.connection": _IN_FLIGHT,
    "max.in.flight": _IN_FLIGHT,
    "metadata.recovery.strategy": ("none", ("none",)),
}


class Conflict(NamedTuple):
    """A contradiction: a mistake at the first of the paths, caused by the others."""

    message: str
    paths: tuple[str, ...]


def conflicts(config: Config) -> Iterator[Conflict]:
    """Yield every contradiction in the configuration."""
    yield from _owned_properties(config)
    yield from _expected_feeds(config)
    yield from _symbol_field(config)
    yield from _core(config)
    yield from _formats(config)
    yield from _feed_rules(config)
    yield from _redis(config)
    yield from _ingestion(config)
    yield from _credentials(config)
    yield from _web(config)
    yield from _risk(config)
    if not config.output.enabled:
        yield from _output_off(config)
        return
    yield from _output(config)
    yield from _registry(config)
    yield from _excluded(config)
    yield from _loops(config)
    if config.output.delivery == "exactly_once":
        yield from _exactly_once(config)


def _risk(config: Config) -> Iterator[Conflict]:
    positions, paths = config.risk.positions, ("risk.positions.file", "risk.positions.topic")
    if config.risk.enabled and positions.file is None and positions.topic is None:
        yield Conflict("risk needs positions, from a file or from a topic", ("risk.enabled", *paths))
    if positions.file is not None and positions.topic is not None:
        yield Conflict("positions come from a file or from a topic, not from both", paths)
    if config.risk.enabled and config.risk.topic in (config.output.topic, config.output.error_topic):
        yield Conflict("the topic of risk is compacted and needs to be one of its own", ("risk.topic",))


def _symbol_field(config: Config) -> Iterator[Conflict]:
    if config.input.symbol_field in RESERVED_FIELDS:
        yield Conflict("rows use a field of this name for something else", ("input.symbol_field",))


def _core(config: Config) -> Iterator[Conflict]:
    if config.input.core == "native" and not is_installed():
        yield Conflict("the native core is not installed: it is built where Rust is", ("input.core",))


def _formats(config: Config) -> Iterator[Conflict]:
    read = Subscription(config.input.topics, config.input.exclude)
    for topic in (topic for one in config.input.formats for topic in one.topics):
        if not is_pattern(topic) and not read.means(topic):
            message = f"got a format for {shown(topic)}, which input.topics does not have"
            yield Conflict(message, ("input.formats", "input.topics"))


def _properties(config: Config) -> Iterator[tuple[str, str, str]]:
    for section in PROPERTY_MAPS:
        for name, value in getattr(config.kafka, section).items():
            yield f"kafka.{section}.{name}", name, value


def _owned_properties(config: Config) -> Iterator[Conflict]:
    for path, name, _ in _properties(config):
        if name in _OWNED:
            yield Conflict(f"cannot be set here, {_OWNED[name]}", (path,))


def _exactly_once(config: Config) -> Iterator[Conflict]:
    for path, name, value in _properties(config):
        if name not in _EXACTLY_ONCE_NEEDS:
            continue
        words, allowed = _EXACTLY_ONCE_NEEDS[name]
        if value.strip().lower() not in allowed:
            message = f"got {shown(value, name)}, expected {words} with output.delivery exactly_once"
            yield Conflict(message, (path, "output.delivery"))


def _output_off(config: Config) -> Iterator[Conflict]:
    if config.output.create_topics is not None:
        message = "nothing is published when output.enabled is false, so there are no topics to create"
        yield Conflict(message, ("output.create_topics", "output.enabled"))


def _output(config: Config) -> Iterator[Conflict]:
    output = config.output
    if output.encoding == "json" and output.schema_registry is not None:
        message = "a schema registry goes with encoding avro, expected null with encoding json"
        yield Conflict(message, ("output.schema_registry", "output.encoding"))
    if output.topic == output.error_topic:
        message = f"got {shown(output.topic)}, expected another topic than output.topic"
        yield Conflict(message, ("output.error_topic", "output.topic"))
    if output.commit_interval > output.backlog.age:
        message = f"got {output.commit_interval:g}s, expected at most output.backlog.age ({output.backlog.age:g}s)"
        yield Conflict(message, ("output.commit_interval", "output.backlog.age"))


def _registry(config: Config) -> Iterator[Conflict]:
    output = config.output
    url, prefix = output.schema_registry or "", "output.schema_registry_"
    for message, key in contradictions(output.schema_registry_tls, url):
        yield Conflict(message, (f"{prefix}tls.{key}", "output.schema_registry"))
    given = {key: getattr(output, f"schema_registry_{key}") for key in ("username", "password", "token", "token_file")}
    for message, key in registry_token.contradictions(url, given):
        yield Conflict(message, (f"{prefix}{key}",))


def _excluded(config: Config) -> Iterator[Conflict]:
    if not config.input.exclude:
        return
    read = Subscription(config.input.topics, config.input.exclude)
    for number, topic in enumerate(config.input.topics):
        if not is_pattern(topic) and read.excludes(topic):
            message = f"got {shown(topic)}, which input.exclude excludes"
            yield Conflict(message, (f"input.topics[{number}]", "input.exclude"))
    # Brokers would assign the excluded topics, so a replica might get nothing else.
    for path, name, value in _properties(config):
        if name == "group.protocol" and value.strip().lower() == "consumer":
            message = "brokers that find the topics of patterns know no exclusions, expected classic with input.exclude"
            yield Conflict(message, (path, "input.exclude"))


def _loops(config: Config) -> Iterator[Conflict]:
    for number, topic in enumerate(config.input.topics):
        read = Subscription([topic], config.input.exclude)
        published = {"output.topic": config.output.topic, "output.error_topic": config.output.error_topic}
        if config.risk.enabled:
            published["risk.topic"] = config.risk.topic
        for key, name in published.items():
            if read.means(name):
                message = f"got {shown(topic)}, which reads what {key} publishes, an endless loop"
                yield Conflict(message, (f"input.topics[{number}]", key))


def _ingestion(config: Config) -> Iterator[Conflict]:
    """Yield the topics of ingestion events that are read as batches, too, where each event would be rejected."""
    if not config.ingestion.enabled:
        return
    for number, topic in enumerate(config.input.topics):
        read = Subscription([topic], config.input.exclude)
        for event in INGESTION_TOPICS:
            if read.means(config.ingestion.prefix + event):
                message = f"got {shown(topic)}, which means {config.ingestion.prefix}{event}: it has no batches"
                yield Conflict(message, (f"input.topics[{number}]", "ingestion.prefix"))


def _redis(config: Config) -> Iterator[Conflict]:
    if config.redis.ttl < config.redis.window:
        message = f"got {config.redis.ttl:g}s, expected at least redis.window ({config.redis.window:g}s)"
        yield Conflict(message, ("redis.ttl", "redis.window"))
    redis = config.redis
    for message, key in redis_place.contradictions(redis.url, redis.sentinel, redis.tls, is_cluster=redis.cluster):
        yield Conflict(message, (f"redis.{key}",))


def _credentials(config: Config) -> Iterator[Conflict]:
    """Yield users and passwords that are given in a URL and in a key: one of the two would be ignored."""
    redis, output = config.redis, config.output
    places = (
        ("redis.url", redis.url, "redis.", (redis.username, redis.password)),
        (
            "output.schema_registry",
            output.schema_registry,
            "output.schema_registry_",
            (output.schema_registry_username, output.schema_registry_password),
        ),
    )
    for path, url, prefix, given in places:
        for name, value in zip(("username", "password"), given, strict=True):
            if value is not None and name in credentials(url or ""):
                yield Conflict(f"is given in {path}, too, expected one of the two", (f"{prefix}{name}", path))


def passwords(config: Config) -> Iterator[tuple[str, str]]:
    """Yield path and value of each password in a key or a property."""
    yield "redis.password", config.redis.password or ""
    yield "redis.sentinel.password", config.redis.sentinel.password or ""
    yield "web.client.password", config.web.client.password or ""
    yield "output.schema_registry_password", config.output.schema_registry_password or ""
    yield "output.schema_registry_token", config.output.schema_registry_token or ""
    registries = [one.schema_registry for one in config.input.formats if one.schema_registry is not None]
    yield from (("input.formats", secret or "") for each in registries for secret in (each.password, each.token))
    yield from ((path, value) for path, name, value in _properties(config) if name.endswith(("password", "secret")))


def _web(config: Config) -> Iterator[Conflict]:
    client = config.web.client
    for first, second in (("cert_file", "key_file"), ("username", "password")):
        given = [name for name in (first, second) if getattr(client, name) is not None]
        if len(given) == 1:
            missing = second if given == [first] else first
            yield Conflict(f"missing, expected beside {given[0]}", (f"web.client.{missing}", f"web.client.{given[0]}"))


def _expected_feeds(config: Config) -> Iterator[Conflict]:
    limits, seen = config.input.limits, set()
    wanted = FeedFilter(config.feeds.include, config.feeds.exclude)
    if len(config.feeds.expected) > limits.feeds:
        message = f"got {len(config.feeds.expected)} feeds, expected at most input.limits.feeds ({limits.feeds})"
        yield Conflict(message, ("feeds.expected", "input.limits.feeds"))
    symbols = sum(len(expected.symbols) for expected in config.feeds.expected)
    if symbols > limits.symbols:
        message = f"got {symbols} symbols of all feeds, expected at most input.limits.symbols ({limits.symbols})"
        yield Conflict(message, ("feeds.expected", "input.limits.symbols"))
    for number, expected in enumerate(config.feeds.expected):
        path, name = f"feeds.expected[{number}]", str(expected.feed)
        if expected.feed in seen:
            yield Conflict(f"got {shown(name)} a second time", (path,))
        seen.add(expected.feed)
        if not wanted.wants(expected.feed):
            yield Conflict(
                f"got {shown(name)}, which include and exclude filter out", (path, "feeds.include", "feeds.exclude")
            )
        yield from _beyond_limits(config, path, (*expected.feed, *expected.symbols), len(expected.symbols))
    yield from _beyond_limits(config, "feeds.symbols.shown", config.feeds.symbols.shown)


def _feed_rules(config: Config) -> Iterator[Conflict]:
    for number, thresholds in enumerate(config.feeds.thresholds):
        if thresholds.floor > thresholds.ceiling:
            path = f"feeds.thresholds[{number}]"
            message = f"got {thresholds.floor:g}s, expected at most the ceiling ({thresholds.ceiling:g}s)"
            yield Conflict(message, (f"{path}.floor", f"{path}.ceiling"))
    for number, rule in enumerate(config.feeds.calendar):
        if not (rule.maintenance or rule.open):
            yield Conflict("has no effect, expected maintenance windows or open hours", (f"feeds.calendar[{number}]",))


def _beyond_limits(config: Config, path: str, names: tuple[str, ...], symbols: int = 0) -> Iterator[Conflict]:
    limits = config.input.limits
    if symbols > limits.symbols_per_feed:
        message = f"got {symbols} symbols, expected at most input.limits.symbols_per_feed ({limits.symbols_per_feed})"
        yield Conflict(message, (path, "input.limits.symbols_per_feed"))
    too_long = next((name for name in names if len(name) > limits.name_length), None)
    if too_long is not None:
        message = f"got {shown(too_long)}, expected at most input.limits.name_length ({limits.name_length}) characters"
        yield Conflict(message, (path, "input.limits.name_length"))
