"""Runs what the commands `run` and `cache` are, until a signal stops it, and ends the process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn, Protocol

from confluent_kafka import KafkaException

from exporter.config.schema import Config
from exporter.config.secrets import exposed
from exporter.kafka import clients
from exporter.kafka.connection_errors import error_text
from exporter.kafka.session import KafkaSession
from exporter.model import Status
from exporter.runtime import logs, service_manager, signals, tuning
from exporter.runtime.threads import Start, ThreadDied, described
from exporter.runtime.watchdog import Watchdog

# Closing the clients takes up to 20 s; supervisors usually kill after 30 s.
STOP_SECONDS = 25.0

log = logs.logger("run")


class Service(Protocol):
    """What runs in a process of its own."""

    @property
    def kafka(self) -> KafkaSession:
        """Return what its clients log in by."""

    @property
    def start_thread(self) -> Start:
        """Return what starts threads whose death ends the service."""

    def run(self, started: threading.Event) -> bool:
        """Run until `stop` is called; return whether it stopped cleanly. `started` is set once HTTP is served."""

    def stop(self) -> None:
        """End `run` soon; callable from any thread."""

    def reload(self) -> None:
        """Respond to a signal to reload, at once; callable from any thread."""

    def stuck_seconds(self) -> float:
        """Return how long the current call of its loops takes."""

    def healthy(self) -> Status:
        """Return whether it works."""

    def ready(self) -> Status:
        """Return whether what it shows is up to date."""


def prepare(config: Config) -> None:
    """Log as configured, before the service is made."""
    logs.configure(config.log.level, config.log.format)
    logs.warn_of_flags(exposed(sys.argv))


def run_to_end(service: Service, config: Config) -> NoReturn:
    """Run until a signal stops the service, then end the process: with 0 after a clean stop, otherwise with 1."""
    dog = Watchdog(service.stuck_seconds, service.kafka.answers, clients.stuck_seconds(config))
    dog.start(service.start_thread)
    tuning.tune_runtime()
    started, manager = threading.Event(), service_manager.take(os.environ)
    if manager is not None:
        service.start_thread("manager", partial(manager.report, started, service.healthy, service.ready))

    def stop() -> None:
        dog.end_within(STOP_SECONDS)
        if manager is not None:
            manager.stop()
        service.stop()

    received = signals.take()
    received.stop_by(stop)
    received.reload_by(service.reload)
    clean = _run(partial(service.run, started))
    logs.flush()
    # The interpreter would wait at its end for clients and requests that hang.
    os._exit(0 if clean else 1)


def _run(run: Callable[[], bool]) -> bool:
    """Return whether the service stopped cleanly."""
    try:
        return run()
    except (KafkaException, OSError) as error:
        logs.write_text(f"marketdata-exporter: {error_text(error)}")
    except ThreadDied as error:
        logs.write_text(f"marketdata-exporter: {error}")
    except Exception as error:
        log.critical("internal error, the process ends", exc_info=True)
        logs.write_text(f"marketdata-exporter: internal error: {described(error)}")
    return False
