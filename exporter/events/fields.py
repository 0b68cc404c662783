"""The fields of an event, read from its body: for readers in this process, which have no Avro tools. Pure."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import orjson
from fastavro.schema import parse_schema

from exporter.events.encoding import AvroEncoder
from exporter.events.factory import Event
from exporter.events.values import load_schema
from exporter.model import AnyEventType, EventType


class FieldReader:
    """Reads bodies of the events about feeds in Avro and JSON, as the encoders write them."""

    def __init__(self) -> None:
        self._schemas: dict[AnyEventType, Any] = {kind: parse_schema(load_schema(kind)) for kind in EventType}

    def read(self, event: Event) -> dict[str, Any]:
        """Return the fields of an event."""
        if dict(event.headers)["content-type"] == AvroEncoder.content_type:
            read: Any = fastavro.schemaless_reader(BytesIO(event.body), self._schemas[event.type], None)
        else:
            read = orjson.loads(event.body)
        return dict(read)
