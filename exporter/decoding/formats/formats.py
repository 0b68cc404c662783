"""Formats by topic: the first whose `topics` has it, and for all others the batch that needs no format. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from exporter.config.files import read_text
from exporter.config.topic_choice import TopicChoice
from exporter.decoding.formats.bodies import Body, JsonBody, MessagePackBody, ObjectBody
from exporter.decoding.formats.reader import FormatReader
from exporter.model import Reason, Rejected

if TYPE_CHECKING:
    from exporter.config.format_schema import FormatConfig
    from exporter.config.schema import Limits
    from exporter.decoding.batch import Batch
    from exporter.decoding.formats.texts import Groups
    from exporter.decoding.record_decoder import FindSchemas, RecordDecoder
    from exporter.model import Record


class Formats:
    """Reads each record by the format of its topic, and by `usual` where no format has it.

    `core` is the native core; without it Python reads all of them.
    """

    plain = None  # see RecordDecoder

    def __init__(
        self,
        formats: Iterable[FormatConfig],
        limits: Limits,
        usual: RecordDecoder,
        find_schemas: FindSchemas | None = None,
        core: Any = None,
    ) -> None:
        self._usual = usual
        self._formats = [
            (TopicChoice(one.topics), FormatReader(one, _body(one, limits, find_schemas), limits, core))
            for one in formats
        ]
        self._topics: dict[str, tuple[FormatReader, Groups] | None] = {}

    def read(self, record: Record) -> Batch | None:
        """See RecordDecoder."""
        topic = record.partition.topic
        if topic not in self._topics:
            self._topics[topic] = self._find(topic)
        found = self._topics[topic]
        return self._usual.read(record) if found is None else found[0].read(record, found[1])

    def content(self, record: Record) -> Any:
        """Return what a record of a topic with a format holds, as plain objects; raise as `Body.content` does."""
        found = self._find(record.partition.topic)
        return None if found is None else found[0].content(record.value or b"")

    def _find(self, topic: str) -> tuple[FormatReader, Groups] | None:
        for choice, reader in self._formats:
            groups = choice.groups(topic)
            if groups is not None:
                return reader, groups
        return None


def _body(one: FormatConfig, limits: Limits, find_schemas: FindSchemas | None) -> Body:
    if one.encoding == "msgpack":
        return MessagePackBody()
    if one.encoding == "avro-single-object":
        # Loaded when it is needed: most formats are JSON.
        from exporter.decoding.formats.avro import single_object

        return ObjectBody(single_object(map(read_text, one.schemas)))
    if one.schema_registry is not None:
        from exporter.decoding.formats.avro import confluent

        return ObjectBody(confluent(_no_schema if find_schemas is None else find_schemas(one.schema_registry)))
    return JsonBody(limits.depth)


def _no_schema(number: int) -> Any:
    raise Rejected(Reason.INVALID_ENCODING, f"schema {number} is not known: no schema registry is asked here")
