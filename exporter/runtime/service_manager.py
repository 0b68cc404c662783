"""Notifications of systemd: that the process has started, what it does, that its loop turns, and that it stops.

The protocol is that of sd_notify(3): a datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, MutableMapping

from exporter.model import Status
from exporter.runtime import logs

log = logs.logger("service_manager")

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# Between two looks at the status; the watchdog of the manager may ask for shorter ones.
STATUS_SECONDS = 5.0
# What `systemctl status` shows in one line.
STATUS_CHARACTERS = 200


class ServiceManager:
    """The service manager that has started this process.

    `address` is the path of its socket, or `@` and a name in the abstract namespace. `watchdog_seconds` is the time
    within which it expects a sign of life, 0 when it expects none.
    """

    def __init__(self, address: str, watchdog_seconds: float = 0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds
        self._stopping = threading.Event()
        self._failed = False

    def report(self, started: threading.Event, healthy: Callable[[], Status], ready: Callable[[], Status]) -> None:
        """Report the start, then the status at each change, and a sign of life while the process is healthy.

        Runs until `stop` is called. The start does not wait for Kafka: its outage is no failure of the service.
        """
        period = min(STATUS_SECONDS, self.watchdog_seconds / 3 or STATUS_SECONDS)
        started.wait()
        self._send("READY=1")
        last = ""
        while not self._stopping.is_set():
            if (text := status_text(ready())) != last:
                self._send(f"STATUS={text}")
                last = text
            if self.watchdog_seconds and healthy().ok:
                self._send("WATCHDOG=1")
            self._stopping.wait(period)

    def stop(self) -> None:
        """Report that the process stops."""
        self._stopping.set()
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("the service manager cannot be notified", extra={"error": str(error)})


def take(environment: MutableMapping[str, str], pid: int | None = None) -> ServiceManager | None:
    """Return the service manager that the environment names, None without one.

    Its variables are removed, since child processes must not speak for this one. `pid` is that of this process.
    """
    address, microseconds, watched = (environment.pop(name, "") for name in VARIABLES)
    if not address.startswith(("/", "@")):
        return None
    is_watched = microseconds.isdecimal() and watched in ("", str(os.getpid() if pid is None else pid))
    return ServiceManager(address, int(microseconds) / 1e6 if is_watched else 0)


def status_text(status: Status) -> str:
    """Return a line for `systemctl status`, of at most `STATUS_CHARACTERS` characters."""
    word = "ready" if status.ok else "not ready"
    details = "; ".join((*status.reasons, *status.warnings))
    text = " ".join(f"{word}: {details}".split()) if details else word
    return text if len(text) <= STATUS_CHARACTERS else text[: STATUS_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
