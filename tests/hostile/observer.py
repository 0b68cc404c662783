"""Another client, in a process of its own: scrapes and health checks, each over a new connection, and their times."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Thread
from typing import NamedTuple

from tests.bench.bench import every
from tests.bench.figures import ROOT
from tests.support.webfile import PASSWORD, USER

SCRAPE_EVERY, HEALTH_EVERY = 0.5, 0.1
# What Prometheus and Kubernetes wait by default.
SCRAPE_SECONDS, HEALTH_SECONDS = 10.0, 1.0
_FAMILY = b"# TYPE marketdata_records_total "
_RECORDS = re.compile(rb"^marketdata_records_total\{[^}]*\} (\S+)$", re.MULTILINE)


class Seen(NamedTuple):
    """How long each answer took in seconds, what got none, and how many records had been read at which moments."""

    scrapes: list[float]
    scrapes_failed: int
    checks: list[float]
    checks_failed: int
    records: list[tuple[float, float]]

    @property
    def rate(self) -> float:
        """Records a second, from the first scrape to the last."""
        if len(self.records) < 2:
            return 0.0
        (begin, before), (end, after) = self.records[0], self.records[-1]
        return (after - before) / (end - begin)


class Observer:
    """Runs for so many seconds beside an attack; `seen` waits for its end.

    With an authority it uses TLS and a password.
    """

    def __init__(self, port: int, seconds: float, authority: str = "") -> None:
        command = [sys.executable, "-m", "tests.hostile.observer", str(port), str(seconds), authority]
        self._seconds = seconds
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def seen(self) -> Seen:
        """What it saw."""
        try:
            told, _ = self._process.communicate(timeout=self._seconds + 4 * SCRAPE_SECONDS)
        finally:
            self._process.kill()
        return Seen(**json.loads(told))


class Client:
    """What scrapes and checks are made with; see Observer."""

    def __init__(self, port: int, authority: str) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=authority) if authority else None
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"} if authority else {}

    def get(self, path: str, seconds: float) -> bytes | None:
        """The body of a good answer that came in time."""
        connection = self._connection(seconds)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        return body if answer.status == 200 else None

    def _connection(self, seconds: float) -> HTTPConnection:
        if self._context is None:
            return HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        return HTTPSConnection("127.0.0.1", self._port, timeout=seconds, context=self._context)


def main(port: int, seconds: float, authority: str) -> None:
    """Look on, and print what was seen."""
    client = Client(port, authority)
    seen = Seen([], 0, [], 0, [])
    until = time.monotonic() + seconds
    failed = {"scrapes": 0, "checks": 0}

    def scrape() -> None:
        for _ in every(SCRAPE_EVERY, until):
            begin = time.monotonic()
            body = client.get("/metrics", SCRAPE_SECONDS)
            seen.scrapes.append(time.monotonic() - begin)
            failed["scrapes"] += body is None
            if body is not None and (found := _RECORDS.findall(_end(body))):
                seen.records.append((time.monotonic(), sum(map(float, found))))

    def check() -> None:
        for _ in every(HEALTH_EVERY, until):
            begin = time.monotonic()
            failed["checks"] += client.get("/-/healthy", HEALTH_SECONDS) is None
            seen.checks.append(time.monotonic() - begin)

    threads = [Thread(target=scrape), Thread(target=check)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = seen._replace(scrapes_failed=failed["scrapes"], checks_failed=failed["checks"])
    print(json.dumps(seen._asdict()))


def _end(body: bytes) -> bytes:
    """What follows the feeds: to look through a hundred megabytes of these would hold up the next scrape and checks."""
    return body[max(0, body.rfind(_FAMILY)) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
