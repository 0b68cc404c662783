"""A sidecar: connects the parts that `exporter.wiring` makes of a `Config`, starts them and stops them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector

from exporter.config.schema import Config
from exporter.core import in_use
from exporter.kafka.session import KafkaSession
from exporter.metrics.process import OwnProcess
from exporter.metrics.sidecar import SidecarMetrics
from exporter.page.page import LivePage
from exporter.reload import Reloader
from exporter.runtime import logs
from exporter.runtime.clock import SystemClock
from exporter.runtime.logs import LogCounter
from exporter.runtime.threads import Guard, Start, ThreadDied
from exporter.runtime.version import __version__
from exporter.runtime.worker import ThreadWorker
from exporter.status import SidecarStatus
from exporter.web.hosts import Access
from exporter.web.queries import SidecarQueries
from exporter.wiring.flow import make_loop
from exporter.wiring.ingestion import IngestionThread, make_ingestion
from exporter.wiring.reloads import reload_parts
from exporter.wiring.risk import make_risk, prepare_risk, risk_view
from exporter.wiring.services import make_channel, make_registries, make_source, make_store
from exporter.wiring.web import make_pushes, make_web_file, make_web_server

log = logs.logger("app")

STORE_STOP_SECONDS = 2.0


class App:
    """One sidecar. `run` blocks its thread; `stop` may be called from any.

    `load` returns the configuration of a reload, or raises ConfigError; without it, a reload changes nothing.
    """

    def __init__(
        self, config: Config, *, until_caught_up: bool = False, load: Callable[[], Config] | None = None
    ) -> None:
        self.port = 0
        self._guard = Guard(self._end)
        self.start_thread: Start = self._guard.start
        self._log_counter = LogCounter()
        registry, clock = CollectorRegistry(), SystemClock()
        self.kafka = KafkaSession(config, load)
        login = self.kafka.login
        registries = make_registries(config)
        find = None if registries is None else registries.find
        source = make_source(config, self.kafka, None if registries is None else registries.obstacle)
        self.store = make_store(config, registry, self.start_thread)
        self.ingestion = make_ingestion(config, self.kafka, clock, until_caught_up=until_caught_up)
        self._beside = IngestionThread(self.ingestion, until_caught_up=until_caught_up)
        channel, worker = make_channel(config, source, registry, login), ThreadWorker("publisher")
        self.loop = make_loop(
            config, source, channel, self.store, clock, worker, until_caught_up=until_caught_up, find_schemas=find
        )
        self.status = SidecarStatus(self.loop, clock, self.ingestion)
        self._known = {"version": __version__, "core": in_use(config.input.core)}
        metrics = SidecarMetrics(config, self.status, source.counts, self._log_counter, __version__)
        OwnProcess(registry=registry)
        GCCollector(registry=registry)
        self.web_file = make_web_file(config, registry)
        self.pushes = make_pushes(config, registry, clock)
        self.risk = make_risk(config, self.loop, self.status, clock, registry, self.pushes, login)
        page = LivePage(config, self.status, clock, __version__, self.pushes)
        self._recorder = page.recorder
        extend = list if self.pushes is None else self.pushes.extend
        self.queries = SidecarQueries(
            config, self.status, self.store, metrics, registry, page, self._web_warnings, extend
        )
        risk = None if self.risk is None else partial(prepare_risk, self.risk, self.status)
        parts = reload_parts(
            self.loop, self.ingestion, find, self.queries, self._allow, self.pushes, self.web_file, risk
        )
        self.reloader = Reloader(config, load or (lambda: config), parts, self.status.reloaded, clock)
        self._web = make_web_server(
            config,
            self.queries,
            registry,
            self.reloader,
            self.web_file,
            self.pushes,
            self.start_thread,
            risk_view(self.risk),
        )

    def run(self, started: threading.Event | None = None) -> bool:
        """Serve and consume until `stop` is called; return whether all clients were closed in time.

        `started` is set once HTTP is served, on `port`. Raises `OSError` when that fails, `KafkaException` when a
        client cannot be created or recovered, and `ThreadDied` when a thread died, after the backlog was published.
        """
        logging.getLogger("exporter").addHandler(self._log_counter)
        self.kafka.start()
        try:
            self.port = self._web.start()
            self.store.start()
            self._recorder.start(self.start_thread)
            log.info("sidecar started, serving HTTP", extra={"port": self.port, **self._known})
            if started is not None:
                started.set()
            self._beside.start(self.start_thread)
            if self.risk is not None:
                self.risk.start(self.start_thread)
            is_clean = self.loop.run() & self._beside.finish()
            if self._guard.death:
                raise ThreadDied(self._guard.death)
            return is_clean
        finally:
            self._beside.stop()
            if self.risk is not None:
                self.risk.stop()
            self._recorder.stop()
            self.store.stop(STORE_STOP_SECONDS)
            self._web.stop()
            self.kafka.stop()
            logging.getLogger("exporter").removeHandler(self._log_counter)

    def stop(self) -> None:
        """End `run` soon: publish the backlog and leave the group."""
        self.loop.stop()
        self._beside.stop()

    def _web_warnings(self) -> tuple[str, ...]:
        return () if self.web_file is None else self.web_file.warnings

    def _allow(self, wanted: Access) -> None:
        self._web.allow(wanted)

    def _end(self, why: str) -> None:
        log.critical("the sidecar stops because of a failure", extra={"reason": why})
        self.stop()
