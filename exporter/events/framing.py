"""How events are written: the encoder of their bodies, and the frames before these, as configured."""

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
    """Return the encoder of bodies."""
    return JsonEncoder() if output.encoding == "json" else AvroEncoder()


def frames(output: OutputConfig, registry: CollectorRegistry) -> Callable[[], FrameByType]:
    """Return what gives the frame of each kind of event; it may ask a schema registry, and raise `RegistryError`.

    Files are read here, not by what is returned: there may be no descriptors left then.
    """
    if output.schema_registry is not None:
        # Loaded when it is asked for: the client of the registry takes 6 MB.
        from exporter.events.registry import RegistryMetrics, SchemaRegistry
        from exporter.events.registry_http import RegistryHttp

        topics = dict.fromkeys(EventType, output.topic) | {EventType.ERROR: output.error_topic}
        return partial(SchemaRegistry(RegistryHttp(output), RegistryMetrics(registry)).frames, topics)
    if output.encoding == "json":
        return lambda: dict.fromkeys(EventType, b"")
    known = {event_type: single_object_frame(load_schema(event_type)) for event_type in EventType}
    return lambda: known
