"""The view *Programs* of the live page and `/metrics`, served by a program itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, Self, cast

from prometheus_client import CollectorRegistry

from exporter.config.addresses import authority, host_and_port
from exporter.instrument.exposition import AnyFamily
from exporter.instrument.groups import Group
from exporter.model import Status
from exporter.page.history import STEP_SECONDS
from exporter.page.program_watch import ProgramWatch, described
from exporter.page.programs import ProgramRows, Programs
from exporter.runtime.clock import SystemClock
from exporter.runtime.threads import start
from exporter.runtime.version import __version__
from exporter.web.hosts import Access
from exporter.web.interface import Queries, Row, WebMetrics
from exporter.web.server import WebServer

HISTORY_SECONDS = 900.0
METRICS = "/metrics"


class HasRegistry(Protocol):
    """What keeps its metrics in a registry, such as a MetricsCollector or a PerformanceSystem."""

    @property
    def registry(self) -> CollectorRegistry:
        """The registry."""


class PerformanceDashboard:
    """The view *Programs* of this program at an address, `127.0.0.1:0` for any free port, and its `/metrics`.

    Requests are answered in threads of its own, and only those that name an address, `localhost` or one of
    `allowed_hosts` as their host: pages of other sites cannot read it. There is no password. Raises ValueError for an
    address that is none.
    """

    def __init__(
        self,
        of: HasRegistry | CollectorRegistry,
        address: str = "127.0.0.1:0",
        *,
        name: str = "",
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self._host, self._port = host_and_port(address)
        registry = of if isinstance(of, CollectorRegistry) else of.registry
        self._programs = Programs(_ThisProgram(registry, name), HISTORY_SECONDS)
        queries = _ProgramQueries(registry, self._programs, name)
        self._server = WebServer(
            # No other queries are made of a server that has only programs.
            cast(Queries, queries),
            self._host,
            self._port,
            METRICS,
            metrics=WebMetrics(CollectorRegistry()),
            access=Access(tuple(allowed_hosts), config_page="off"),
            only_programs=True,
        )
        self._stopping = threading.Event()

    def start(self) -> Self:
        """Serve from now on, until `stop` or the end of the program; raise OSError if the address cannot be used."""
        self._port = self._server.start()
        start("performance-history", self._sample)
        return self

    def stop(self) -> None:
        """Close all connections, and end the threads."""
        self._stopping.set()
        self._server.stop()

    @property
    def port(self) -> int:
        """The port, once it has started."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the page, once it has started."""
        return f"http://{authority(self._host or '127.0.0.1', self._port)}/"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _sample(self) -> None:
        self._programs.sample(SystemClock.now_ms())
        while not self._stopping.wait(STEP_SECONDS):
            self._programs.sample(SystemClock.now_ms())


class _ThisProgram:
    """The only group: the metrics of this program as they are now."""

    def __init__(self, registry: CollectorRegistry, name: str) -> None:
        self._registry = registry
        self._labels = {"job": name} if name else {}

    def groups(self) -> list[Group]:
        """See Groups."""
        now_seconds = SystemClock.now_ms() / 1000
        return [Group(self._labels, list(self._registry.collect()), now_seconds, 0.0, 0.0)]


class _ProgramQueries:
    """The queries of a server that has only programs; see Queries."""

    def __init__(self, registry: CollectorRegistry, programs: Programs, name: str) -> None:
        self._registry = registry
        self._programs = programs
        self._described = described(name, __version__, SystemClock.now_ms(), HISTORY_SECONDS, METRICS)

    def collect(self, _is_protobuf: bool = False) -> Iterator[AnyFamily]:
        """See Queries."""
        return iter(self._registry.collect())

    def in_turn(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """See Queries."""
        return pieces

    def healthy(self) -> Status:
        """See Queries."""
        return Status(True)

    def ready(self) -> Status:
        """See Queries."""
        return Status(True)

    def programs(self, program: str | None) -> Row | None:
        """See Queries."""
        now = {"now_ms": SystemClock.now_ms()}
        if program is None:
            rows = ProgramRows(self._programs)
            rows.changed()
            return {**now, **rows.all()}
        view = self._programs.view(program)
        return None if view is None else {**now, **view}

    def watch(self) -> ProgramWatch:
        """See Queries."""
        return ProgramWatch(self._programs, SystemClock(), self._described)
