"""A schema registry that speaks as much of Confluent's protocol as producers and consumers use.

A real one is to be had from neither Maven Central nor PyPI, so this stands in for it: it keeps schemas by subject,
gives the same id to the same schema, and refuses what is no Avro schema, and what is missing a user's name.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

import fastavro


class RegistryServer:
    """A registry on a free loopback port, as a context; `refuse` makes it answer 503, a cleared `go_on` wait."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.schemas: list[dict[str, Any]] = []
        self.refuse = False
        self.go_on = threading.Event()
        self.go_on.set()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                registry.go_on.wait()
                self._answer(*registry.register(unquote(self.path), body))

            def do_GET(self) -> None:
                self._answer(503 if registry.refuse else 200, sorted(registry.subjects))

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _answer(self, status: int, value: object) -> None:
                body = json.dumps(value).encode()
                with suppress(ConnectionError):  # who asked may have lost patience
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def register(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Answer `POST /subjects/NAME/versions`: a status and a body."""
        _, subjects, subject, versions = path.split("/")
        if self.refuse or (subjects, versions) != ("subjects", "versions"):
            return 503, {"error_code": 50301}
        schema = json.loads(body["schema"])
        try:
            fastavro.parse_schema(dict(schema))
        except fastavro.schema.SchemaParseException:
            return 422, {"error_code": 42201}
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        known = self.subjects.setdefault(subject, [])
        if number not in known:
            known.append(number)
        return 200, {"id": number}
