"""The command `run`: run the sidecar until a signal stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from exporter.app import App
from exporter.config.schema import Config
from exporter.model import Status
from exporter.runtime.threads import Start
from exporter.tools.process import prepare, run_to_end


def main(config: Config, *, load: Callable[[], Config], until_caught_up: bool = False) -> NoReturn:
    """Run until a signal stops the sidecar, then end the process: with 0 after a clean stop, otherwise with 1.

    `load` returns the configuration of a reload, or raises ConfigError.
    """
    prepare(config)
    run_to_end(_Sidecar(App(config, until_caught_up=until_caught_up, load=load)), config)


class _Sidecar:
    """A sidecar; see Service."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.kafka = app.kafka
        self.start_thread: Start = app.start_thread
        self.stop, self.stuck_seconds = app.stop, app.status.stuck_seconds

    def run(self, started: threading.Event) -> bool:
        """See Service."""
        return self._app.run(started)

    def reload(self) -> None:
        """See Service."""
        self._app.reloader.request()

    def healthy(self) -> Status:
        """See Service."""
        return self._app.queries.healthy()

    def ready(self) -> Status:
        """See Service."""
        return self._app.queries.ready()
