"""The HTTP server of a sidecar under load."""

from __future__ import annotations

import socket
import threading
import time
from importlib.util import find_spec
from urllib.parse import urlsplit

from requests import RequestException
from requests.auth import HTTPBasicAuth

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.http.locust_process import LocustProcess
from exporter.loadtest.http.pages import wanted_per_second, watchers
from exporter.loadtest.http.plan import Plan
from exporter.loadtest.http.totals import Totals
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.settings import Settings
from exporter.loadtest.target import Counts, Failure, TargetError
from exporter.runtime.foreign_text import printable
from exporter.runtime.http_client import ClientTls, fetch

TIMEOUT_SECONDS = 10.0
# A sidecar that is started again is back by then.
AWAY_SECONDS = 5.0
_PROBE_SECONDS, _PROBE_BYTES, _ERROR_MAX = 5.0, 1_000_000, 500
# Locust waits as long for requests in progress when it ends.
_STOP_SECONDS = 3
_EXIT_SECONDS = _STOP_SECONDS + 10.0
_LOOPBACK = "127.0.0.1"


class HttpTarget:
    """Users of Locust that request pages of metrics, the API and the stream, by a schedule of their own each."""

    name = "http"

    def __init__(self, settings: Settings) -> None:
        self._settings, self._users = settings, settings.share(self.name)
        self._plan = _plan(settings)
        self._totals = Totals()
        self._locust: LocustProcess | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0

    @property
    def lag(self) -> LatencyHistogram:
        """How late requests were sent, by the load test's own fault; complete after `stop`."""
        return self._totals.lag

    def prepare(self, stopping: threading.Event) -> None:
        """See Target; raises `TargetError` as well if the sidecar does not answer."""
        if find_spec("locust") is None:  # an import would replace the sockets and threads of this process
            raise TargetError("http needs locust: pip install 'marketdata-exporter[loadtest]'")
        _probe(self._plan)
        self._locust = LocustProcess(self._plan, _options(self._settings, self._users, self._plan.url))
        self._locust.wait_until_ready(stopping)

    def pids(self) -> dict[str, int]:
        """Return the processes of Locust by name, of workers those that have reported."""
        if self._locust is None:
            return {}
        first = self._locust.pid
        workers = [pid for pid in list(self._totals.pids) if pid != first]
        return {"Locust": first} | {f"Locust worker {number}": pid for number, pid in enumerate(workers, start=1)}

    def start(self, started: float) -> None:
        """See Target."""
        self._started = started
        if self._locust is not None:
            self._reader = threading.Thread(target=self._read, args=(self._locust, started), name="loadtest-http")
            self._reader.start()
            self._locust.begin(started + self._settings.seconds)

    def counts(self) -> Counts:
        """See Target."""
        return self._totals.counts()

    def failure(self) -> Failure | None:
        """See Target."""
        if self._locust is not None and not self._locust.is_running:
            return Failure(Ended.FAILED, f"Locust has ended: {self._locust.last_line}.")
        since, until = self._totals.away_since, self._totals.last
        if since is not None and until - since >= AWAY_SECONDS:
            return Failure(Ended.SIDECAR_DIED, f"{self._plan.url} refuses connections since second {since:.0f}.")
        return None

    def stop(self) -> TargetResult:
        """See Target."""
        seconds = time.monotonic() - self._started
        locust, self._locust = self._locust, None
        if locust is not None:
            self._end(locust)
            locust.close()
        settings = self._settings
        wanted = wanted_per_second(self._users, settings.user_rate, seconds, settings.ramp_seconds)
        return self._totals.result(seconds, wanted)

    def _end(self, locust: LocustProcess) -> None:
        """End the processes of Locust; the thread that reads ends with the last of them."""
        if self._reader is None:
            locust.kill()
            return
        locust.end()
        # Workers learn from the first process that they must end.
        self._reader.join(_EXIT_SECONDS if locust.is_running else 0.0)
        if self._reader.is_alive():
            locust.kill()
            self._reader.join()

    def _read(self, locust: LocustProcess, started: float) -> None:
        for report in locust.reports():
            self._totals.add(report, max(0.0, report.at - started))


def _plan(settings: Settings) -> Plan:
    place, client = urlsplit(settings.url or ""), settings.client
    return Plan(
        url=f"{place.scheme}://{place.netloc}",
        metrics_path=settings.metrics_path,
        seconds_between=1 / settings.user_rate,
        watchers=watchers(settings.share(HttpTarget.name)),
        timeout_seconds=TIMEOUT_SECONDS,
        ca_file=client.ca_file,
        cert_file=client.cert_file,
        key_file=client.key_file,
        server_name=client.server_name,
        username=client.username,
        password=client.password,
    )


def _probe(plan: Plan) -> None:
    """Make one request; raise `TargetError` with what is wrong."""
    user, password = ((given or "").encode() for given in (plan.username, plan.password))
    url = plan.url + plan.metrics_path
    try:
        answer = fetch(
            "HEAD",
            url,
            seconds=_PROBE_SECONDS,
            size=_PROBE_BYTES,
            auth=HTTPBasicAuth(user, password) if user else None,
            tls=ClientTls(plan.ca_file, plan.cert_file, plan.key_file, plan.server_name),
            trust_env=False,  # as Locust
        )
    except RequestException as error:
        raise TargetError(printable(f"{url} does not answer: {error}", _ERROR_MAX)) from None
    if answer.status != 200:
        raise TargetError(printable(f"{url} answers {answer.status} {answer.reason}", _ERROR_MAX))


def _options(settings: Settings, users: int, url: str) -> list[str]:
    """Return the options of Locust's command; raise `TargetError` if the port of its page is taken."""
    rate = max(settings.spawn_rate * users / settings.users, 0.1)
    options = [f"--host={url}", f"--users={users}", f"--spawn-rate={rate}", f"--stop-timeout={_STOP_SECONDS}"]
    options += ["--loglevel=WARNING", "--only-summary", "--exit-code-on-error=0"]
    if settings.workers > 1:
        hosts, port = ("--master-bind-host", "--master-host"), _free_port()
        options += [f"--processes={settings.workers}", *(f"{each}={_LOOPBACK}" for each in hosts)]
        options += [f"--master-bind-port={port}", f"--master-port={port}"]
    if not settings.web:
        return [*options, "--headless"]
    _check_port(settings.web_port)
    return [*options, "--autostart", f"--web-host={_LOOPBACK}", f"--web-port={settings.web_port}"]


def _check_port(port: int) -> None:
    """Raise `TargetError` if the page of Locust cannot listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise TargetError(f"the page of Locust cannot listen on port {port}: {error.strerror}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
