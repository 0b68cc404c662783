"""The HTTP server of a sidecar under load."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from urllib.parse import urlsplit

from requests import RequestException

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.http.figures import HttpFigures, Reading, cores, figures
from exporter.loadtest.http.locust_process import LocustProcess
from exporter.loadtest.http.pages import wanted_per_second, watchers
from exporter.loadtest.http.plan import Plan, Step
from exporter.loadtest.http.server import read_cpu_seconds, request
from exporter.loadtest.http.totals import Totals
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.schedule import Schedule
from exporter.loadtest.settings import STRESS, Settings
from exporter.loadtest.target import Counts, Failure, TargetError
from exporter.loadtest.trace import Trace
from exporter.loadtest.waiting import wait_for
from exporter.runtime.foreign_text import printable
from exporter.runtime.http_client import error_text

TIMEOUT_SECONDS = 10.0
# A sidecar that is started again is back by then.
AWAY_SECONDS = 5.0
_PROBE_SECONDS, _ERROR_MAX = 5.0, 500
# Locust waits as long for requests in progress when it ends.
_STOP_SECONDS = 3
_EXIT_SECONDS = _STOP_SECONDS + 10.0
_LOOPBACK = "127.0.0.1"
# Below those of outgoing connections.
_PORTS = range(20_000, 30_000)


class HttpTarget:
    """Users of Locust that request pages of metrics, the API and the stream, by a schedule of their own each.

    In a stress test all of them request metrics. See `exporter.loadtest.target.Target`.
    """

    name = "http"
    waits_for_answers = True

    def __init__(self, settings: Settings) -> None:
        self._settings, self._users = settings, settings.share(self.name)
        self._plan = _plan(settings, self._users)
        self._totals = Totals(settings.seconds)
        self._locust: LocustProcess | None = None
        self._reader: threading.Thread | None = None
        self.started = 0.0
        self._step = Step(0, 0.0, 0.0, 1.0)
        self._reading = Reading(0.0)
        self._idle_cores: float | None = None
        self.figures: list[HttpFigures] = []

    @property
    def lag(self) -> LatencyHistogram:
        """How late requests were sent, by the load test's own fault; complete after `stop`."""
        return self._totals.lag

    def prepare(self, stopping: threading.Event) -> None:
        """See Target; raises `TargetError` as well if the sidecar does not answer."""
        if find_spec("locust") is None:  # an import would replace the sockets and threads of this process
            raise TargetError("http needs locust: pip install 'marketdata-exporter[loadtest]'")
        _probe(self._plan)
        before = self._read_figures()
        self._locust = LocustProcess(self._plan, _options(self._settings, self._users, self._plan.url))
        self._locust.wait_until_ready(stopping)
        self._reading = self._read_figures()
        self._idle_cores = cores(before, self._reading)

    def pids(self) -> dict[str, int]:
        """Return the processes of Locust by name, of workers those that have reported."""
        if self._locust is None:
            return {}
        first = self._locust.pid
        workers = [pid for pid in list(self._totals.pids) if pid != first]
        return {"Locust": first} | {f"Locust worker {number}": pid for number, pid in enumerate(workers, start=1)}

    def start(self, started: float) -> None:
        """See Target."""
        self.started = started
        self._totals.start(started)
        if self._locust is not None:
            self._reader = threading.Thread(target=self._read, args=(self._locust,), name="loadtest-http")
            self._reader.start()
            self._locust.begin(started + self._settings.seconds)

    def send(self, schedule: Schedule, base: float, seconds: float) -> None:
        """See SteppedTarget."""
        begin = self.started + base
        self._step = Step(self._step.number + 1, begin, begin + seconds, schedule.rate)
        if self._locust is not None:
            self._locust.step(self._step)

    @property
    def trace(self) -> Trace:
        """See SteppedTarget."""
        return self._totals.trace

    @property
    def lag_trace(self) -> Trace:
        """See SteppedTarget."""
        return self._totals.lag_trace

    @property
    def is_sending(self) -> bool:
        """See SteppedTarget."""
        return time.monotonic() < self._step.end

    def waiting(self) -> int:
        """See SteppedTarget."""
        counts = self._totals.counts()
        return counts.sent - counts.answered - counts.failed

    def drain(self) -> bool:
        """See SteppedTarget: what users did not send before the end is left out, as no server knows of it."""
        self._add_figures()
        workers, number = self._plan.workers, self._step.number
        return wait_for(lambda: self._totals.done(number) >= workers, TIMEOUT_SECONDS + _STOP_SECONDS)

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
        seconds = min(time.monotonic() - self.started, self._settings.seconds)
        locust, self._locust = self._locust, None
        if locust is not None:
            self._end(locust)
            locust.close()
        settings, wanted = self._settings, None
        if not self._plan.is_stepped:
            wanted = wanted_per_second(self._users, settings.user_rate, seconds, settings.ramp_seconds)
        return self._totals.result(seconds, wanted, self._users)

    def _end(self, locust: LocustProcess) -> None:
        """End the processes of Locust; the thread that reads ends with the last of them."""
        if self._reader is None:
            locust.kill()
            return
        locust.end()
        if not self._plan.is_stepped:
            self._add_figures()
        # Workers learn from the first process that they must end.
        self._reader.join(_EXIT_SECONDS if locust.is_running else 0.0)
        if self._reader.is_alive():
            locust.kill()
            self._reader.join()

    def _read(self, locust: LocustProcess) -> None:
        for report in locust.reports():
            self._totals.add(report)

    def _add_figures(self) -> None:
        """Add the figures of the time since the last ones."""
        before, self._reading = self._reading, self._read_figures()
        self.figures.append(figures(before, self._reading, self._idle_cores, self._users))

    def _read_figures(self) -> Reading:
        totals = self._totals
        at, cpu_seconds = read_cpu_seconds(self._plan)
        return Reading(at, cpu_seconds, totals.served, totals.served_ms, totals.transfer_ms, totals.errors.total())


