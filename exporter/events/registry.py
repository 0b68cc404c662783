"""A Confluent schema registry, as far as a producer needs it: register a schema, learn its id.

Subjects follow TopicRecordNameStrategy (`topic-namespace.Name`), because two kinds of events share a topic.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.events.encoding import confluent_frame
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError

TIMEOUT_SECONDS = (2.0, 5.0)
OPERATION = "register"


class RegistryMetrics:
    """What the client tells about the registry; without a registry, these series do not exist."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["operation"]
        self.operations = Counter(
            "marketdata_schema_registry_operations", "Requests to the schema registry.", labels, registry=registry
        )
        self.failures = Counter(
            "marketdata_schema_registry_failures",
            "Requests to the schema registry that failed.",
            labels,
            registry=registry,
        )
        self.seconds = Histogram(
            "marketdata_schema_registry_operation_seconds", "How long requests took.", labels, registry=registry
        )
        self.up = Gauge("marketdata_schema_registry_up", "Whether the last request succeeded.", registry=registry)
        for family in (self.operations, self.failures, self.seconds):
            family.labels(OPERATION)


def subject(topic: str, schema: Mapping[str, Any]) -> str:
    """Return the name under which the registry keeps a schema of a topic."""
    return f"{topic}-{schema['namespace']}.{schema['name']}"


class SchemaRegistry:
    """Registers the schemas of events; an id never changes, so each is asked for once. Calls block."""

    def __init__(self, url: str, metrics: RegistryMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url.rstrip("/")
        self._metrics = metrics
        self._clock = clock
        self._frames: dict[EventType, bytes] = {}

    def frames(self, topics: Mapping[EventType, str]) -> dict[EventType, bytes]:
        """Return the frame of each event's body on its topic, or raise `RegistryError`."""
        for event_type, topic in topics.items():
            if event_type not in self._frames:
                self._frames[event_type] = confluent_frame(self._register(topic, load_schema(event_type)))
        return self._frames

    def _register(self, topic: str, schema: dict[str, Any]) -> int:
        self._metrics.operations.labels(OPERATION).inc()
        began = self._clock()
        try:
            answer = self._post(subject(topic, schema), schema)
        except RegistryError:
            self._metrics.failures.labels(OPERATION).inc()
            self._metrics.up.set(0)
            raise
        finally:
            self._metrics.seconds.labels(OPERATION).observe(self._clock() - began)
        self._metrics.up.set(1)
        return answer

    def _post(self, name: str, schema: dict[str, Any]) -> int:
        try:
            response = requests.post(
                f"{self._url}/subjects/{quote(name, safe='')}/versions",
                json={"schema": json.dumps(schema)},
                headers={"Accept": "application/vnd.schemaregistry.v1+json"},
                timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            # The error's text may hold the URL, and that a password.
            raise RegistryError(f"the schema registry cannot be reached: {type(error).__name__}") from None
        if response.status_code != requests.codes.ok:
            raise RegistryError(f"the schema registry answered {response.status_code} for subject {name}")
        try:
            return int(response.json()["id"])
        except (ValueError, KeyError, TypeError):
            raise RegistryError(f"the schema registry gave no id for subject {name}") from None
