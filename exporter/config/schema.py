"""The configuration as frozen values: every key, its type, its bounds and its default.

`reference.yml` explains the keys to users; `loader.load` reads them; `conflicts` yields their contradictions;
`needs_restart` names those that a reload cannot change, see `changes`.
Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from exporter.config import parsers, windows
from exporter.config.cache_schema import CacheConfig
from exporter.config.format_schema import FormatConfig
from exporter.config.format_text import file_name
from exporter.config.ingestion_schema import IngestionConfig
from exporter.config.redis_place import SentinelConfig
from exporter.config.risk_schema import RiskConfig
from exporter.config.section import Section, byte_size, count, number, parsed, seconds, secret
from exporter.config.tls_files import TlsFiles
from exporter.config.web_schema import WebConfig
from exporter.core import CoreChoice
from exporter.model import Anomaly, FeedKey

_NAME = Meta(pattern=r"\A[!-~](?:[ -~]{0,198}[!-~])?\Z", description="a name of 1 to 200 printable ASCII characters")
_TOPIC = parsed(parsers.topic, "the name of a topic")
_GLOB = parsed(parsers.feed_glob, "a glob over region:exchange:request_type, such as korea:*:ticker")
_SYMBOL = Meta(min_length=1, max_length=256, description="the name of a symbol")
_LIST = Meta(min_length=1, max_length=1000, description="a list of 1 to 1000 entries, such as [a, b]")
_PASSWORD = secret("a password")


class KafkaConfig(Section, frozen=True, kw_only=True):
    """How to connect to Kafka; the three maps pass properties through to librdkafka."""

    bootstrap_servers: Annotated[str, parsed(parsers.brokers, "brokers, such as one:9092,two:9092")] = "localhost:9092"
    properties: dict[str, str] = field(default_factory=dict)
    consumer_properties: dict[str, str] = field(default_factory=dict)
    producer_properties: dict[str, str] = field(default_factory=dict)
    msk_iam_region: Annotated[str, parsed(parsers.aws_region, "a region of AWS, such as eu-west-1")] | None = None


class Limits(Section, frozen=True, kw_only=True):
    """Limits on single records, feeds and symbols; records beyond them are rejected and counted."""

    record_bytes: Annotated[int, byte_size("1KiB", "64MiB")] = 1024**2
    messages: Annotated[int, count(1, 1_000_000)] = 10_000
    depth: Annotated[int, count(1, 512)] = 32
    feeds: Annotated[int, count(1, 100_000)] = 10_000
    symbols_per_feed: Annotated[int, count(1, 1_000_000)] = 10_000
    symbols: Annotated[int, count(1, 10_000_000)] = 250_000
    name_length: Annotated[int, count(1, 256)] = 64


class InputConfig(Section, frozen=True, kw_only=True):
    """What to read, in which group, and from where; topics with a leading ^ are patterns (see `topic_syntax`)."""

    needs_restart: ClassVar[frozenset[str]] = frozenset(
        {"topics", "exclude", "group", "start", "formats", "core", "on_unreadable", "warm_start"}
    )

    topics: Annotated[
        tuple[Annotated[str, parsed(parsers.topic_or_pattern, "a topic, or a pattern after ^")], ...],
        _LIST,
    ] = (r"^(ticker|orderbook|trade)-data\..+$",)
    exclude: Annotated[
        tuple[Annotated[str, parsed(parsers.excluded_topic, "a topic, or a pattern after ^")], ...],
        Meta(max_length=1000, description="a list of at most 1000 entries, such as [a, b]"),
    ] = ()
    group: Annotated[str, _NAME] = "marketdata-exporter"
    start: Literal["latest", "earliest"] = "latest"
    symbol_field: Annotated[
        str, Meta(pattern=r'\A[^\x00-\x1f"\\]{1,64}\Z', description="the name of a field, without quotes")
    ] = "target_currency"
    formats: Annotated[
        tuple[FormatConfig, ...], Meta(max_length=1000, description="a list of at most 1000 formats")
    ] = ()
    core: CoreChoice = "auto"
    on_unreadable: Literal["skip", "stop"] = "skip"
    warm_start: Annotated[int, count(0, 100_000)] = 1000
    live_age: Annotated[float, seconds("1s", "1d")] = 60.0
    limits: Limits = Limits()


class ExpectedFeed(Section, frozen=True, kw_only=True):
    """A feed that must exist, and the symbols that it must have, if they are known."""

    shorthand: ClassVar[str] = "feed"  # text alone, in place of the mapping, is this field

    feed: Annotated[FeedKey, parsed(parsers.feed_key, "a feed, such as korea:upbit:ticker")]
    symbols: Annotated[
        tuple[Annotated[str, _SYMBOL], ...],
        Meta(max_length=1_000_000, description="a list, such as [KRW-BTC, KRW-ETH]"),
    ] = ()


_GLOBS = Annotated[tuple[Annotated[str, _GLOB], ...], _LIST]


class CalendarRule(Section, frozen=True, kw_only=True):
    """When feeds may be silent: in maintenance windows, and outside of their open hours if they have any."""

    feeds: _GLOBS
    timezone: Annotated[str, parsed(windows.zone_name, "an IANA time zone, such as Asia/Seoul")] = "UTC"
    maintenance: Annotated[
        tuple[Annotated[str, parsed(windows.window_text, "a window, such as sun 02:00-06:00 or FROM/TO")], ...],
        Meta(max_length=1000, description="a list, such as [sun 02:00-06:00]"),
    ] = ()
    open: Annotated[
        tuple[Annotated[str, parsed(windows.hours_text, "hours, such as mon-fri 09:00-15:30")], ...],
        Meta(max_length=1000, description="a list, such as [mon-fri 09:00-15:30]"),
    ] = ()


_ANOMALY = Meta(description=f"one of {', '.join(Anomaly)}")


class Thresholds(Section, frozen=True, kw_only=True):
    """When feeds are silent, frozen or partial, and which anomalies are ignored; durations of None are learned.

    A learned duration is `factor` times the usual interval, between `floor` and `ceiling`; see
    `exporter.analyzers.thresholds`.
    """

    feeds: _GLOBS = ("*",)
    silent: Annotated[float, seconds("5s", "30d")] | None = None
    frozen: Annotated[float, seconds("5s", "30d")] | None = None
    factor: Annotated[float, number(1.5, 100)] = 4.0
    floor: Annotated[float, seconds("5s", "30d")] = 10.0
    ceiling: Annotated[float, seconds("5s", "30d")] = 3600.0
    coverage: Annotated[float, number(0, 1)] = 0.8
    ignore_anomalies: Annotated[
        tuple[Annotated[Anomaly, _ANOMALY], ...],
        Meta(max_length=len(Anomaly), description=f"a list of at most {len(Anomaly)}, such as [invalid_price]"),
    ] = ()


class SymbolsConfig(Section, frozen=True, kw_only=True):
    """Which symbols have series by name: those of a list, and the `stalest` of each feed."""

    shown: Annotated[
        tuple[Annotated[str, _SYMBOL], ...], Meta(max_length=1000, description="a list of at most 1000 symbols")
    ] = ()
    stalest: Annotated[int, count(0, 1000)] = 0


class FeedsConfig(Section, frozen=True, kw_only=True):
    """Which feeds to analyze, which of them must exist, when they are healthy, and what else to analyze."""

    include: Annotated[tuple[Annotated[str, _GLOB], ...], _LIST] = ("*",)
    exclude: Annotated[
        tuple[Annotated[str, _GLOB], ...], Meta(max_length=1000, description="a list, such as [test:*]")
    ] = ()
    expected: Annotated[
        tuple[ExpectedFeed, ...],
        Meta(max_length=100_000, description="a list, such as [korea:upbit:ticker]"),
    ] = ()
    thresholds: Annotated[
        tuple[Thresholds, ...], Meta(max_length=1000, description="a list of at most 1000 rules")
    ] = ()
    calendar: Annotated[
        tuple[CalendarRule, ...], Meta(max_length=1000, description="a list of at most 1000 rules")
    ] = ()
    symbols: SymbolsConfig = SymbolsConfig()
    pairs: Annotated[
        tuple[Annotated[str, parsed(parsers.pair_pattern, "a regular expression for a pair")], ...],
        Meta(max_length=100, description="a list of at most 100 regular expressions"),
    ] = ()
    find_duplicates: bool = False


class BacklogLimits(Section, frozen=True, kw_only=True):
    """Limits on the events waiting to be published; beyond them reading pauses."""

    events: Annotated[int, count(1, 10_000_000)] = 100_000
    bytes: Annotated[int, byte_size("64KiB", "16GiB")] = 64 * 1024**2
    age: Annotated[float, seconds("1s", "1d")] = 60.0


class CreateTopics(Section, frozen=True, kw_only=True):
    """How to create missing output topics; a replication of None is the broker's default.

    One partition: with each commit the producer makes a request to every partition that has events of it.
    """

    partitions: Annotated[int, count(1, 10_000)] = 1
    replication: Annotated[int, count(1, 32)] | None = None
    retention: Annotated[float, seconds("1m", "3650d")] = 604_800.0


class OutputConfig(Section, frozen=True, kw_only=True):
    """What to publish, where, with which guarantee and how often."""

    needs_restart: ClassVar[frozenset[str]] = frozenset(
        {
            "enabled",
            "topic",
            "error_topic",
            "delivery",
            "encoding",
            "schema_registry",
            "schema_registry_username",
            "schema_registry_password",
            "schema_registry_token",
            "schema_registry_token_file",
            "schema_registry_tls",
            "schema_registry_subjects",
            "schema_registry_register",
            "create_topics",
        }
    )

    enabled: bool = True
    topic: Annotated[str, _TOPIC] = "monitoring.batch.performance"
    error_topic: Annotated[str, _TOPIC] = "ws.error"
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    encoding: Literal["avro", "json"] = "avro"
    schema_registry: Annotated[str, parsed(parsers.http_url, "a URL, such as http://registry:8081")] | None = None
    schema_registry_username: Annotated[str, secret("a user without colon", parsers.http_user)] | None = None
    schema_registry_password: Annotated[str, _PASSWORD] | None = None
    schema_registry_token: Annotated[str, secret("a token", parsers.http_token)] | None = None
    schema_registry_token_file: Annotated[str, parsed(file_name, "the path of a file")] | None = None
    schema_registry_tls: TlsFiles = TlsFiles()
    schema_registry_subjects: Literal["topic_record", "record", "topic"] = "topic_record"
    schema_registry_register: bool = True
    batch_events: bool = True
    summary_interval: Annotated[float, seconds("1s", "1d")] = 60.0
    commit_interval: Annotated[float, seconds("10ms", "30s")] = 0.25
    backlog: BacklogLimits = BacklogLimits()
    create_topics: CreateTopics | None = None


class RedisConfig(Section, frozen=True, kw_only=True):
    """The Redis that adds up the symbols of all replicas; none without a URL."""

    url: Annotated[str, parsed(parsers.redis_url, "a URL, such as redis://redis:6379/0")] | None = None
    username: Annotated[str, secret("a user")] | None = None
    password: Annotated[str, _PASSWORD] | None = None
    tls: TlsFiles = TlsFiles()
    sentinel: SentinelConfig = SentinelConfig()
    cluster: bool = False
    prefix: Annotated[str, Meta(pattern=r"\A[\w.:-]{1,64}\Z", description="1 to 64 of letters, digits, _ . : -")] = (
        "marketdata"
    )
    window: Annotated[float, seconds("1m", "7d")] = 3600.0
    ttl: Annotated[float, seconds("1m", "365d")] = 86_400.0
    queue: Annotated[int, count(1, 1_000_000)] = 1000


_FAMILY = Meta(
    pattern=r"\A[A-Za-z0-9_*?\[\]!-]{1,200}\Z", description="a glob over names of families, such as marketdata_symbol_*"
)


class FamiliesConfig(Section, frozen=True, kw_only=True):
    """Which families are shown, by globs over their names; see `exporter.instrument.selection`."""

    include: Annotated[tuple[Annotated[str, _FAMILY], ...], _LIST] = ("*",)
    exclude: Annotated[
        tuple[Annotated[str, _FAMILY], ...], Meta(max_length=1000, description="a list, such as [python_*]")
    ] = ()


class MetricsConfig(Section, frozen=True, kw_only=True):
    """What is shown at `/metrics`; what is off is not counted either."""

    needs_restart: ClassVar[frozenset[str]] = frozenset({"topics", "families", "histograms"})

    topics: Literal["all", "pattern", "none"] = "all"
    families: FamiliesConfig = FamiliesConfig()
    histograms: Literal["classic", "native", "both", "off"] = "classic"


class LogConfig(Section, frozen=True, kw_only=True):
    """What is logged to stderr, and how."""

    level: Literal["debug", "info", "warn", "error"] = "info"
    format: Literal["logfmt", "json"] = "logfmt"


class Config(Section, frozen=True, kw_only=True):
    """Everything that can be configured.

    `instance` is the stable name of this sidecar; `loader.load` sets it to the name of the host by default.
    """

    needs_restart: ClassVar[frozenset[str]] = frozenset({"instance", "kafka", "redis", "ingestion"})

    instance: Annotated[str, _NAME] = "localhost"
    kafka: KafkaConfig = KafkaConfig()
    input: InputConfig = InputConfig()
    feeds: FeedsConfig = FeedsConfig()
    output: OutputConfig = OutputConfig()
    redis: RedisConfig = RedisConfig()
    cache: CacheConfig = CacheConfig()
    ingestion: IngestionConfig = IngestionConfig()
    risk: RiskConfig = RiskConfig()
    web: WebConfig = WebConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
