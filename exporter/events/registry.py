"""A client of a Confluent schema registry that looks up the ids of schemas, and registers missing ones if it may.

Subjects follow TopicRecordNameStrategy (`topic-namespace.Name`) unless configured otherwise, because two types of
events share a topic.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.events.encoding import confluent_frame
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError, RegistryRefused

if TYPE_CHECKING:
    from exporter.events.registry_http import RegistryHttp, Reply

K = TypeVar("K", bound=str)
Strategy = Literal["topic_record", "record", "topic"]
REGISTER = "output.schema_registry_register"
OPERATIONS = ("lookup", "register")
# Error codes of a missing subject, version and schema, and of a read-only registry.
UNKNOWN_CODES = (40401, 40402, 40403)
READ_ONLY_CODE = 42205


class RegistryMetrics:
    """Metrics of the client; without a registry, these series do not exist."""

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
            "Duration of requests to the schema registry.",
            labels,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.up = Gauge(
            "marketdata_schema_registry_up",
            "Whether the last requested schema was found or registered.",
            registry=registry,
        )
        for family in (self.operations, self.failures, self.seconds):
            for operation in OPERATIONS:
                family.labels(operation)


def subject(topic: str, schema: Mapping[str, Any], strategy: Strategy = "topic_record") -> str:
    """Return the subject of a schema of a topic in the registry, by Confluent's strategy of that name."""
    record = f"{schema['namespace']}.{schema['name']}"
    return {"topic_record": f"{topic}-{record}", "record": record, "topic": f"{topic}-value"}[strategy]


def is_missing(reply: Reply) -> bool:
    """Return whether the reply is that the schema, or its subject, does not exist."""
    return reply.status == 404 and reply.code in UNKNOWN_CODES


def is_forbidden(reply: Reply) -> bool:
    """Return whether the reply is that registering is not permitted, to this user or at all."""
    return reply.status in (401, 403, 405) or reply.code == READ_ONLY_CODE


def is_same(reply: Reply, schema: Mapping[str, Any]) -> bool:
    """Return whether the registered schema has the fields and types of `schema`, so that its id can be used."""
    try:
        registered = parse_schema(json.loads(reply.body["schema"]))
        return to_parsing_canonical_form(registered) == to_parsing_canonical_form(parse_schema(dict(schema)))
    except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


class Subject:
    """The requests about one schema; only `register` changes anything."""

    def __init__(self, http: RegistryHttp, name: str, schema: Mapping[str, Any]) -> None:
        self.name = name
        self.schema = schema
        self._http = http
        self._body = {"schema": json.dumps(schema)}

    def lookup(self) -> Reply:
        """Request the id of the schema."""
        return self._http.request("POST", self._body, "subjects", self.name)

    def register(self) -> Reply:
        """Register the schema, unless it is registered, and request its id."""
        return self._http.request("POST", self._body, "subjects", self.name, "versions")

    def latest(self) -> Reply:
        """Request the schema that was registered last."""
        return self._http.request("GET", None, "subjects", self.name, "versions", "latest")

    def compatibility(self) -> Reply:
        """Request whether the schema would be accepted as the next version."""
        return self._http.request("POST", self._body, "compatibility", "subjects", self.name, "versions", "latest")

    def trial(self) -> Reply:
        """Request to register an empty schema, which is refused as forbidden if the right to register is missing."""
        return self._http.request("POST", {}, "subjects", self.name, "versions")


class SchemaRegistry:
    """Frames with the ids of the named schemas; an id never changes, so each is requested once. Calls block.

    Missing schemas are registered only if it `registers`.
    """

    def __init__(
        self,
        http: RegistryHttp,
        metrics: RegistryMetrics,
        clock: Callable[[], float] = time.monotonic,
        names: Iterable[str] = EventType,
        strategy: Strategy = "topic_record",
        registers: bool = True,
    ) -> None:
        self._http = http
        self._metrics = metrics
        self._clock = clock
        self._strategy: Strategy = strategy
        self._registers = registers
        self._frames: dict[str, bytes] = {}
        self._schemas = {name: load_schema(name) for name in names}

    def frames(self, topics: Mapping[K, str]) -> dict[K, bytes]:
        """Return the frame of each event's body on its topic, or raise `RegistryError`; found ids are kept."""
        self._http.start_session()
        for name, topic in topics.items():
            if name not in self._frames:
                schema = self._schemas[name]
                self._metrics.up.set(0)
                schema_id = self._schema_id(Subject(self._http, subject(topic, schema, self._strategy), schema))
                self._metrics.up.set(1)
                self._frames[name] = confluent_frame(schema_id)
        return {name: self._frames[name] for name in topics}

    def _schema_id(self, subject: Subject) -> int:
        """Return the id of the schema, and register it if necessary; raise `RegistryError`."""
        lookup = self._timed("lookup", subject.lookup)
        if lookup.status == 200:
            return _id(lookup, subject.name)
        if not 400 <= lookup.status < 500 or lookup.status in (408, 429):
            raise RegistryError(f"the schema registry answered {lookup} for subject {subject.name}")
        registration = self._timed("register", subject.register) if self._registers else None
        if registration is not None and registration.status == 200:
            return _id(registration, subject.name)
        if registration is None or is_forbidden(registration):
            latest = self._timed("lookup", subject.latest)
            if latest.status == 200 and is_same(latest, subject.schema):
                return _id(latest, subject.name)
        raise _refusal(subject.name, lookup, registration)

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


def denial(lookup: Reply, registration: Reply) -> str:
    """Return which right is missing, from the replies to a lookup and to a registration that is forbidden."""
    if registration.status == 401:
        return f"the user or the password is refused: {registration}"
    if registration.code == READ_ONLY_CODE:
        return f"the schema is not registered, and the registry is read-only: {registration}"
    if lookup.status in (401, 403):
        return f"the right to read the schema is missing ({lookup}), and the right to register it ({registration})"
    return f"the schema is not registered, and the right to register it is missing: {registration}"


def _refusal(name: str, lookup: Reply, registration: Reply | None) -> RegistryError:
    if registration is None:
        why = f"it does not have the schema, and {REGISTER} is false" if is_missing(lookup) else f"it answers {lookup}"
        return RegistryRefused(f"the schema registry has no id for subject {name}: {why}")
    if is_forbidden(registration):
        return RegistryRefused(f"the schema registry refuses subject {name}: {denial(lookup, registration)}")
    text = f"the schema registry answered {registration} for subject {name}"
    return RegistryRefused(text) if registration.status in (404, 409, 422) else RegistryError(text)


def _id(reply: Reply, name: str) -> int:
    if reply.id is None:
        raise RegistryError(f"the schema registry returned no id for subject {name}{reply.redirect_note}")
    return reply.id
