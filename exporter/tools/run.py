"""Run the sidecar until a signal stops it."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

from confluent_kafka import KafkaException

from exporter import clients, interpreter, logs
from exporter.app import App
from exporter.configuration.config import Config
from exporter.configuration.secrets import exposed
from exporter.unreachable import said
from exporter.watchdog import Watchdog

# Clients have 20 of them to say goodbye; a supervisor usually waits 30 before it kills.
STOP_SECONDS = 25.0


def main(config: Config, *, until_caught_up: bool = False) -> int:
    """Run until SIGTERM or SIGINT; return 0 after a clean stop, and end the process with 1 after any other."""
    logs.configure(config.log.level, config.log.format)
    logs.warn_of_flags(exposed(sys.argv))
    app = App(config, until_caught_up=until_caught_up)
    dog = Watchdog(app.loop.stuck_seconds, partial(clients.answers, config), clients.stuck_seconds(config))
    dog.start()
    interpreter.settle()

    def stop(*_: object) -> None:
        app.stop()
        dog.end_within(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        clean = app.run()
    except (KafkaException, OSError) as error:
        print(f"marketdata-exporter: {said(error)}", file=sys.stderr)
        clean = False
    if not clean:
        # Some client is stuck or broken; the end of the interpreter would wait for it.
        sys.stderr.flush()
        os._exit(1)
    return 0
