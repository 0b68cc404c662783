"""What reads the records of all topics: the usual batches alone, or with the formats of `input.formats`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from exporter.config.topic_choice import TopicChoice
from exporter.core import native
from exporter.decoding.json_decoder import Decoder

if TYPE_CHECKING:
    from exporter.config.format_schema import FormatConfig, SchemaRegistryFormat
    from exporter.config.schema import InputConfig, OutputConfig
    from exporter.decoding.batch import Batch
    from exporter.model import Record

    FindSchemas = Callable[[SchemaRegistryFormat], Callable[[int], Any]]


class RecordDecoder(Protocol):
    """Reads records.

    `plain` returns the batch of a record's value that is plainly valid, whatever else is known of the record, and None
    for any other; it is None itself where there is no such short way.
    """

    @property
    def plain(self) -> Callable[[bytes], Any] | None:
        """See above."""

    def read(self, record: Record) -> Batch | None:
        """Return the batch of a record, None for one that holds none; raise `Rejected` with the reason."""


def record_decoder(settings: InputConfig, find_schemas: FindSchemas | None = None) -> RecordDecoder:
    """Return the decoder of a configuration; `find_schemas` returns what finds the schemas of a registry by id."""
    reference = Decoder(settings.limits, settings.symbol_field)
    usual: RecordDecoder = reference
    if (core := native(settings.core)) is not None:
        from exporter.decoding.native_decoder import NativeDecoder

        usual = NativeDecoder(core, settings, reference)
    if not settings.formats:
        return usual
    # Loaded when it is needed: most collectors write the usual batch.
    from exporter.decoding.formats.formats import Formats

    return Formats(settings.formats, settings.limits, usual, find_schemas, core)


def batch_events(settings: InputConfig, output: OutputConfig) -> Callable[[str], bool]:
    """Return the decision whether each batch of a topic has an event: not by default where each is one row."""
    choices = [(TopicChoice(one.topics), _has_events(one, output)) for one in settings.formats]

    def has_events(topic: str) -> bool:
        return next((has for choice, has in choices if choice.groups(topic) is not None), output.batch_events)

    return has_events


def _has_events(one: FormatConfig, output: OutputConfig) -> bool:
    return output.batch_events and one.has_rows if one.batch_events is None else one.batch_events
