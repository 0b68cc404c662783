"""What the clients of a sidecar log in with, read again upon a refusal: passwords, secrets, certificates, keys.

Clients take another user and password for their next connection. For all else each is replaced where nothing is lost:
the consumer between two polls, the producer between two transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeVar

from msgspec.structs import replace

from exporter.config.conflicts import PROPERTY_MAPS
from exporter.config.loader import ConfigError
from exporter.config.schema import Config, KafkaConfig
from exporter.kafka.properties import tls_refusal
from exporter.runtime import logs
from exporter.runtime.threads import start

P = ParamSpec("P")
T = TypeVar("T")
Role = Literal["consumer", "producer", "admin"]
# Between two readings. Together they take longer than librdkafka repeats no error, 30 s.
READ_SECONDS = 5.0
READINGS = 8
# What clients log in with is in properties that begin so, and in the files named by those that end so.
_LOGIN = ("ssl.", "sasl.")
_FILES = (".location", ".file")

log = logs.logger("kafka")


class Pair(NamedTuple):
    """User and password."""

    username: str
    password: str


def pair(kafka: KafkaConfig, role: Role) -> Pair | None:
    """Return user and password of the clients in a role; None without both."""
    own = {"consumer": kafka.consumer_properties, "producer": kafka.producer_properties}.get(role, {})
    given = {**kafka.properties, **own}
    if "sasl.username" not in given or "sasl.password" not in given:
        return None
    return Pair(given["sasl.username"], given["sasl.password"])


class Maker(Generic[P, T]):
    """Maker of clients that log in with what is present; `is_outdated` is about the last one."""

    def __init__(
        self, login: KafkaLogin, role: Role, config: Config, make: Callable[Concatenate[Config, P], T]
    ) -> None:
        self._login = login
        self._role = role
        self._config = config
        self._make = make
        self._version = 0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return a new client."""
        version, config = self._login.version, self._login.present(self._config)
        client = self._make(config, *args, **kwargs)
        self._version = version
        self._login.made(self, self._role, client, config.kafka)
        return client

    def is_outdated(self) -> bool:
        """Return whether the last client has to be replaced.

        Gives a consumer another user and password, if there are any; for the thread that uses it, between two calls.
        """
        if self in self._login.waiting:
            self._login.give(self)
        return self._version != self._login.version


class KafkaLogin:
    """The present values of `ssl.*` and `sasl.*`, and the clients that get another user and password; thread-safe.

    `version` is a number that changes with all that only new clients take. `waiting` are the makers of consumers that
    have to get another user and password: the call would wait for the end of a poll, and the thread that polls begins
    the next one before (confluent-kafka 2.16), so that thread makes it.
    """

    def __init__(self, config: Config) -> None:
        self.version = 0
        self.waiting: set[object] = set()
        self._kafka = config.kafka
        self._files = _contents(config.kafka)
        self._lock = threading.Lock()
        self._clients: dict[object, tuple[Role, Any]] = {}

    def __bool__(self) -> bool:
        """Whether any client has to log in."""
        return any(True for _ in _given(self._kafka))

    def maker(self, role: Role, config: Config, make: Callable[Concatenate[Config, P], T]) -> Maker[P, T]:
        """Return a maker of clients in a role by a configuration."""
        return Maker(self, role, config, make)

    def present(self, config: Config) -> Config:
        """Return a configuration with the present values."""
        return replace(config, kafka=self._kafka)

    def made(self, maker: object, role: Role, client: Any, kafka: KafkaConfig) -> None:
        """Remember the last client of a maker, which was made with these values."""
        with self._lock:
            self._clients[maker] = role, client
            self.waiting.discard(maker)
            if pair(kafka, role) != pair(self._kafka, role):
                _give(client, pair(self._kafka, role))

    def give(self, maker: object) -> None:
        """Give the last client of a maker the present user and password."""
        with self._lock:
            self.waiting.discard(maker)
            role, client = self._clients[maker]
            _give(client, pair(self._kafka, role))

    def renew(self, config: Config) -> tuple[bool, bool]:
        """Take the values of another configuration, and the files they name now.

        Return whether user or password differ, and whether clients are to be replaced. Raises `ValueError`, and takes
        nothing, if no client can be made with it.
        """
        with self._lock:
            kafka = _merged(self._kafka, config.kafka)
            files = _contents(kafka)
            roles = [role for role in _ROLES if pair(kafka, role) != pair(self._kafka, role)]
            needs_clients = files != self._files or _without_pairs(kafka) != _without_pairs(self._kafka)
            if needs_clients and (refusal := tls_refusal(kafka)):
                raise ValueError(refusal)
            self._kafka, self._files = kafka, files
            self.version += needs_clients
            for maker, (role, client) in self._clients.items():
                if role == "consumer" and role in roles:
                    self.waiting.add(maker)
                elif role in roles:
                    _give(client, pair(kafka, role))
        return bool(roles), needs_clients


_ROLES: tuple[Role, ...] = ("consumer", "producer", "admin")


def _give(client: Any, login: Pair | None) -> None:
    if login is not None:
        with suppress(RuntimeError):  # it is closed
            client.set_sasl_credentials(*login)


def _given(kafka: KafkaConfig) -> Iterator[tuple[str, str, str]]:
    """Yield section, name and value of each property for logging in."""
    for section in PROPERTY_MAPS:
        for name, value in getattr(kafka, section).items():
            if name.startswith(_LOGIN):
                yield section, name, value


def _merged(present: KafkaConfig, wanted: KafkaConfig) -> KafkaConfig:
    """Return the present values, those for logging in replaced; another set of properties needs a restart."""
    maps: dict[str, dict[str, str]] = {section: dict(getattr(present, section)) for section in PROPERTY_MAPS}
    for section, name, value in _given(wanted):
        if name in maps[section]:
            maps[section][name] = value
    return replace(present, **maps)


def _without_pairs(kafka: KafkaConfig) -> list[tuple[str, str, str]]:
    return [one for one in _given(kafka) if one[1] not in ("sasl.username", "sasl.password")]


def _contents(kafka: KafkaConfig) -> Mapping[str, str]:
    """Return a digest of each file or folder that is named, that of nothing where it cannot be read."""
    return {value: _digest(Path(value)) for _, name, value in _given(kafka) if name.endswith(_FILES)}


def _digest(path: Path) -> str:
    digest = sha256()
    with suppress(OSError, ValueError):  # no path, or a folder that may not be read
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            with suppress(OSError):
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


class CredentialRenewal:
    """Reads all this again after a refusal, in a thread; `load` returns the configuration of the layers."""

    def __init__(self, login: KafkaLogin, load: Callable[[], Config]) -> None:
        self._login = login
        self._load = load
        self._reading = threading.Lock()
        self._waiting = threading.Event()

    def request(self) -> None:
        """Read them now and again for a while, unless that is done already; from any thread, without waiting."""
        if self._login and self._reading.acquire(blocking=False):
            start("credentials", self._read)

    def read(self) -> None:
        """Read them once, unless that is done already."""
        if self._login and self._reading.acquire(blocking=False):
            try:
                self._has_changed()
            finally:
                self._reading.release()

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
            has_pair, has_clients = self._login.renew(self._load())
        except ConfigError as error:
            log.warning("user and password for Kafka cannot be read again", extra={"error": str(error)})
            return False
        except ValueError as error:
            log.warning("certificates for Kafka changed and cannot be used yet", extra={"error": str(error)})
            return False
        if has_pair:
            log.info("user and password for Kafka changed, connecting with them")
        if has_clients:
            log.info("certificates or secrets for Kafka changed, connecting with them by new clients")
        return has_pair or has_clients
