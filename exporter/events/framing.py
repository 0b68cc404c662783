"""The configured encoder of the bodies of events, and the frames before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from exporter.config.schema import OutputConfig
from exporter.events.encoding import AvroEncoder, Encoder, JsonEncoder, single_object_frame
from exporter.events.values import load_schema
from exporter.model import EventType

# The bytes before the body of an event.
FrameByType = Mapping[EventType, bytes]


def encoder(output: OutputConfig) -> Encoder:
    """Return the configured encoder."""
    return JsonEncoder() if output.encoding == "json" else AvroEncoder()


def frames(output: OutputConfig, registry: CollectorRegistry) -> Callable[[], FrameByType]:
    """Return a function that returns the frames; it may query a schema registry, and raise `RegistryError`.

    Schema files are read here and not by the function, because no descriptor may be left by then.
    """
    if output.schema_registry is not None:
        # Imported only when configured: the client of the registry takes 6 MB.
        from exporter.events.registry import RegistryMetrics, SchemaRegistry
        from exporter.events.registry_http import RegistryHttp

        topics = dict.fromkeys(EventType, output.topic) | {EventType.ERROR: output.error_topic}
        return partial(SchemaRegistry(RegistryHttp(output), RegistryMetrics(registry)).frames, topics)
    if output.encoding == "json":
        return lambda: dict.fromkeys(EventType, b"")
    known = {event_type: single_object_frame(load_schema(event_type)) for event_type in EventType}
    return lambda: known
