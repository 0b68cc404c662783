"""What a sidecar under load shows of itself: batches it has counted, its loop, its backlog."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from requests import ConnectionError, RequestException, Timeout
from requests.auth import HTTPBasicAuth

from exporter.config.web_schema import WebClientConfig
from exporter.loadtest.results import Ended
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.sidecar_figures import BATCHES, FAMILIES, SidecarFigures, read_page
from exporter.loadtest.target import Failure, Patience
from exporter.runtime.http_client import ClientTls, error_text, fetch
from exporter.runtime.threads import start

_POLL_SECONDS = 0.1
_FIGURES_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
# An hour.
FIGURES_MAX = 3600
_ANSWER_BYTES = 64 * 1024 * 1024


class SidecarWatch:
    """A thread that reads the page of metrics of a sidecar at `url` ten times a second.

    `on_batches` gets the batches by exchange of a region and the seconds of the run at which they were here. A sidecar
    that has not answered for longer than `patience` is dead.
    """

    def __init__(
        self,
        url: str,
        client: WebClientConfig,
        region: str,
        on_batches: Callable[[Mapping[str, int], float], None],
        clock: RunClock,
        patience: Patience,
    ) -> None:
        self._url, self._region, self._on_batches, self._clock = url, region, on_batches, clock
        self._tls = ClientTls(client.ca_file, client.cert_file, client.key_file, client.server_name)
        self._auth = None if client.username is None else HTTPBasicAuth(client.username, client.password or "")
        self.figures: deque[SidecarFigures] = deque(maxlen=FIGURES_MAX)
        self.last_error = ""
        self._is_down = False
        self._patience = patience
        self._answered = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Begin; return whether the sidecar answers."""
        self._read([BATCHES])
        if not self.last_error:
            self._thread = start("loadtest-metrics", self._run)
        return not self.last_error

    def failure(self) -> Failure | None:
        """Return that the sidecar does not answer any more, if so."""
        silent = self._clock.now() - self._answered
        if not self.last_error or silent < (self._patience.down if self._is_down else self._patience.answer):
            return None
        return Failure(Ended.SIDECAR_DIED, f"{self._url} has not answered for {silent:.0f} s: {self.last_error}")

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        figures_due = 0.0
        while not self._stopping.wait(_POLL_SECONDS):
            is_due = time.monotonic() >= figures_due
            if is_due:
                figures_due = time.monotonic() + _FIGURES_SECONDS
            self._read(FAMILIES if is_due else [BATCHES])

    def _read(self, families: Iterable[str]) -> None:
        query = urlencode([("name[]", family) for family in families])
        try:
            answer = fetch(
                "GET",
                f"{self._url}?{query}",
                seconds=_ANSWER_SECONDS,
                size=_ANSWER_BYTES,
                headers={"Accept": "text/plain;version=0.0.4"},
                auth=self._auth,
                tls=self._tls,
                trust_env=False,
            )
            at = self._clock.now()
            page = read_page(answer.body.decode(), self._region)
        except (RequestException, ValueError) as error:
            self._is_down = isinstance(error, ConnectionError) and not isinstance(error, Timeout)
            self.last_error = error_text(error)
            return
        if answer.status != 200:
            self._is_down, self.last_error = False, f"{answer.status} {answer.reason}"
            return
        self.last_error, self._answered = "", at
        if page.figures:
            self.figures.append(SidecarFigures(at, **page.figures))
        self._on_batches(page.batches, at)
