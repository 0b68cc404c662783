"""librdkafka's errors in plain words, with the certificates as their cause."""

import logging
import time
from pathlib import Path

import pytest

from exporter.kafka import certificates
from exporter.kafka.connection_errors import MEANINGS, ConnectionFaults, parse_fault
from exporter.runtime.log_repeats import RepeatFilter
from tests.support.documents import DOCUMENTS
from tests.support.secure import Authority

REFUSED = "Connect to ipv4#127.0.0.1:9092 failed: Connection refused"
SERVERS = "kafka-1:9092,ssl://kafka-2:9092, [::1]:9092,plain"
DAY_SECONDS = 86_400
LINE = "FAIL [marketdata-exporter#consumer-1] [thrd:{0}]: {0}: {1} (after 5ms in state {2})"


def line(why: str, broker: str = "kafka-1:9092/bootstrap", state: str = "CONNECT") -> str:
    """A line of librdkafka's log."""
    return LINE.format(broker, why, state)


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        (f"kafka-1:9092/bootstrap: {REFUSED} (after 0ms in state CONNECT)", "kafka-1:9092"),
        (
            f"ssl://kafka-1:9092/3: {REFUSED} (after 3ms in state CONNECT, 2 identical error(s) suppressed)",
            "kafka-1:9092",
        ),
        (f"sasl_ssl://[::1]:9092/bootstrap: {REFUSED}", "[::1]:9092"),
        (f"TxnCoordinator: kafka-1:9092: {REFUSED} (after 0ms in state CONNECT)", "kafka-1:9092"),
        (line(REFUSED, "sasl_ssl://kafka-1:9092/bootstrap"), "kafka-1:9092"),
    ],
)
def test_errors_and_lines_name_the_broker_and_the_reason(text: str, broker: str) -> None:
    fault = parse_fault(text, SERVERS)
    assert fault is not None
    assert fault.broker == broker
    assert fault.error == REFUSED


def test_a_token_that_is_not_given_is_a_fault_of_no_broker() -> None:
    text = 'Failed to acquire SASL OAUTHBEARER token: {"error": "invalid_client"}'
    fault = parse_fault(text, SERVERS)
    assert fault is not None
    assert str(fault) == f"{text}; see sasl.oauthbearer.* in kafka.properties"


@pytest.mark.parametrize(
    "text",
    [
        "1/1 brokers are down",
        "REQTMOUT [c#consumer-1] [thrd:kafka:9092/1]: kafka:9092/1: Timed out",
        "Broker: Group authorization failed",
        "JoinGroup failed: Broker: Inconsistent group protocol",
        "Local: Timed out",
        "",
    ],
)
def test_what_is_no_failed_connection_is_left_alone(text: str) -> None:
    assert parse_fault(text, SERVERS) is None


@pytest.mark.parametrize(
    ("why", "state", "words", "advice"),
    [
        ("SASL authentication error: Authentication failed", "AUTH_REQ", "Authentication failed", "sasl.*"),
        ("SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not "
         "be verified, verify that ssl.ca.location is correctly configured", "SSL_HANDSHAKE",
         "the broker's certificate is not accepted", "ssl.ca.location"),
        ("error:0A000086:SSL routines::certificate verify failed", "SSL_HANDSHAKE",
         "the broker's certificate is not accepted", "ssl.ca.location"),
        ("Receive failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown: SSL alert number 46",
         "APIVERSION_QUERY", "the broker does not accept the client's certificate", "ssl.certificate.location"),
        ("SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker "
         "listener?", "SSL_HANDSHAKE", "listens without TLS", "security.protocol"),
        ("Disconnected: connection closed by peer: receive 0 after POLLIN", "APIVERSION_QUERY", "listens with TLS",
         "security.protocol"),
        ("SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "SSL_HANDSHAKE", "wrong version",
         "ssl.*"),
        ("Receive failed: Invalid response size 1213486160 (0..100000000): increase receive.message.max.bytes",
         "APIVERSION_QUERY", "does not speak Kafka", "name and port"),
        ("ApiVersionRequest failed: Local: Timed out: probably due to broker version < 0.10 (see api.version.request "
         "configuration)", "APIVERSION_QUERY", "does not answer: perhaps it is no broker", "name and port"),
        (REFUSED, "CONNECT", REFUSED, "name and port"),
    ],
)  # fmt: skip
def test_each_reason_is_told_in_words_and_with_what_to_look_at(why: str, state: str, words: str, advice: str) -> None:
    fault = parse_fault(line(why, state=state), SERVERS)
    assert fault is not None
    assert words in fault.error
    assert advice in fault.advice


