"""Explains errors of connections to brokers: the cause in plain words, and a remedy."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

from exporter.kafka.certificates import fault_of_broker, fault_of_client
from exporter.kafka.msk import MskTokens
from exporter.runtime.foreign_text import printable

# The same error of the same broker is diagnosed once in this time.
DIAGNOSIS_SECONDS = 60.0
WORDS_MAX = 300

# As a log line: "FAIL [client] [thread]: ssl://host:port/bootstrap: why (after 5ms in state ...)"; an error lacks the
# beginning.
_FAILED = re.compile(
    r"^(?:FAIL \[.*?\] \[.*?\]: )?(?:\w+Coordinator(?:/\d+)?: )?(?:\w+://)?"
    r"(?P<broker>\S+?:\d+)(?:/(?P<id>bootstrap|\d+))?: "
    r"(?P<why>.*?)(?: \(after \d.*? in state (?P<state>\w+).*)?$",
    re.DOTALL,
)
# About no broker: no token to connect with.
_NO_TOKEN = re.compile(r"Failed to (?:acquire SASL OAUTHBEARER|retrieve OIDC) token.*", re.DOTALL)
# Texts of librdkafka, and what they mean.
_UNTRUSTED = "the broker's certificate is not accepted"
_REFUSED = "the broker does not accept the client's certificate"
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
_NOT_AUTHENTICATED = re.compile("SASL authentication error|authentication failed", re.IGNORECASE)
# After these texts other passwords, secrets, certificates or keys may help.
_REFUSAL = re.compile(
    f"{_NOT_AUTHENTICATED.pattern}|SASL OAUTHBEARER token|OIDC token|ssl|tls|certificate", re.IGNORECASE
)
# Remedies; the first whose pattern is found in the error.
_ADVICE = (
    (
        "AWS|Access denied",
        "see the AWS credentials, that they allow kafka-cluster:Connect, and kafka.msk_iam_region",
    ),
    ("broker's certificate.*(?:expired|not yet valid)", "renew it, or that of its authority, at the broker"),
    (
        "broker's certificate.*mismatch",
        "call the broker in kafka.bootstrap_servers and advertised.listeners by a name that its certificate has",
    ),
    ("broker's certificate", "see ssl.ca.location in kafka.properties"),
    ("client's certificate", "see ssl.certificate.location and ssl.key.location in kafka.properties"),
    ("listens with", "see security.protocol in kafka.properties"),
    ("OAUTHBEARER token|OIDC", "see sasl.oauthbearer.* in kafka.properties"),
    ("sasl|authentic", "see sasl.* and security.protocol in kafka.properties"),
    ("ssl|tls|certificate", "see ssl.* and security.protocol in kafka.properties"),
    ("Too many open files", "allow this process more descriptors: ulimit -n, LimitNOFILE"),
    ("", "see that it runs, and that its name and port are right"),
)
_ADVERTISED = "the brokers advertise this address: make their advertised.listeners one that can be reached from here"


class ConnectionFault(NamedTuple):
    """Why a broker (`host:port`) cannot be used, or none can, if it is empty.

    `is_advertised`: the address came from other brokers.
    """

    broker: str
    error: str
    is_advertised: bool = False

    @property
    def advice(self) -> str:
        """A remedy."""
        found = advice(self.error)
        return _ADVERTISED if self.is_advertised and found == _ADVICE[-1][1] else found

    def __str__(self) -> str:
        return f"{self.broker}{': ' if self.broker else ''}{self.error}; {self.advice}"


def parse_fault(text: str, servers: str) -> ConnectionFault | None:
    """Return the fault in an error or a log line of librdkafka; None when it is not about a connection.

    `servers` are the configured addresses.
    """
    found = _FAILED.match(text)
    if found is None:
        token = _NO_TOKEN.search(text)
        return token and ConnectionFault("", printable(token[0], WORDS_MAX))
    why, broker = printable(found["why"], WORDS_MAX), found["broker"]
    text = f"{why} {found['state'] or ''}"
    meaning = next((meaning for pattern, meaning in MEANINGS if pattern.search(text)), why)
    return ConnectionFault(broker, meaning, found["id"] != "bootstrap" and broker.lower() not in addresses(servers))


def addresses(servers: str) -> list[str]:
    """Return the addresses of `kafka.bootstrap_servers` in the form that librdkafka logs."""
    named = [server.strip().lower().rpartition("://")[2] for server in servers.split(",")]
    return [name if re.search(r":\d+$", name) else f"{name}:9092" for name in named]


def advice(error: str) -> str:
    """Return a remedy for an error of a connection."""
    return next(text for pattern, text in _ADVICE if re.search(pattern, error, re.IGNORECASE))


def diagnose(fault: ConnectionFault, properties: Mapping[str, Any]) -> ConnectionFault:
    """Return the fault in more detail, by the certificates and tokens that are the cause; may take some seconds."""
    detail = ""
    if fault.error == _UNTRUSTED:
        detail = fault_of_broker(fault.broker, properties)
    elif fault.error == _REFUSED:
        detail = fault_of_client(properties, time.time())
    elif _NOT_AUTHENTICATED.search(fault.error) and isinstance(tokens := properties.get("oauth_cb"), MskTokens):
        detail = tokens.error and f"no token of AWS IAM: {tokens.error}"
    return fault._replace(error=f"{fault.error}: {detail}") if detail else fault


def error_text(error: Exception) -> str:
    """Return the text of an error on one line with secrets masked; of a KafkaException only that of its error."""
    return printable(str(error.args[0].str()) if isinstance(error, KafkaException) else str(error), WORDS_MAX)


class ConnectionFaults(logging.Filter):
    """Explanations of connection errors, and as a filter of librdkafka's logger the lines about them. Thread-safe.

    `servers` and `properties` are those of the clients. `on_refused` is called, and must not wait, for each line about
    a broker or a token server that does not accept what the clients log in with, and about a handshake that failed.
    """

    def __init__(
        self,
        servers: str,
        properties: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
        *,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._servers = servers
        self._properties = properties
        self._clock = clock
        self._on_refused = on_refused
        self._diagnosed: dict[ConnectionFault, tuple[float, ConnectionFault]] = {}
        self._of_consumer: tuple[float, str] = float("-inf"), ""
        self._last: tuple[float, str] = float("-inf"), ""

    def last_of_consumer(self) -> str:
        """Return the last fault that a consumer logged; empty when that is older than `DIAGNOSIS_SECONDS`."""
        at, text = self._of_consumer
        return text if self._clock() - at < DIAGNOSIS_SECONDS else ""

    def last(self) -> str:
        """Return the last fault of any client; empty when that is older than `DIAGNOSIS_SECONDS`."""
        at, text = self._last
        return text if self._clock() - at < DIAGNOSIS_SECONDS else ""

    def explain(self, text: str) -> ConnectionFault | None:
        """Return the diagnosed fault in an error or log line; None when it is not about a connection."""
        fault = parse_fault(text, self._servers)
        if _REFUSAL.search(text if fault is None else fault.error):
            self._on_refused()
        if fault is None:
            return None
        now = self._clock()
        at, known = self._diagnosed.get(fault, (float("-inf"), fault))
        if now - at >= DIAGNOSIS_SECONDS:
            known = diagnose(fault, self._properties)
            recent = {each: (at, of) for each, (at, of) in self._diagnosed.items() if now - at < DIAGNOSIS_SECONDS}
            self._diagnosed = recent | {fault: (now, known)}
        self._last = now, str(known)
        return known

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter; a line about a connection becomes the explained fault."""
        text = record.getMessage()
        fault = self.explain(text) if text.startswith(("FAIL ", "OIDC ")) else None
        if fault is not None:
            if "#consumer-" in text.partition("]")[0]:
                self._of_consumer = self._clock(), str(fault)
            record.msg, record.args = "cannot connect to a broker" if fault.broker else "no token for the brokers", ()
            vars(record).update(error=fault.error, advice=fault.advice)
            if fault.broker:
                record.broker = fault.broker
        elif "advice" in vars(record) and _REFUSAL.search(str(vars(record)["error"])):
            self._on_refused()  # explained already, by the faults of another program in this process
        # A property in kafka.properties goes to both clients, and one of them may not use it.
        return not (text.startswith("CONFWARN ") and "will be ignored by this" in text)
