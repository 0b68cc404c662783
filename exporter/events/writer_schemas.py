"""The schemas with which collectors write, by the ids in their records, from the schema registry.

Asked on a thread of its own, so that no caller waits. While the registry does not answer, records of unknown schemas
wait; what it has answered is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from exporter.config.schema import OutputConfig
from exporter.config.topic_choice import TopicChoice
from exporter.decoding.formats.avro import Schema, parsed, schema_id
from exporter.events.registry_http import RegistryHttp
from exporter.model import Reason, RegistryError, Rejected
from exporter.runtime.worker import Task, Worker

if TYPE_CHECKING:
    from exporter.config.format_schema import FormatConfig, SchemaRegistryFormat

RETRY_SECONDS = 1.0
# An id that does not exist is asked for again after so long: it may have been a copy that was behind.
UNKNOWN_SECONDS = 60.0
# Ids in records may be invented; what is known is then forgotten, and asked for again.
SCHEMAS_KNOWN = 1000
# Of one schema, those that others refer to included.
REFERENCES_MAX = 100


class _Unusable:
    """An answer that no schema can be read from."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class WriterSchemas:
    """The schemas of one registry. Owned by the thread that reads; `fetch` runs on the worker's."""

    def __init__(
        self, fetch: Callable[[int], Schema], worker: Worker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._worker = worker
        self._clock = clock
        self._known: dict[int, Schema] = {}
        self._valid_until: dict[int, float] = {}  # of answers that are not kept for good
        self._tasks: dict[int, Task[Schema]] = {}
        self._ask_at = 0.0
        self._error = ""

    def obstacle(self, number: int) -> str:
        """Return why a schema is not known yet; "" once it is, or is known not to exist. Ask for it without waiting."""
        if number in self._known and self._valid_until.get(number, self._clock()) >= self._clock():
            return ""
        task = self._tasks.get(number)
        if task is None:
            if self._clock() >= self._ask_at:
                self._tasks[number] = self._worker.submit(lambda: self._fetch(number))
        elif task.done():
            del self._tasks[number]
            self._take(number, task)
            if number in self._known:
                return ""
        return f"schema {number} is unknown: {self._error or 'the schema registry is asked'}"

    def _take(self, number: int, task: Task[Schema]) -> None:
        try:
            found = task.result()
        except RegistryError as error:
            self._error, self._ask_at = str(error), self._clock() + RETRY_SECONDS
            return
        self._error = ""
        if len(self._known) >= SCHEMAS_KNOWN:
            self._known.clear()
            self._valid_until.clear()
        self._known[number] = found
        self._valid_until.pop(number, None)
        if isinstance(found, _Unusable):
            self._valid_until[number] = self._clock() + UNKNOWN_SECONDS

    def ask(self, number: int) -> Schema:
        """Return a schema, asking for it at once; raise `Rejected` when there is none, or no answer."""
        try:
            return self.require(number)
        except RegistryError as error:
            raise Rejected(Reason.INVALID_ENCODING, f"schema {number} is unknown: {error}") from None

    def require(self, number: int) -> Schema:
        """Return a schema, asking for it at once; raise `Rejected` when there is none, or `RegistryError`."""
        if number not in self._known:
            self._known[number] = self._fetch(number)
        return self.find(number)

    def find(self, number: int) -> Schema:
        """Return a schema that is known, or raise `Rejected`."""
        found = self._known.get(number, _Unusable("is not known"))
        if isinstance(found, _Unusable):
            raise Rejected(Reason.INVALID_ENCODING, f"schema {number} {found.reason}")
        return found


def fetch(http: RegistryHttp, number: int) -> Schema:
    """Return the schema of an id; raise `RegistryError` when the registry gives no answer about it."""
    http.start_session()
    try:
        return _References(http).schema("schemas", "ids", str(number))
    except _UnusableError as error:
        return _Unusable(str(error))


class _UnusableError(Exception):
    """No schema can be read, for the reason in the text."""


class _References:
    """The schemas that one refers to, by subject and version; each is requested once, and before it is referred to."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http
        self._seen: set[tuple[str, str]] = set()
        self._named: dict[str, Schema] = {}

    def schema(self, *path: str) -> Schema:
        """Return the schema at a path of the registry; raise `_UnusableError` or `RegistryError`."""
        reply = self._http.request("GET", None, *path)
        if reply.status == 404:
            raise _UnusableError(f"{self._subject(path)}does not exist in the schema registry")
        if reply.status != 200:
            raise RegistryError(f"the schema registry answered {reply} for {'/'.join(path)}")
        if reply.body.get("schemaType", "AVRO") != "AVRO":
            raise _UnusableError(f"{self._subject(path)}is no Avro schema")
        try:
            for reference in reply.body.get("references") or ():
                self._read(str(reference["subject"]), str(reference["version"]))
            return parsed(str(reply.body.get("schema", "")), self._named)
        except (ValueError, LookupError, TypeError):
            raise _UnusableError(f"{self._subject(path)}is no Avro schema") from None

    def _read(self, subject: str, version: str) -> None:
        if (subject, version) in self._seen:
            return
        self._seen.add((subject, version))
        if len(self._seen) > REFERENCES_MAX:
            raise _UnusableError(f"refers to more than {REFERENCES_MAX} other schemas")
        self.schema("subjects", subject, "versions", version)

    @staticmethod
    def _subject(path: tuple[str, ...]) -> str:
        """Return the words about a schema that another one refers to."""
        return f"refers to version {path[3]} of {path[1]}, which " if path[0] == "subjects" else ""


class Registries:
    """The registries of all formats: what hinders a message from being decoded, and the schemas for the decoder."""

    def __init__(self, formats: Iterable[FormatConfig], make_worker: Callable[[], Worker]) -> None:
        formats = tuple(formats)
        worker = make_worker()
        self._of = {one.schema_registry: schemas(one.schema_registry, worker) for one in formats if one.schema_registry}
        self._choices = [(TopicChoice(one.topics), one.schema_registry) for one in formats]
        self._topics: dict[str, WriterSchemas | None] = {}

    def find(self, registry: SchemaRegistryFormat) -> Callable[[int], Schema]:
        """Return what finds the schemas of a registry."""
        return self._of[registry].find

    def obstacle(self, topic: str, value: bytes | None) -> str:
        """Return why a record of a topic cannot be decoded yet; "" when it can, or never will."""
        if topic not in self._topics:
            self._topics[topic] = self._schemas_of(topic)
        schemas = self._topics[topic]
        number = None if schemas is None else schema_id(value)
        return "" if schemas is None or number is None else schemas.obstacle(number)

    def _schemas_of(self, topic: str) -> WriterSchemas | None:
        registry = next((registry for choice, registry in self._choices if choice.groups(topic) is not None), None)
        return None if registry is None else self._of[registry]


def schemas(registry: SchemaRegistryFormat, worker: Worker) -> WriterSchemas:
    """Return the schemas of a registry."""
    http = RegistryHttp(
        OutputConfig(
            schema_registry=registry.url,
            schema_registry_username=registry.username,
            schema_registry_password=registry.password,
            schema_registry_token=registry.token,
            schema_registry_token_file=registry.token_file,
            schema_registry_tls=registry.tls,
        )
    )
    return WriterSchemas(lambda number: fetch(http, number), worker)
