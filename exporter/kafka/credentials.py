"""User and password of a sidecar's clients, which are read again when a broker refuses them.

Clients take new ones for their next connection, so none is replaced, and no event or transaction is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.runtime import logs
from exporter.runtime.threads import start

P = ParamSpec("P")
T = TypeVar("T")
Role = Literal["consumer", "producer", "admin"]
# Between two readings. Together they take longer than librdkafka repeats no error, 30 s.
READ_SECONDS = 5.0
READINGS = 8

log = logs.logger("kafka")


class Pair(NamedTuple):
    """User and password."""

    username: str
    password: str


def pair(config: Config, role: Role) -> Pair | None:
    """Return user and password of the clients in a role; None without both."""
    own = {"consumer": config.kafka.consumer_properties, "producer": config.kafka.producer_properties}.get(role, {})
    given = {**config.kafka.properties, **own}
    if "sasl.username" not in given or "sasl.password" not in given:
        return None
    return Pair(given["sasl.username"], given["sasl.password"])


class SaslCredentials:
    """The present user and password of each role, and the clients that have to get others; thread-safe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._changed: dict[Role, Pair] = {}
        self._clients: dict[object, tuple[Role, Any]] = {}

    def __bool__(self) -> bool:
        """Whether any client has user and password."""
        return any(pair(self._config, role) for role in _ROLES)

    def with_present(self, role: Role, make: Callable[P, T]) -> Callable[P, T]:
        """Return a maker of clients; the last client that it made gets others when they change."""
        place = object()

        def made(*args: P.args, **kwargs: P.kwargs) -> T:
            client = make(*args, **kwargs)
            with self._lock:
                self._clients[place] = role, client
                self._give(role, client)
            return client

        return made

    def properties(self, role: Role, make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        """Return a maker of properties with the present user and password."""

        def made() -> dict[str, Any]:
            found = self._changed.get(role)
            return make() | ({} if found is None else {"sasl.username": found[0], "sasl.password": found[1]})

        return made

    def renew(self, config: Config) -> bool:
        """Take user and password of another configuration; return whether any differ."""
        with self._lock:
            pairs = {role: pair(config, role) for role in _ROLES}
            found = {role: new for role, new in pairs.items() if new is not None and new != self._present(role)}
            self._changed |= found
            for role, client in self._clients.values():
                if role in found:
                    self._give(role, client)
        return bool(found)

    def _present(self, role: Role) -> Pair | None:
        return self._changed.get(role) or pair(self._config, role)

    def _give(self, role: Role, client: Any) -> None:
        if role in self._changed:
            with suppress(RuntimeError):  # it is closed
                client.set_sasl_credentials(*self._changed[role])


_ROLES: tuple[Role, ...] = ("consumer", "producer", "admin")


class CredentialRenewal:
    """Reads user and password again after a refusal, in a thread; `load` returns the configuration of the layers."""

    def __init__(self, credentials: SaslCredentials, load: Callable[[], Config]) -> None:
        self._credentials = credentials
        self._load = load
        self._reading = threading.Lock()
        self._waiting = threading.Event()

    def request(self) -> None:
        """Read them now and again for a while, unless that is done already; from any thread, without waiting."""
        if self._credentials and self._reading.acquire(blocking=False):
            start("credentials", self._read)

    def stop(self) -> None:
        """End reading."""
        self._waiting.set()

    def _read(self) -> None:
        try:
            for _ in range(READINGS):
                if self._has_changed() or self._waiting.wait(READ_SECONDS):
                    return
        finally:
            self._reading.release()

    def _has_changed(self) -> bool:
        try:
            if not self._credentials.renew(self._load()):
                return False
        except ConfigError as error:
            log.warning("user and password for Kafka cannot be read again", extra={"error": str(error)})
            return False
        log.info("user and password for Kafka changed, connecting with them")
        return True
