"""Reload of the configuration of a running sidecar: all that can change without a restart, or nothing.

A reload reads the same layers as the start: file, environment, flags, and files with secrets. Everything that may fail
is made before anything is put in force, so an error leaves the old configuration as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from msgspec.structs import replace

from exporter.config.changes import changes
from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.handover import NotTaken
from exporter.runtime.logs import Level
from exporter.runtime.threads import described
from exporter.status import ReloadState

log = logs.logger("reload")

# Makes what the new configuration needs, given the one in force, and returns what puts it in force, which must not
# fail. Raises ConfigError.
Prepare = Callable[[Config, Config], Callable[[], object]]


# After a reload the next one waits for so many times its duration, so that requests without a pause take a fifth of a
# core; at most for so long.
REST, REST_SECONDS_MAX = 4, 1.0


class Outcome(NamedTuple):
    """The result of a reload: its error, empty when there was none, and the paths of the keys that differed."""

    error: str
    at_once: tuple[str, ...] = ()
    with_restart: tuple[str, ...] = ()


class Reloader:
    """Changes the configuration in force, one change at a time; `request` and `set_level` are callable from any thread.

    `load` returns the configuration of the layers, or raises ConfigError. `parts` are put in force in their order.
    `report` gets the state after each reload.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        parts: Sequence[Prepare],
        report: Callable[[ReloadState], object],
        clock: Clock,
    ) -> None:
        self.config = config
        self._load = load
        self._parts = parts
        self._report = report
        self._clock = clock
        self._state = ReloadState(success_seconds=clock.now_ms() / 1000)
        self._report(self._state)
        # It has no thread before the first call.
        self._executor = ThreadPoolExecutor(1, "reload")
        self._rested_at = 0.0
        self._requesting = threading.Lock()
        self._waiting: Future[Outcome] | None = None

    def request(self) -> Future[Outcome]:
        """Reload soon. Requests are merged while one waits: it reads the layers after all of them."""
        with self._requesting:
            if self._waiting is None or self._waiting.running() or self._waiting.done():
                self._waiting = self._executor.submit(self._reload)
            return self._waiting

    def set_level(self, level: Level) -> Future[None]:
        """Log from another level on, until the next reload."""
        return self._executor.submit(self._set_level, level)

    def _set_level(self, level: Level) -> None:
        self._adopt(replace(self.config, log=replace(self.config.log, level=level)))
        log.info("log level changed", extra={"log_level": level})

    def _reload(self) -> Outcome:
        self._clock.sleep(max(0.0, self._rested_at - self._clock.monotonic()))
        began = self._clock.monotonic()
        try:
            return self._attempt()
        finally:
            took = self._clock.monotonic() - began
            self._rested_at = began + took + min(REST * took, REST_SECONDS_MAX)

    def _attempt(self) -> Outcome:
        try:
            wanted = changes(self.config, self._load())
            self._adopt(wanted.config)
        except ConfigError as error:
            return self._failed(str(error))
        except NotTaken:
            return self._failed("the loop stops, or does not turn")
        except Exception as error:
            return self._failed(f"internal error: {described(error)}")
        self._state = ReloadState(success_seconds=self._clock.now_ms() / 1000, with_restart=wanted.with_restart)
        self._report(self._state)
        log.info("configuration reloaded", extra={"changed": ", ".join(wanted.at_once) or "nothing"})
        if wanted.with_restart:
            log.warning("changes need a restart", extra={"keys": ", ".join(wanted.with_restart)})
        return Outcome("", wanted.at_once, wanted.with_restart)

    def _adopt(self, config: Config) -> None:
        for put_in_force in [prepare(self.config, config) for prepare in self._parts]:
            put_in_force()
        self.config = config

    def _failed(self, error: str) -> Outcome:
        self._state = self._state._replace(error=error)
        self._report(self._state)
        log.error("configuration not reloaded, the old one stays in force", extra={"error": error.replace("\n", "; ")})
        return Outcome(error)
