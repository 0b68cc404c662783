"""The command `run`: run the sidecar until a signal stops it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaException

from exporter.app import App
from exporter.config.schema import Config
from exporter.config.secrets import exposed
from exporter.kafka import clients
from exporter.kafka.connection_errors import error_text
from exporter.runtime import logs, service_manager, signals, tuning
from exporter.runtime.threads import ThreadDied, described
from exporter.runtime.watchdog import Watchdog

# Closing the clients takes up to 20 s; supervisors usually kill after 30 s.
STOP_SECONDS = 25.0

log = logs.logger("run")


def main(config: Config, *, load: Callable[[], Config], until_caught_up: bool = False) -> int:
    """Run until a signal stops the sidecar, then end the process: with 0 after a clean stop, otherwise with 1.

    `load` returns the configuration of a reload, or raises ConfigError.
    """
    logs.configure(config.log.level, config.log.format)
    logs.warn_of_flags(exposed(sys.argv))
    app = App(config, until_caught_up=until_caught_up, load=load)
    dog = Watchdog(app.status.stuck_seconds, partial(clients.answers, config), clients.stuck_seconds(config))
    dog.start(app.start_thread)
    tuning.tune_runtime()
    started, manager = threading.Event(), service_manager.take(os.environ)
    if manager is not None:
        app.start_thread("manager", partial(manager.report, started, app.queries.healthy, app.queries.ready))

    def stop() -> None:
        dog.end_within(STOP_SECONDS)
        if manager is not None:
            manager.stop()
        app.stop()

    received = signals.take()
    received.stop_by(stop)
    received.reload_by(app.reloader.request)
    clean = _run(app, started)
    logs.flush()
    # The interpreter would wait at its end for clients and requests that hang.
    os._exit(0 if clean else 1)


def _run(app: App, started: threading.Event) -> bool:
    """Return whether the sidecar stopped cleanly; `started` is set once HTTP is served."""
    try:
        return app.run(started)
    except (KafkaException, OSError) as error:
        logs.write_text(f"marketdata-exporter: {error_text(error)}")
    except ThreadDied as error:
        logs.write_text(f"marketdata-exporter: {error}")
    except Exception as error:
        log.critical("internal error, the sidecar stops", exc_info=True)
        logs.write_text(f"marketdata-exporter: internal error: {described(error)}")
    return False
