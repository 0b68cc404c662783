"""The decoders of `input.formats` and of presets, as `explain` and `check` use them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from msgspec.structs import replace

from exporter.config.format_schema import FormatConfig, SchemaRegistryFormat, StampValue, TextSource, TimeFormat
from exporter.config.format_text import LIST
from exporter.config.loader import ConfigError, load
from exporter.config.presets import presets
from exporter.config.schema import Config, InputConfig
from exporter.config.subscription import Subscription
from exporter.config.topic_choice import TopicChoice
from exporter.decoding.batch import Batch
from exporter.decoding.formats.formats import Formats
from exporter.decoding.formats.texts import Text
from exporter.decoding.json_decoder import Decoder
from exporter.model import FeedKey, Record
from exporter.runtime.worker import ThreadWorker
from exporter.tools.explain.candidate import Candidate, Source, topic_name

# In place of the topic of a file, while a preset is loaded.
_ANY_TOPIC = "any"


class FormatDecoder:
    """One format, for the records of one topic, which the format need not have among its topics."""

    has_format = True

    def __init__(self, name: str, one: FormatConfig, topic: str, settings: InputConfig) -> None:
        self.name = name
        self.sources = format_sources(one)
        if TopicChoice(one.topics).groups(topic) is None:
            one = replace(one, topics=(topic,))
        self._one = one
        usual = Decoder(settings.limits, settings.symbol_field)
        self._formats = Formats([one], settings.limits, usual, _finder)

    def decode(self, record: Record) -> Batch | None:
        """See TopicDecoder."""
        return self._formats.read(record)

    def content(self, record: Record) -> object:
        """See TopicDecoder."""
        return _named(self._formats.content(record), self._one)


def _finder(registry: SchemaRegistryFormat) -> Callable[[int], Any]:
    # Loaded when it is needed: the client of the registry takes 6 MB.
    from exporter.events.writer_schemas import schemas

    return schemas(registry, ThreadWorker("schemas")).ask


def format_decoder(topic: str, config: Config) -> FormatDecoder | None:
    """Return the decoder of the first format that has the topic; None when none has."""
    for place, one in enumerate(config.input.formats):
        if TopicChoice(one.topics).groups(topic) is not None:
            name = one.preset or f"format {place} of input.formats"
            return FormatDecoder(name, one, topic, config.input)
    return None


def preset_candidates(topic: str, settings: InputConfig) -> Iterator[Candidate]:
    """Yield each entry of each preset, with the configuration that gives it to the topic."""
    for name, family in _entries().items():
        own = _loaded(json.dumps({"preset": name}))
        if own is not None and TopicChoice(own.topics).groups(topic) is not None:
            one, lines = own, [f"    - preset: {family}"]
        elif (found := _given(name, topic)) is None:
            continue
        else:
            one, lines = found
        is_read = topic and Subscription(settings.topics, settings.exclude).means(topic)
        lines = [
            "input:",
            *([] if is_read else [f"  topics: [{topic_name(topic)}]  # beside others"]),
            "  formats:",
            *lines,
        ]
        yield Candidate(FormatDecoder(f"preset {name}", one, topic, settings), "\n".join(lines))


@cache
def _entries() -> dict[str, str]:
    """Return the names of all entries of presets, each with the first preset that has it."""
    of_entry: dict[int, list[str]] = defaultdict(list)
    single: dict[int, str] = {}
    for name, entries in presets().items():
        for entry in entries:
            of_entry[id(entry)].append(name)
        if len(entries) == 1:
            single.setdefault(id(entries[0]), name)
    return {name: of_entry[entry][0] for entry, name in single.items()}


def _given(name: str, topic: str) -> tuple[FormatConfig, list[str]] | None:
    """Return a preset with what it does not have by itself, and its lines in the configuration."""
    lines = [f"    - preset: {name}", f"      topics: {topic_name(topic)}"]
    given: dict[str, object] = {"preset": name, "topics": _ANY_TOPIC}
    if (one := _loaded(json.dumps(given))) is not None:
        return one, lines
    if (one := _loaded(json.dumps(given | {"feed": {"exchange": "exchange"}}))) is not None:
        return one, [*lines, "      feed: {exchange: EXCHANGE}  # no field has it"]
    return None


@cache
def _loaded(given: str) -> FormatConfig | None:
    """Return an entry of `input.formats`, as JSON, as a format; None for one that is wrong."""
    text = json.dumps({"input": {"topics": [_ANY_TOPIC], "formats": [json.loads(given)]}})
    try:
        (one,) = load(text, {}, {}, hostname=_ANY_TOPIC, read_file=str).input.formats
    except ConfigError:
        return None
    return one


def format_sources(one: FormatConfig) -> Mapping[str, Source]:
    """Return where a format takes each field of a batch from."""
    row = "" if one.rows is None else f"{'' if one.rows == LIST else one.rows}[]"
    sources = {name: _text(getattr(one.feed, name), "") for name in FeedKey._fields}
    sources["timestamp_ms"] = _time(one.time)
    if one.batch_size is not None:
        sources["batch_size"] = Source(one.batch_size, (one.batch_size,))
    sources["symbol"] = _text(one.row.symbol, row)
    for name in one.row.__struct_fields__:
        value = getattr(one.row, name)
        if name != "symbol" and value is not None:
            sources[name] = _fields(value.field, row, has_zone=isinstance(value, StampValue) and value.zone is not None)
    return sources


def _named(content: object, one: FormatConfig) -> object:
    """Return what a record holds, with the names of its positions where these are in the format."""
    if not one.array:
        return content
    if one.rows is None:
        return _row(content, one.array)
    if one.rows == LIST:
        return [_row(row, one.array) for row in content] if isinstance(content, list) else content
    outer, _, last = one.rows.partition(".")
    if not isinstance(content, dict) or outer not in content:
        return content
    inner = replace(one, rows=last or LIST)
    return content | {outer: _named(content[outer], inner)}


def _row(content: object, array: tuple[str, ...]) -> object:
    return dict(zip(array, content, strict=False)) if isinstance(content, list | tuple) else content


def _text(source: TextSource, within: str) -> Source:
    if source.field is not None:
        return _fields(source.field, within)
    where = Text(source).where
    return Source(f"constant {source.constant}" if source.constant is not None else where)


def _fields(names: tuple[str, ...], within: str, *, has_zone: bool = False) -> Source:
    paths = tuple(f"{within}.{name}" if within else name for name in names)
    return Source(" or ".join(paths), paths, has_zone)


def _time(time: TimeFormat) -> Source:
    if time.field is not None:
        return _fields(time.field, "", has_zone=time.zone is not None)
    return Source("newest row" if time.row is not None else "Kafka's time of the record")
