"""What the clients of one program have in common: what they log in with while it changes, and why brokers refuse it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exporter.config.schema import Config
from exporter.kafka import clients
from exporter.kafka.connection_errors import ConnectionFaults
from exporter.kafka.credentials import CredentialRenewal, KafkaLogin
from exporter.kafka.lifeline import Lifeline
from exporter.kafka.msk import login as msk_login

NO_FAULT = "no broker answers, see kafka.bootstrap_servers and security.protocol in kafka.properties"


class KafkaSession:
    """The login of a program and the faults of its connections.

    `load` returns the configuration with the values that its files have now, or raises ConfigError; without it only
    the files that Kafka's clients read themselves, such as certificates, are followed.
    """

    def __init__(self, config: Config, load: Callable[[], Config] | None = None) -> None:
        properties = {**msk_login(config), **config.kafka.properties, **config.kafka.consumer_properties}
        self.config = config
        self.login = KafkaLogin(config)
        self._lock = threading.Lock()
        self._users = 0
        self._renewal = CredentialRenewal(self.login, load or (lambda: config))
        self.faults = ConnectionFaults(config.kafka.bootstrap_servers, properties, on_refused=self._renewal.request)

    def start(self) -> None:
        """Explain the lines that clients log about connections, and follow what they log in with, for each user."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                # Explains an error before the next filter drops repetitions.
                clients.log.filters.insert(0, self.faults)

    def stop(self) -> None:
        """End both with the last user."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                clients.log.removeFilter(self.faults)
                self._renewal.stop()

    def answers(self) -> bool:
        """Return whether a broker answers a new client within seconds."""
        return clients.answers(self.login.present(self.config))

    def lifeline(self) -> Lifeline:
        """Return what detects that a client has lost all brokers; a new one logs in with what files contain now."""
        return Lifeline(self._answers_renewed)

    def _answers_renewed(self) -> bool:
        # A client that connects to no broker is refused by none, so nothing else asks for it.
        self._renewal.read()
        return self.answers()

    def explained(self, error: str) -> str:
        """Return an error of a call that had no answer, and why the last connection failed."""
        return f"{error}: {self.faults.last() or NO_FAULT}"
