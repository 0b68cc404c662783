"""A Confluent schema registry, as far as a producer needs it: the id of a schema, registered before or now.

Subjects follow TopicRecordNameStrategy (`topic-namespace.Name`), because two kinds of events share a topic.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.events.encoding import confluent_frame
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError, RegistryRefused

if TYPE_CHECKING:
    from exporter.events.registry_http import RegistryHttp, Reply

OPERATIONS = ("lookup", "register")
# The codes of a subject, a version and a schema that are not there, and of a registry that is read-only.
UNKNOWN_CODES = (40401, 40402, 40403)
READ_ONLY_CODE = 42205


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
            "marketdata_schema_registry_operation_seconds",
            "How long requests took.",
            labels,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.up = Gauge(
            "marketdata_schema_registry_up",
            "Whether the last schema asked for was found or registered.",
            registry=registry,
        )
        for family in (self.operations, self.failures, self.seconds):
            for operation in OPERATIONS:
                family.labels(operation)


def subject(topic: str, schema: Mapping[str, Any]) -> str:
    """Return the name under which the registry keeps a schema of a topic."""
    return f"{topic}-{schema['namespace']}.{schema['name']}"


def is_missing(reply: Reply) -> bool:
    """Return whether a registry says that a schema, or its subject, is not there."""
    return reply.status == 404 and reply.code in UNKNOWN_CODES


def is_forbidden(reply: Reply) -> bool:
    """Return whether a registry says that registering is not allowed, to this user or at all."""
    return reply.status in (401, 403, 405) or reply.code == READ_ONLY_CODE


def is_same(reply: Reply, schema: Mapping[str, Any]) -> bool:
    """Return whether what is registered has the fields and types of a schema, so that its id may stand for it."""
    try:
        registered = parse_schema(json.loads(reply.body["schema"]))
        return to_parsing_canonical_form(registered) == to_parsing_canonical_form(parse_schema(dict(schema)))
    except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


class Subject:
    """The requests about one schema; nothing but `register` changes anything."""

    def __init__(self, http: RegistryHttp, name: str, schema: Mapping[str, Any]) -> None:
        self.name = name
        self.schema = schema
        self._http = http
        self._body = {"schema": json.dumps(schema)}

    def lookup(self) -> Reply:
        """Ask for the id of the schema."""
        return self._http.ask("POST", self._body, "subjects", self.name)

    def register(self) -> Reply:
        """Register the schema, unless it is; ask for its id."""
        return self._http.ask("POST", self._body, "subjects", self.name, "versions")

    def latest(self) -> Reply:
        """Ask for the schema that was registered last."""
        return self._http.ask("GET", None, "subjects", self.name, "versions", "latest")

    def compatibility(self) -> Reply:
        """Ask whether the schema would be accepted as the next version."""
        return self._http.ask("POST", self._body, "compatibility", "subjects", self.name, "versions", "latest")

    def trial(self) -> Reply:
        """Ask to register nothing, which is refused as forbidden where the right to register is missing."""
        return self._http.ask("POST", {}, "subjects", self.name, "versions")


class SchemaRegistry:
    """Finds the ids of the schemas of events; an id never changes, so each is asked for once. Calls block."""

    def __init__(
        self, http: RegistryHttp, metrics: RegistryMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._http = http
        self._metrics = metrics
        self._clock = clock
        self._frames: dict[EventType, bytes] = {}
        self._schemas = {event_type: load_schema(event_type) for event_type in EventType}

    def frames(self, topics: Mapping[EventType, str]) -> dict[EventType, bytes]:
        """Return the frame of each event's body on its topic, or raise `RegistryError`; what was found is kept."""
        self._http.begin()
        for event_type, topic in topics.items():
            if event_type not in self._frames:
                schema = self._schemas[event_type]
                self._metrics.up.set(0)
                number = self._find(Subject(self._http, subject(topic, schema), schema))
                self._metrics.up.set(1)
                self._frames[event_type] = confluent_frame(number)
        return self._frames

    def _find(self, subject: Subject) -> int:
        """Return the id of the schema: of the one that is registered, else of the one that is registered now."""
        found = self._timed("lookup", subject.lookup)
        if found.status == 200:
            return _id(found, subject.name)
        if not 400 <= found.status < 500 or found.status in (408, 429):
            raise RegistryError(f"the schema registry answered {found} for subject {subject.name}")
        made = self._timed("register", subject.register)
        if made.status == 200:
            return _id(made, subject.name)
        if is_forbidden(made):
            latest = self._timed("lookup", subject.latest)
            if latest.status == 200 and is_same(latest, subject.schema):
                return _id(latest, subject.name)
        raise _refusal(subject.name, found, made)

    def _timed(self, operation: str, request: Callable[[], Reply]) -> Reply:
        self._metrics.operations.labels(operation).inc()
        began = self._clock()
        try:
            reply = request()
        except RegistryError:
            self._metrics.failures.labels(operation).inc()
            raise
        finally:
            self._metrics.seconds.labels(operation).observe(self._clock() - began)
        if reply.status != 200 and not is_missing(reply):
            self._metrics.failures.labels(operation).inc()
        return reply


def denial(found: Reply, made: Reply) -> str:
    """Return which right is missing, by what a registry answered to a lookup and to a registration it forbids."""
    if made.status == 401:
        return f"the user or the password is refused: {made}"
    if made.code == READ_ONLY_CODE:
        return f"the registry is read-only, and it is not registered: {made}"
    if found.status in (401, 403):
        return f"the right to read it is missing ({found}), and the right to register it ({made})"
    return f"it is not registered, and the right to register it is missing: {made}"


def _refusal(name: str, found: Reply, made: Reply) -> RegistryError:
    if is_forbidden(made):
        return RegistryRefused(f"the schema registry refuses {name}: {denial(found, made)}")
    text = f"the schema registry answered {made} for subject {name}"
    return RegistryRefused(text) if made.status in (404, 409, 422) else RegistryError(text)


def _id(reply: Reply, name: str) -> int:
    if reply.id is None:
        raise RegistryError(f"the schema registry gave no id for subject {name}{reply.detour}")
    return reply.id
