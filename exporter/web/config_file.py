"""The web configuration file of a running server: read at the start, and again when it or its certificates change.

A file with mistakes leaves the last valid one in force: certificate and key are seldom replaced at the same moment, and
a mistake of one line must not end all scrapes. It is logged, and shown by a metric and by `/-/ready`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.config.conflicts import Conflict
from exporter.config.files import read_text
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.web_file import WebFile, parse_web_file
from exporter.runtime import logs
from exporter.runtime.foreign_text import add_secrets
from exporter.runtime.rate_limit import RateLimiter
from exporter.runtime.threads import Start
from exporter.web.authentication import Compare, PasswordChecks, Users
from exporter.web.handshakes import FAILURES
from exporter.web.protection import Protection
from exporter.web.tls import Tls, TlsMistake, files_of, server_tls

POLL_SECONDS = 1.0

log = logs.logger("web")


class WebFileMetrics:
    """Metrics of the file, which exist only if there is one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "marketdata_exporter_web_config_last_reload"
        self.successful = Gauge(
            f"{prefix}_successful", "Whether the last reading of web.config_file succeeded.", registry=registry
        )
        self.success_seconds = Gauge(
            f"{prefix}_success_timestamp_seconds", "Unix time of its last successful reading.", registry=registry
        )
        self.handshake_failures = Counter(
            "marketdata_exporter_http_tls_handshake_failures",
            "TLS handshakes that failed: by the certificate of the client, its name, the protocol or a disconnection.",
            ["reason"],
            registry=registry,
        )
        for reason in FAILURES:
            self.handshake_failures.labels(reason)


class _Content(NamedTuple):
    """A file that was read, with what is made of it."""

    file: WebFile
    tls: Tls | None
    compare: Compare | None


class WebConfigFile:
    """The file at `path`, of which `protection` is in force; raises ConfigError when the first reading fails."""

    def __init__(self, path: str, metrics: WebFileMetrics) -> None:
        self._path = Path(path)
        self._metrics = metrics
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._checks: PasswordChecks | None = None
        self._users: Users | None = None
        self._limiter: RateLimiter | None = None
        self.warnings: tuple[str, ...] = ()
        self._files: list[Path] = []
        self._signature: tuple[object, ...] = ()
        self._use(self._read(), None)

    def reload(self) -> None:
        """Read the file and its certificates again; when that fails, keep what is in force and raise ConfigError."""
        with self._lock:
            try:
                content = self._read()
                self._refuse_restart(content)
            except ConfigError as error:
                self.warnings = (f"web.config_file has mistakes, the last valid one is in force: {_line(error)}",)
                self._metrics.successful.set(0)
                raise
            self._use(content, self._content.file)

    def count_failure(self, reason: str) -> None:
        """Count a failed handshake."""
        self._metrics.handshake_failures.labels(reason).inc()

    def start(self, start_thread: Start) -> None:
        """Watch the files in a thread."""
        start_thread("web-file", self._watch)

    def stop(self) -> None:
        """End the thread soon, and check no more passwords; in the thread of the event loop."""
        self._stopping.set()
        if self._checks is not None:
            self._checks.close()

    def _watch(self) -> None:
        seen = self._signature
        while not self._stopping.wait(POLL_SECONDS):
            found = self._state()
            # Files that still change are left alone until they are complete.
            if found == seen and found != self._signature:
                self._reload()
            seen = found

    def _reload(self) -> None:
        try:
            self.reload()
        except ConfigError as error:
            log.warning("web.config_file has mistakes, the last valid one is in force", extra={"error": _line(error)})
        else:
            log.info("web.config_file was read again")

    def _state(self) -> tuple[object, ...]:
        """Return what changes when one of the files is written, replaced, removed or made readable."""
        return tuple(map(_state, (self._path, *self._files)))

    def _read(self) -> _Content:
        """Read the file and remember the state of all files before they are read; raise ConfigError."""
        self._signature = self._state()

        def use_files(file: WebFile) -> None:
            self._files = files_of(file.tls_server_config, self._path.parent)
            self._signature = (self._signature[0], *map(_state, self._files))

        return _read(self._path, use_files)

    def _refuse_restart(self, content: _Content) -> None:
        if (content.tls is None) != (self._content.tls is None):
            message = "TLS cannot be switched on or off while the sidecar runs, restart it"
            raise ConfigError((Problem("tls_server_config", message),))

    def _use(self, content: _Content, before: WebFile | None) -> None:
        file = content.file
        if content.compare is not None and self._checks is None:
            self._checks = PasswordChecks(content.compare)
        if before is None or file.basic_auth_users != before.basic_auth_users:
            self._users = Users(file.basic_auth_users) if file.basic_auth_users else None
        if before is None or file.rate_limit != before.rate_limit:
            rate = file.rate_limit
            self._limiter = RateLimiter(rate.burst, 1 / rate.interval) if rate.interval else None
        headers = {name: value for name, value in file.http_server_config.headers.items() if value}
        self._content = content
        self.protection = Protection(content.tls, headers, self._users, self._checks, self._limiter)
        self.warnings = ()
        self._metrics.successful.set(1)
        self._metrics.success_seconds.set(time.time())


def mistakes(path: str) -> Iterator[Conflict]:
    """Yield the mistakes of a file, its certificates included."""
    try:
        _read(Path(path))
    except ConfigError as error:
        for problem in error.problems:
            yield Conflict(f"{path}: {problem}", ("web.config_file",))


def _read(path: Path, on_file: Callable[[WebFile], object] = lambda _: None) -> _Content:
    """Return the content of a file; raise ConfigError. `on_file` gets it before its certificates are read."""
    try:
        text = read_text(str(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file"
        raise ConfigError((Problem("", f"the file cannot be read: {reason}"),)) from None
    file = parse_web_file(text, add_secrets)
    on_file(file)
    problems: list[Problem] = []
    tls: Tls | None = None
    compare: Compare | None = None
    if file.tls_server_config.is_enabled:
        try:
            tls = server_tls(file.tls_server_config, path.parent)
        except TlsMistake as mistake:
            problems.append(Problem(f"tls_server_config.{mistake.key}", str(mistake)))
        except OSError as error:  # no descriptors are left, or no /proc for a certificate in this file
            problems.append(Problem("tls_server_config", f"cannot be loaded: {error.strerror}"))
    if file.basic_auth_users:
        try:
            # Loaded when it is needed: it is an extra.
            from bcrypt import checkpw

            compare = checkpw
        except ImportError:
            message = "the package bcrypt is not installed, expected the extra marketdata-exporter[bcrypt]"
            problems.append(Problem("basic_auth_users", message))
    if problems:
        raise ConfigError(tuple(problems))
    return _Content(file, tls, compare)


def _state(file: Path) -> object:
    try:
        found = os.stat(file)
    except (OSError, ValueError) as error:
        return str(error)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _line(error: ConfigError) -> str:
    return "; ".join(map(str, error.problems))
