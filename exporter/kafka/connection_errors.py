"""Why a broker cannot be used, in words for whoever runs the sidecar."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from confluent_kafka import KafkaException

from exporter.kafka.certificates import fault_of_broker, fault_of_client
from exporter.runtime.foreign_text import printable

# The same of the same broker is looked into once in so long.
LOOK_SECONDS = 60.0
WORDS_MAX = 300

# "FAIL [client] [thread]: ssl://host:port/bootstrap: why (after 5ms in state ...)" as a line, and so without its
# beginning as an error.
_FAILED = re.compile(
    r"^(?:FAIL \[.*?\] \[.*?\]: )?(?:\w+Coordinator(?:/\d+)?: )?(?:\w+://)?"
    r"(?P<broker>\S+?:\d+)(?:/(?P<id>bootstrap|\d+))?: "
    r"(?P<why>.*?)(?: \(after \d.*? in state (?P<state>\w+).*)?$",
    re.DOTALL,
)
# What librdkafka says, and what it means.
_UNTRUSTED = "the broker's certificate is not accepted"
_REFUSED = "the broker does not accept our certificate"
MEANINGS = (
    (re.compile("certificate verify failed"), _UNTRUSTED),
    (re.compile("alert (?:certificate|bad certificate|unknown ca)"), _REFUSED),
    (
        re.compile("SSL connection closed by peer"),
        "the broker ends the connection in the TLS handshake: perhaps it listens without TLS there",
    ),
    (
        re.compile("^Disconnected.*APIVERSION_QUERY"),
        "the broker ends the connection at once: perhaps it listens with TLS there",
    ),
    (re.compile("Invalid response size"), "what listens there does not speak Kafka"),
    (re.compile("^ApiVersionRequest failed.*Timed out"), "what listens there does not answer: perhaps it is no broker"),
)
# What to look at, by the first that is found in the words.
_ADVICE = (
    ("broker's certificate.*(?:expired|not yet valid)", "renew it, or that of who signed it, at the broker"),
    (
        "broker's certificate.*mismatch",
        "call the broker in kafka.bootstrap_servers and advertised.listeners by a name that its certificate has",
    ),
    ("broker's certificate", "see ssl.ca.location in kafka.properties"),
    ("our certificate", "see ssl.certificate.location and ssl.key.location in kafka.properties"),
    ("listens with", "see security.protocol in kafka.properties"),
    ("sasl|authentic", "see sasl.* and security.protocol in kafka.properties"),
    ("ssl|tls|certificate", "see ssl.* and security.protocol in kafka.properties"),
    ("Too many open files", "allow this process more descriptors: ulimit -n, LimitNOFILE"),
    ("", "see that it runs, and that its name and port are right"),
)
_ADVERTISED = "the brokers advertise this address: make their advertised.listeners one that can be reached from here"


class ConnectionFault(NamedTuple):
    """Why a broker, by its `host:port`, cannot be used; `is_advertised`: other brokers gave that address."""

    broker: str
    error: str
    is_advertised: bool = False

    @property
    def advice(self) -> str:
        """What to look at."""
        found = advice(self.error)
        return _ADVERTISED if self.is_advertised and found == _ADVICE[-1][1] else found

    def __str__(self) -> str:
        return f"{self.broker}: {self.error}; {self.advice}"


def parse_fault(text: str, servers: str) -> ConnectionFault | None:
    """Return what librdkafka means by an error of a connection, or by the line about it; None when it is no such.

    `servers` are the addresses that are configured.
    """
    found = _FAILED.match(text)
    if found is None:
        return None
    why, broker = printable(found["why"], WORDS_MAX), found["broker"]
    told = f"{why} {found['state'] or ''}"
    words = next((words for pattern, words in MEANINGS if pattern.search(told)), why)
    return ConnectionFault(broker, words, found["id"] != "bootstrap" and broker.lower() not in addresses(servers))


def addresses(servers: str) -> list[str]:
    """Return the addresses of `kafka.bootstrap_servers` as librdkafka calls them."""
    named = [server.strip().lower().rpartition("://")[2] for server in servers.split(",")]
    return [name if re.search(r":\d+$", name) else f"{name}:9092" for name in named]


def advice(error: str) -> str:
    """Return what to look at when a broker cannot be used for this reason."""
    return next(text for pattern, text in _ADVICE if re.search(pattern, error, re.IGNORECASE))


def diagnose(fault: ConnectionFault, properties: Mapping[str, str]) -> ConnectionFault:
    """Return what is wrong in more detail where a look at the certificates tells; that may take some seconds."""
    detail = ""
    if fault.error == _UNTRUSTED:
        detail = fault_of_broker(fault.broker, properties)
    elif fault.error == _REFUSED:
        detail = fault_of_client(properties, datetime.now(UTC))
    return fault._replace(error=f"{fault.error}: {detail}") if detail else fault


def error_text(error: Exception) -> str:
    """Return what an error says, of one of Kafka's only its text, on one line and without secrets."""
    return printable(str(error.args[0].str()) if isinstance(error, KafkaException) else str(error), WORDS_MAX)


class Unreachable(logging.Filter):
    """Explains librdkafka's errors; as a filter its lines.

    `servers` and `properties` are those by which the clients connect. From any thread.
    """

    def __init__(
        self, servers: str, properties: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._servers = servers
        self._properties = properties
        self._clock = clock
        self._examined: dict[ConnectionFault, tuple[float, ConnectionFault]] = {}
        self._heard: tuple[float, str] = float("-inf"), ""

    def heard(self) -> str:
        """Return what the last line about a connection of a consumer meant; empty when that is long ago."""
        at, text = self._heard
        return text if self._clock() - at < LOOK_SECONDS else ""

    def explained(self, text: str) -> ConnectionFault | None:
        """Return what an error of a connection means; None when it is no such."""
        fault = parse_fault(text, self._servers)
        if fault is None:
            return None
        now = self._clock()
        at, known = self._examined.get(fault, (float("-inf"), fault))
        if now - at >= LOOK_SECONDS:
            known = diagnose(fault, self._properties)
            self._examined = {each: (at, of) for each, (at, of) in self._examined.items() if now - at < LOOK_SECONDS}
            self._examined[fault] = now, known
        return known

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter; a line about a connection says what `explained` says."""
        text = record.getMessage()
        fault = self.explained(text) if text.startswith("FAIL ") else None
        if fault is not None:
            if "#consumer-" in text.partition("]")[0]:
                self._heard = self._clock(), str(fault)
            record.msg, record.args = "a broker cannot be used", ()
            vars(record).update(broker=fault.broker, error=fault.error, advice=fault.advice)
        # What is in kafka.properties for both clients, one of them has no use for.
        return not (text.startswith("CONFWARN ") and "will be ignored by this" in text)
