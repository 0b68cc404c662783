"""The configured encoder of the bodies of events, and the frames before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry

from exporter.config.risk_schema import RiskConfig
from exporter.config.schema import OutputConfig
from exporter.core import CoreChoice
from exporter.events.encoding import AvroEncoder, Encoder, JsonEncoder, single_object_frame
from exporter.events.values import load_schema
from exporter.model import AnyEventType, EventType, RiskEventType

# The bytes before the body of an event.
FrameByType = Mapping[AnyEventType, bytes]
# The type of an event, which is the name of its schema.
K = TypeVar("K", bound=str)


def encoder(output: OutputConfig, types: Iterable[AnyEventType] = EventType, core: CoreChoice = "python") -> Encoder:
    """Return the configured encoder of these types of events."""
    return JsonEncoder() if output.encoding == "json" else AvroEncoder(types, core)


def topics(output: OutputConfig, risk: RiskConfig | None = None) -> dict[AnyEventType, str]:
    """Return the topics of the sidecar's own events by their type, those of risk if it is evaluated."""
    found: dict[AnyEventType, str] = dict.fromkeys(EventType, output.topic)
    found[EventType.ERROR] = output.error_topic
    if risk is not None and risk.enabled:
        found |= dict.fromkeys(RiskEventType, risk.topic)
    return found


def frames(
    output: OutputConfig, registry: CollectorRegistry, topics: Mapping[K, str]
) -> Callable[[], Mapping[K, bytes]]:
    """Return a function that returns the frames; it may query a schema registry, and raise `RegistryError`.

    `topics` are those of the events by their type.

    Schema files are read here and not by the function, because no descriptor may be left by then.
    """
    if output.schema_registry is not None:
        # Imported only when configured: the client of the registry takes 6 MB.
        from exporter.events.registry import RegistryMetrics, SchemaRegistry
        from exporter.events.registry_http import RegistryHttp

        client = SchemaRegistry(
            RegistryHttp(output),
            RegistryMetrics(registry),
            names=topics,
            strategy=output.schema_registry_subjects,
            registers=output.schema_registry_register,
        )
        return partial(client.frames, topics)
    if output.encoding == "json":
        return lambda: dict.fromkeys(topics, b"")
    known = {name: single_object_frame(load_schema(name)) for name in topics}
    return lambda: known
