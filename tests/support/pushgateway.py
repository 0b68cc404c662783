"""A real Pushgateway, and a gateway that answers as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import requests
import yaml
from prometheus_client.samples import Sample

from exporter.instrument.samples import samples
from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port
from tests.support.webfile import WebFiles, client_files

USER, PASSWORD = "collector", "secret"
# bcrypt of the password.
USERS = 'basic_auth_users: {collector: "$2b$04$sGrPdIBV3Ur6UoqQMpgAyutJkXZ2tqP4ifWoIc.ZooNhRmDH1ioJe"}\n'


class PushgatewayServer(Part):
    """A Pushgateway on a port of its own; `secured` asks for user and password, and `web` for a certificate, too."""

    def __init__(self, directory: Path, *, secured: bool = False, web: WebFiles | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.url = f"http{'s' if web else ''}://127.0.0.1:{self.port}"
        self._files: Mapping[str, Any] = client_files(web.authority, web.scraper) if web else {}
        self._web_file = directory / "web.yml"
        if web:
            self._web_file = web.write(tls_server_config=web.mutual(), **yaml.safe_load(USERS))
        elif secured:
            self._web_file.write_text(USERS)
        self._auth = (USER, PASSWORD) if secured or web else None
        self._program = program("prometheus-pushgateway", "prometheus-pushgateway")

    def command(self) -> Sequence[str]:
        """See Part."""
        arguments = [self._program, f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        return [*arguments, f"--web.config.file={self._web_file}"] if self._auth else arguments

    def ready(self) -> bool:
        """See Part."""
        return accepts_connections(self.port) and self._get("/-/ready").ok

    def pushed(self, job: str) -> list[Sample]:
        """The samples of a job, without those about the push itself."""
        found = [each for each in samples(self._get("/metrics").text) if each.labels.get("job") == job]
        return [each for each in found if not each.name.startswith("push_")]

    def _get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, auth=self._auth, timeout=5, **self._files)


class Request(NamedTuple):
    """What a gateway was asked."""

    method: str
    path: str
    authorization: str
    body: bytes


class Gateway:
    """A gateway whose answers are in `answers`: a status and a text, in their order, and 200 after them."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.requests: list[Request] = []
        waiting = list(answers)
        found = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found.append(Request(self.command, self.path, self.headers.get("Authorization", ""), body))
                status, text = waiting.pop(0) if waiting else (200, "")
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_DELETE = do_PUT

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