@pytest.mark.parametrize(
    ("broker", "is_advertised"),
    [
        ("kafka-1:9092/1", False),  # they are called by what is configured
        ("KAFKA-2:9092/2", False),
        ("[::1]:9092/3", False),
        ("plain:9092/4", False),
        ("ip-10-0-0-1:9092/bootstrap", False),  # another name of an address that is configured
        ("kafka-1:29092/1", True),
        ("inner:9092/1", True),
        ("inner:9092", True),  # the coordinator of a group, say
    ],
)
def test_an_address_that_the_brokers_advertise_is_told_as_such(broker: str, is_advertised: bool) -> None:
    """Nobody configured it here, so that is not where to correct it."""
    fault = parse_fault(line(REFUSED, broker), SERVERS)
    assert fault is not None
    assert fault.is_advertised is is_advertised
    assert ("advertised.listeners" in fault.advice) is is_advertised


def test_what_is_wrong_with_a_password_is_so_at_any_address() -> None:
    fault = parse_fault(line("SASL authentication error: Authentication failed", "inner:9092/1"), SERVERS)
    assert fault is not None
    assert "sasl.*" in fault.advice


class Lines(logging.Handler):
    """What comes through a logger with the filters of the application, and the time that these see."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.records: list[logging.LogRecord] = []
        self._logger = logging.Logger("librdkafka")
        self._logger.addFilter(ConnectionFaults(SERVERS, {}, lambda: self.now))
        self._logger.addFilter(RepeatFilter(lambda: self.now))
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self.records.append(record)

    def log(self, *texts: str) -> None:
        """Log as librdkafka does."""
        for text in texts:
            self._logger.error("%s", text)

    def texts(self) -> list[str]:
        """What came through."""
        return [record.getMessage() for record in self.records]


def test_a_trouble_is_told_once_by_whichever_client_and_in_whichever_words() -> None:
    lines = Lines()
    closed = "Disconnected: SSL connection closed by peer"
    lines.log(line(closed), line(f"SSL handshake failed: {closed}: connecting to a PLAINTEXT broker listener?"))
    lines.log(line(closed).replace("consumer-1", "producer-2"))
    (record,) = lines.records
    assert record.getMessage() == "cannot connect to a broker"
    assert vars(record)["broker"] == "kafka-1:9092"
    assert "without TLS" in vars(record)["error"]
    assert "security.protocol" in vars(record)["advice"]


def test_other_brokers_other_troubles_and_other_lines_are_told() -> None:
    lines = Lines()
    lines.log(line(REFUSED), line(REFUSED, "kafka-2:9092/bootstrap"), line("Failed to resolve"), "GETPID [a] [b]: c: d")
    assert lines.texts() == ["cannot connect to a broker"] * 3 + ["GETPID [a] [b]: c: d"]


def test_properties_that_one_client_has_no_use_for_are_no_news() -> None:
    """In kafka.properties they are for both."""
    lines = Lines()
    lines.log("CONFWARN [c] [thrd:app]: Configuration property linger.ms is a producer property and will be ignored by "
              "this consumer instance", "CONFWARN [c] [thrd:app]: something else")  # fmt: skip
    assert lines.texts() == ["CONFWARN [c] [thrd:app]: something else"]


def test_the_documents_have_each_meaning() -> None:
    assert [words for _, words in MEANINGS if words not in DOCUMENTS] == []


# Certificates.


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_has_no_fault_of_time(text: str, tmp_path: Path) -> None:
    file = tmp_path / "any.pem"
    file.write_text(text)
    assert certificates.fault_of_client({"ssl.certificate.location": str(file)}, time.time()) == ""


def test_the_certificate_of_the_client_is_out_of_its_time_before_and_after(tmp_path: Path) -> None:
    in_file = Authority(tmp_path).issue("any").properties()
    in_text = {"ssl.certificate.pem": Path(in_file["ssl.certificate.location"]).read_text()}
    now = time.time()
    for shown in (in_file, in_text):
        assert certificates.fault_of_client(shown, now) == ""
        assert "has expired" in certificates.fault_of_client(shown, now + 2 * DAY_SECONDS)
        assert "not yet valid" in certificates.fault_of_client(shown, now - 2 * DAY_SECONDS)


@pytest.mark.parametrize(
    ("properties", "fault"),
    [({}, "none is configured"), ({"ssl.keystore.location": "a.p12"}, ""), ({"ssl.certificate.location": "no"}, "")],
)
def test_what_cannot_be_looked_at_has_no_fault(properties: dict[str, str], fault: str) -> None:
    assert certificates.fault_of_client(properties, time.time()) == fault


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody.invalid:9092", "no address"])
def test_a_broker_that_does_not_answer_has_no_fault_in_its_certificate(address: str) -> None:
    assert certificates.fault_of_broker(address, {}) == ""
