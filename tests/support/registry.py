"""A schema registry that speaks as much of Confluent's protocol as producers, consumers and `check` use.

Neither Maven Central nor PyPI has a real one, so this stands in for it: it keeps schemas by subject,
gives the same id to the same schema, and refuses what is no Avro schema, and what is missing a user's name or right.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

import fastavro

Answer = tuple[int, object]

UNAUTHORIZED: Answer = 401, {"error_code": 401, "message": "Unauthorized"}
NO_SUBJECT = 40401
NO_SCHEMA = 40403
READ, WRITE = "Read", "Write"
MOVED = "/moved"


class RegistryServer:
    """A registry on a free loopback port, as a context; `refuse` makes it answer 503, a cleared `go_on` wait.

    `rights` maps `user:password`, or `Bearer token`, to rights, and other users are refused; None permits everything.
    `redirect` is a status and the beginning of the address at which to ask instead; below `/moved` it answers itself.
    `forced` are answers in place of its own, by a part of the path; bytes are sent as they are. `tls` puts it at https.
    """

    def __init__(self, rights: Mapping[str, set[str]] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.schemas: list[dict[str, Any]] = []
        self.references: dict[int, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.users: list[str | None] = []
        self.rights = rights
        self.redirect: tuple[int, str] | None = None
        self.forced: dict[str, Answer] = {}
        self.is_compatible = True
        self.is_read_only = False
        self.refuse = False
        self.go_on = threading.Event()
        self.go_on.set()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                registry.go_on.wait()
                self._answer(body)

            def do_GET(self) -> None:
                self._answer(None)

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _answer(self, body: Any) -> None:
                registry.asked.append(f"{self.command} {self.path}")
                registry.users.append(_user(self.headers.get("Authorization")))
                if registry.redirect is None or self.path.startswith(MOVED):
                    path = unquote(self.path.removeprefix(MOVED))
                    status, value = registry.answer(self.command, path, body, registry.users[-1])
                    self._send(status, value)
                else:
                    status, place = registry.redirect
                    self._send(status, {}, Location=place + self.path)

            def _send(self, status: int, value: object, **headers: str) -> None:
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                with suppress(ConnectionError):  # the client may have timed out
                    self.send_response(status)
                    for name, content in headers.items():
                        self.send_header(name, content)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_port}"
        self.url = f"{'http' if tls is None else 'https'}://{self.place}"
        if tls is not None:
            # Hands are shaken in the thread of the request: a client that does not trust it delays no other.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, subject: str, schema: Mapping[str, Any], *refers_to: str) -> int:
        """Register a schema as another client would, which refers to the first versions of subjects; return its id."""
        if schema not in self.schemas:
            self.schemas.append(dict(schema))
        number = self.schemas.index(dict(schema)) + 1
        if refers_to:
            self.references[number] = [{"name": name, "subject": name, "version": 1} for name in refers_to]
        known = self.subjects.setdefault(subject, [])
        if number not in known:
            known.append(number)
        return number

    def answer(self, method: str, path: str, body: Any, user: str | None) -> Answer:
        """Answer a request: a status and a body."""
        if self.refuse:
            return 503, {"error_code": 50301}
        if found := next((answer for part, answer in self.forced.items() if part in path), None):
            return found
        match method, path.strip("/").split("/"):
            case "GET", ["subjects"]:
                return 200, sorted(self.subjects)
            case "POST", ["subjects", subject]:
                return self._allowed(user, READ, subject) or self._lookup(subject, body)
            case "GET", ["subjects", subject, "versions", "latest"]:
                return self._allowed(user, READ, subject) or self._latest(subject)
            case "GET", ["subjects", subject, "versions", version]:
                return self._allowed(user, READ, subject) or self._at(subject, int(version))
            case "POST", ["subjects", subject, "versions"]:
                return self._allowed(user, WRITE, subject) or self._register(subject, body)
            case "GET", ["schemas", "ids", number]:
                return self._allowed(user, READ, "schemas") or self._schema(int(number))
            case "POST", ["compatibility", "subjects", subject, "versions", "latest"]:
                return self._allowed(user, READ, subject) or self._compatibility(subject)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _allowed(self, user: str | None, right: str, subject: str) -> Answer | None:
        if self.rights is None:
            return None
        rights = self.rights.get(user or "")
        if rights is None:
            return UNAUTHORIZED
        if right in rights:
            return None
        return 403, {"error_code": 40301, "message": f"User is denied operation {right} on Subject: {subject}"}

    def _lookup(self, subject: str, body: Any) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": NO_SUBJECT, "message": f"Subject '{subject}' not found."}
        schema = json.loads(body["schema"])
        for version, number in enumerate(self.subjects[subject], 1):
            if self.schemas[number - 1] == schema:
                return 200, self._version(subject, version, number)
        return 404, {"error_code": NO_SCHEMA, "message": "Schema not found"}

    def _schema(self, number: int) -> Answer:
        if not 0 < number <= len(self.schemas):
            return 404, {"error_code": NO_SCHEMA, "message": "Schema not found"}
        return 200, self._content(number)

    def _content(self, number: int) -> dict[str, Any]:
        references = {"references": self.references[number]} if number in self.references else {}
        return {"schema": json.dumps(self.schemas[number - 1]), **references}

    def _at(self, subject: str, version: int) -> Answer:
        known = self.subjects.get(subject, [])
        if not 0 < version <= len(known):
            return 404, {"error_code": NO_SUBJECT, "message": f"Subject '{subject}' not found."}
        return 200, self._version(subject, version, known[version - 1])

    def _latest(self, subject: str) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": NO_SUBJECT, "message": f"Subject '{subject}' not found."}
        known = self.subjects[subject]
        return 200, self._version(subject, len(known), known[-1])

    def _version(self, subject: str, version: int, number: int) -> dict[str, Any]:
        return {"subject": subject, "version": version, "id": number, **self._content(number)}

    def _compatibility(self, subject: str) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": NO_SUBJECT, "message": f"Subject '{subject}' not found."}
        return 200, {"is_compatible": self.is_compatible}

    def _register(self, subject: str, body: Any) -> Answer:
        if self.is_read_only:
            return 422, {"error_code": 42205, "message": f"Subject {subject} is in read-only mode"}
        try:
            schema = json.loads(body["schema"])
            fastavro.parse_schema(dict(schema))
        except (KeyError, fastavro.schema.SchemaParseException):
            return 422, {"error_code": 42201, "message": "Either the input schema or one its references is invalid"}
        if not self.is_compatible and subject in self.subjects:
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible with an earlier schema"}
        return 200, {"id": self.add(subject, schema)}


def _user(authorization: str | None) -> str | None:
    """The `user:password` of basic authentication, or `Bearer` and a token."""
    if authorization is not None and authorization.startswith("Bearer "):
        return authorization
    return base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else None