def _plan(settings: Settings, users: int) -> Plan:
    place, client = urlsplit(settings.url or ""), settings.client
    is_stepped = settings.profile == STRESS
    return Plan(
        url=f"{place.scheme}://{place.netloc}",
        metrics_path=settings.metrics_path,
        seconds_between=1 / settings.user_rate,
        users=users,
        workers=settings.workers,
        watchers=0 if is_stepped else watchers(users),
        is_stepped=is_stepped,
        timeout_seconds=TIMEOUT_SECONDS,
        ca_file=client.ca_file,
        cert_file=client.cert_file,
        key_file=client.key_file,
        server_name=client.server_name,
        username=_plain(client.username),
        password=_plain(client.password),
    )


def _plain(secret: str | None) -> str | None:
    """Return the text of a secret of the configuration, for the socket to Locust."""
    return None if secret is None else str(secret)


def _probe(plan: Plan) -> None:
    """Make one request; raise `TargetError` with what is wrong."""
    url = plan.url + plan.metrics_path
    try:
        answer = request(plan, "HEAD", _PROBE_SECONDS)
    except RequestException as error:
        raise TargetError(printable(f"{url} does not answer: {error_text(error)}", _ERROR_MAX)) from None
    if answer.status != 200:
        raise TargetError(printable(f"{url} answers {answer.status} {answer.reason}", _ERROR_MAX))


def _options(settings: Settings, users: int, url: str) -> list[str]:
    """Return the options of Locust's command; raise `TargetError` if the port of its page is taken."""
    # Users of a stress test are there before the first step.
    rate = users if settings.profile == STRESS else max(settings.spawn_rate * users / settings.users, 0.1)
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
    """Return a port that is free, and which no connection gets as its own before Locust listens there."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_LOOPBACK, port))
            return port
