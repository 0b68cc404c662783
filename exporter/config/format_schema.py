"""How records of other shapes than the usual batch are read: the keys of `input.formats`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from exporter.config import parsers, windows
from exporter.config.format_text import file_name, header_name, json_path, key_pattern, label, topic_or_groups
from exporter.config.section import Section, parsed, secret
from exporter.config.tls_files import TlsFiles

Unit = Literal["s", "ms", "us", "ns", "iso8601"]
Case = Literal["lower", "upper"]

_ZONE = parsed(windows.zone_name, "an IANA time zone, such as UTC or Asia/Seoul")
_PATH = parsed(json_path, "a field, such as code or data.code")
_LABEL = parsed(label, "text")
_TEXTS = Meta(min_length=1, max_length=1000, description="text or a list of texts", extra={"is_single": True})
_WORDS = Annotated[tuple[Annotated[str, _LABEL], ...], _TEXTS]
# The first that a record has counts.
Paths = Annotated[
    tuple[Annotated[str, _PATH], ...],
    Meta(min_length=1, max_length=16, description="a field or a list of 1 to 16 fields", extra={"is_single": True}),
]


class TextSource(Section, frozen=True, kw_only=True):
    """Where a text is: a constant, a group of the topic's pattern, the key, a header, or a field.

    `map` goes by what stands there, `case` applies to what comes out. `default` is for records that have none.
    """

    is_whole: ClassVar[bool] = True

    constant: Annotated[str, _LABEL] | None = None
    topic: Annotated[str, _LABEL] | None = None
    key: Annotated[str, parsed(key_pattern, "a pattern after ^")] | None = None
    header: Annotated[str, parsed(header_name, "the name of a header")] | None = None
    field: Paths | None = None
    case: Case | None = None
    map: dict[str, str] = msgspec.field(default_factory=dict)
    default: Annotated[str, _LABEL] | None = None


class FeedText(TextSource, frozen=True, kw_only=True):
    """One of the three words of a feed; text alone is a constant."""

    shorthand: ClassVar[str] = "constant"


class SymbolText(TextSource, frozen=True, kw_only=True):
    """The symbol of a row; text alone is a field."""

    shorthand: ClassVar[str] = "field"


class FeedFormat(Section, frozen=True, kw_only=True):
    """Where the words of a feed are."""

    region: FeedText
    exchange: FeedText
    request_type: FeedText


class Value(Section, frozen=True, kw_only=True):
    """The fields that may hold a value, the first that is there counts; `only` of these request types."""

    is_whole: ClassVar[bool] = True
    shorthand: ClassVar[str] = "field"

    field: Paths
    only: _WORDS = ()


class StampValue(Value, frozen=True, kw_only=True):
    """A value that is a time, in a unit; `zone` is that of ISO 8601 times without an offset from UTC."""

    unit: Unit = "ms"
    zone: Annotated[str, _ZONE] | None = None


class RowFormat(Section, frozen=True, kw_only=True):
    """Where the fields of a row are."""

    symbol: SymbolText
    timestamp: StampValue | None = None
    last: Value | None = None
    high: Value | None = None
    low: Value | None = None
    price: Value | None = None
    asks: Value | None = None
    bids: Value | None = None
    units: Value | None = None


class TimeFormat(Section, frozen=True, kw_only=True):
    """When a batch was collected: a field in a unit and zone, Kafka's time of the record, or the newest of its rows."""

    is_whole: ClassVar[bool] = True
    shorthand: ClassVar[str] = "field"

    field: Paths | None = None
    unit: Unit = "ms"
    zone: Annotated[str, _ZONE] | None = None
    kafka: bool = False
    row: Annotated[str, Meta(pattern="^newest$", description="newest")] | None = None


class SchemaRegistryFormat(Section, frozen=True, kw_only=True):
    """The registry that has the schemas of a format's records."""

    shorthand: ClassVar[str] = "url"

    url: Annotated[str, parsed(parsers.http_url, "a URL, such as http://registry:8081")]
    username: Annotated[str, secret("a user without colon", parsers.http_user)] | None = None
    password: Annotated[str, secret("a password")] | None = None
    token: Annotated[str, secret("a token", parsers.http_token)] | None = None
    token_file: Annotated[str, parsed(file_name, "the path of a file")] | None = None
    tls: TlsFiles = TlsFiles()


class FormatConfig(Section, frozen=True, kw_only=True):
    """How the records of some topics are read; a preset has all of this, and what is given beside it wins."""

    shorthand: ClassVar[str] = "preset"

    preset: Annotated[str, _LABEL] | None = None
    topics: Annotated[
        tuple[Annotated[str, parsed(topic_or_groups, "a topic, or a pattern after ^")], ...],
        Meta(
            min_length=1,
            max_length=1000,
            description="a topic or a list of 1 to 1000 topics and patterns",
            extra={"is_single": True},
        ),
    ]
    encoding: Literal["json", "msgpack", "avro-confluent", "avro-single-object"] = "json"
    schema_registry: SchemaRegistryFormat | None = None
    schemas: Annotated[
        tuple[Annotated[str, parsed(file_name, "the path of a file")], ...],
        Meta(max_length=1000, description="a path or a list of at most 1000 paths", extra={"is_single": True}),
    ] = ()
    numbers: Literal["strict", "text"] = "strict"
    rows: Annotated[str, parsed(json_path, "a field, such as data, or []")] | None = None
    text_rows: bool = False
    array: Annotated[
        tuple[Annotated[str, _LABEL], ...], Meta(max_length=1000, description="a list of at most 1000 names")
    ] = ()
    skip: dict[str, _WORDS] = msgspec.field(default_factory=dict)
    feed: FeedFormat
    time: TimeFormat = TimeFormat()
    batch_size: Annotated[str, _PATH] | None = None
    row: RowFormat
    batch_events: bool | None = None

    @property
    def has_rows(self) -> bool:
        """Whether a record is a list of rows rather than one."""
        return self.rows is not None

    @property
    def reads_origin(self) -> bool:
        """Whether a text stands in the key or a header of a record."""
        texts = (self.feed.region, self.feed.exchange, self.feed.request_type, self.row.symbol)
        return any(text.key is not None or text.header is not None for text in texts)
