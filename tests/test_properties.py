"""Properties of librdkafka: what it would misread in silence, or refuse with a traceback, is told with its place."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from exporter import BatchMonitoringProducer, BatchPerformanceMonitor, ConfigError
from exporter.config.loader import load
from exporter.config.schema import Config, KafkaConfig
from exporter.kafka.clients import LineCollector
from exporter.kafka.properties import NO_CLAIMS, NOT_TEXT, NOTHING_TO_SHOW, mistakes, remarks
from tests.support.secure import Authority
from tests.support.sidecar import PROGRAM

WHOLE = ("socket.timeout.ms", "retries", "receive.message.max.bytes", "acks", "topic.metadata.refresh.interval.ms")
SASL = {"security.protocol": "SASL_PLAINTEXT"}
FETCHED = {"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "a", "sasl.oauthbearer.client.secret": "b"}


def wrong(section: str = "properties", **kafka: str) -> dict[str, str]:
    """What is wrong with each property of a section; dots are written as two underscores."""
    return found({section: {name.replace("__", "."): value for name, value in kafka.items()}})


def found(sections: dict[str, dict[str, str]]) -> dict[str, str]:
    """What is wrong, by path below `kafka`."""
    kafka: Any = sections
    return {
        conflict.paths[0].removeprefix("kafka."): conflict.message
        for conflict in mistakes(Config(kafka=KafkaConfig(**kafka)))
    }


# Numbers.


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("socket.timeout.ms", "45s", "a whole number of milliseconds from 10 to 300000, such as 45000"),
        ("socket.timeout.ms", "1m", "a whole number of milliseconds from 10 to 300000, such as 60000"),
        ("socket.timeout.ms", "10m", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "45 000", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "1_000", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "1e4", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "0x100", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "01000", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "1000.5", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "4294968296", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "9", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "soon", "a whole number of milliseconds from 10 to 300000"),
        ("socket.timeout.ms", "", "a whole number of milliseconds from 10 to 300000"),
        ("receive.message.max.bytes", "64MiB", "a whole number of bytes from 1000 to 2147483647, such as 67108864"),
        ("queued.max.messages.kbytes", "64MiB", "a whole number of KiB from 1 to 2097151, such as 65536"),
        ("retries", "5x", "a whole number from 0 to 2147483647"),
        ("acks", "1 replica", "a whole number from -1 to 1000"),
        ("linger.ms", "5ms", "a number of milliseconds from 0 to 900000, such as 5"),
        ("linger.ms", "nan", "a number of milliseconds from 0 to 900000"),
        ("linger.ms", "0x1p3", "a number of milliseconds from 0 to 900000"),
    ],
)
def test_a_number_that_would_be_misread_is_refused_with_what_to_write(name: str, value: str, expected: str) -> None:
    assert found({"properties": {name: value}}) == {f"properties.{name}": f'got "{value}", expected {expected}'}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("socket.timeout.ms", "45000"), ("acks", "all"), ("acks", "-1"), ("linger.ms", "0.5"), ("linger.ms", "5"),
        ("topic.metadata.refresh.interval.ms", "-1"), ("client.id", "45s"), ("client.id", "99999999999"),
        ("ssl.ca.location", "45s.pem"), ("debug", "broker,topic"), ("compression.type", "LZ4"),
        ("enable.metrics.push", "T"), ("client.rack", "010"),
    ],
)  # fmt: skip
def test_what_says_what_it_means_is_taken(name: str, value: str) -> None:
    """Text may look like a number, and words like no number at all."""
    assert found({"properties": {name: value}}) == {}


def read(name: str, value: str) -> str:
    """What librdkafka reads, as it tells itself."""
    # The properties of topics have an object of their own.
    with_it, without = told({name: value}), {*told({}), "default_topic_conf"}
    ((_, said),) = (each for each in with_it.items() if each[0] not in without)
    return said


def told(properties: dict[str, Any]) -> dict[str, str]:
    """What librdkafka tells of the properties of a client, by their first names."""
    heard = LineCollector()
    Producer({"debug": "conf", "logger": heard.logger, **properties}).poll(0)
    settings = (re.search(r"\]: +([\w.]+) = (.*)$", line) for line in heard.lines)
    return {setting[1]: setting[2] for setting in settings if setting}


NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(2**33), 2**33).map(str),
    st.floats().map(str),
    st.from_regex(r"[-+ ]?0?[0-9]{0,11}(\.[0-9]+)?(e[0-9])?( ?(ms|s|m|h|KiB|MB|%))?", fullmatch=True),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)


@pytest.mark.parametrize("name", WHOLE)
@given(value=NUMBERS)
def test_a_number_is_read_as_it_is_written_or_refused(name: str, value: str) -> None:
    """Whatever the text: nothing is cut, wrapped or rounded."""
    if not found({"properties": {name: value}}):
        assert read(name, value) == value


# Names, words and what is no text.


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("foo.bar", "1", "librdkafka has no such property"),
        ("key.deserializer", "x", "librdkafka has no such property"),
        ("socket_timeout_ms", "1000", "librdkafka has no such property, did you mean socket.timeout.ms?"),
        ("compression.type", "zip", 'got "zip", librdkafka refuses it: Invalid value "zip" for configuration property'),
        ("enable.metrics.push", "yes", 'got "yes", librdkafka refuses it: Expected bool value'),
        ("ssl.truststore.location", "a.jks", "librdkafka refuses it: Java TrustStores are not supported"),
    ],
)
def test_what_librdkafka_does_not_know_is_refused_in_its_words(name: str, value: str, said: str) -> None:
    assert said in found({"properties": {name: value}})[f"properties.{name}"]


@pytest.mark.parametrize(
    "name",
    ["error_cb", "stats_cb", "throttle_cb", "oauth_cb", "logger", "default.topic.config", "opaque", "rebalance_cb",
     "log_cb", "dr_msg_cb", "interceptors", "ssl.certificate.verify_cb", "on_delivery"],
)  # fmt: skip
def test_a_callback_cannot_be_given_as_text(name: str) -> None:
    assert found({"properties": {name: "print"}}) == {f"properties.{name}": NOT_TEXT}


def test_a_property_of_the_other_client_is_told_where_it_belongs() -> None:
    """Under its other names, too; in what is for both it may stand."""
    sections = {
        "properties": {"linger.ms": "7", "session.timeout.ms": "8000"},
        "consumer_properties": {"linger.ms": "5", "compression.type": "lz4", "fetch.min.bytes": "1"},
        "producer_properties": {"session.timeout.ms": "9000", "acks": "all", "group.instance.id": "one"},
    }
    of_producer = "this is a property of the producer, put it into kafka.producer_properties"
    of_consumer = "this is a property of the consumer, put it into kafka.consumer_properties"
    assert found(sections) == {
        "consumer_properties.linger.ms": of_producer,
        "consumer_properties.compression.type": of_producer,
        "producer_properties.session.timeout.ms": of_consumer,
        "producer_properties.group.instance.id": of_consumer,
    }


def test_a_secret_in_the_wrong_place_is_not_quoted() -> None:
    """Neither by us nor in librdkafka's words."""
    text = "kafka: {properties: {compression.type: '${file:password}', socket.timeout.ms: '${file:password}'}}"
    with pytest.raises(ConfigError) as caught:
        load(text, {}, {}, hostname="host", read_file=lambda _: "45s-hunter2", also=mistakes)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count("<secret>") == 3


# Together.


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (SASL | {"sasl.mechanism": "PLAIN"}, "sasl.username and sasl.password must be set"),
        (SASL | {"sasl.mechanism": "FOO"}, "Unsupported SASL mechanism: FOO"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/none"}, "cannot read /none: No such file or directory"),
    ],
)
def test_what_makes_no_client_is_told_once(properties: dict[str, str], message: str) -> None:
    (said,) = found({"properties": properties}).values()
    assert message in said
    assert "Failed to create" not in said


def test_a_broker_that_is_called_by_another_protocol_is_refused() -> None:
    """librdkafka leaves it out, and says so where nobody looks."""

    def said(servers: str, **properties: str) -> list[str]:
        kafka = KafkaConfig(bootstrap_servers=servers, properties={"security.protocol": "SSL"} | properties)
        return [conflict.message for conflict in mistakes(Config(kafka=kafka))]

    assert said("SSL://one:9092,ssl://two:9092,three:9092") == []
    (message,) = said("one:9092,PLAINTEXT://two:9092")
    assert message == "got plaintext://, and security.protocol in kafka.properties is ssl: expected the same"


def test_a_session_may_be_longer_than_the_time_between_polls() -> None:
    assert found({"consumer_properties": {"session.timeout.ms": "90000"}}) == {}


@pytest.mark.parametrize("mechanism", ["sasl.mechanism", "sasl.mechanisms"])
def test_oauthbearer_without_anything_that_brings_a_token_is_refused(mechanism: str) -> None:
    """librdkafka waits for it and says nothing."""
    given = SASL | {mechanism: "OAUTHBEARER"}
    unsigned = given | {"enable.sasl.oauthbearer.unsecure.jwt": "true"}
    assert found({"properties": given}) == {f"properties.{mechanism}": NOTHING_TO_SHOW}
    assert found({"properties": SASL, "consumer_properties": {mechanism: "OAUTHBEARER"}}) == {
        f"consumer_properties.{mechanism}": NOTHING_TO_SHOW
    }
    assert found({"properties": unsigned}) == {f"properties.{mechanism}": NO_CLAIMS}
    assert found({"properties": unsigned | {"sasl.oauthbearer.config": "principal=me"}}) == {}


def test_no_token_is_fetched_to_see_whether_the_properties_are_right() -> None:
    """A client that fetches one cannot be ended before the server has answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = {"sasl.oauthbearer.token.endpoint.url": f"http://127.0.0.1:{server.getsockname()[1]}/token"}
        given = SASL | {"sasl.mechanism": "OAUTHBEARER"} | FETCHED | url
        assert found({"properties": given}) == {}
        assert found({"properties": given | {"sasl.oauthbearer.metadata.authentication.type": "aws_iam"}}) != {}
        with pytest.raises(BlockingIOError):
            server.accept()


def test_properties_without_effect_are_remarked_on() -> None:
    def remarked(properties: dict[str, str]) -> str:
        return "\n".join(remarks(Config(kafka=KafkaConfig(properties=properties))))

    password = {"sasl.mechanism": "PLAIN", "sasl.username": "me", "sasl.password": "sesame"}
    assert "`security.protocol` is not configured for SASL" in remarked(password)
    assert remarked({"linger.ms": "5", "session.timeout.ms": "8000"}) == ""


# Wherever a configuration is read.


@pytest.mark.parametrize("command", ["run", "check", "audit"])
@pytest.mark.parametrize(
    ("section", "properties"),
    [
        ("properties", {"socket.timeout.ms": "45s", "error_cb": "print"}),
        ("producer_properties", {"transaction.timeout.ms": "30s", "delivery.report.only.error": True}),
        ("consumer_properties", {"session.timeout.ms": "30s", "transaction.timeout.ms": 30000}),
    ],
)
def test_each_command_tells_all_mistakes_with_their_places(
    command: str, section: str, properties: dict[str, object], tmp_path: Path
) -> None:
    """As any other mistake in the configuration, and without a traceback."""
    file = tmp_path / "sidecar.yml"
    file.write_text(yaml.safe_dump({"kafka": {section: properties}}))
    run = [str(PROGRAM), command, f"--config.file={file}"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for line, name in enumerate(sorted(properties), 3):
        assert re.search(rf"^(audit: )?kafka\.{section}\.{name}: .* \(line {line}\)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("value", ["45s", "0x10"])
def test_programs_are_told_by_an_error(value: str) -> None:
    config = {"kafka.properties": {"socket.timeout.ms": value}}
    with pytest.raises(ConfigError, match=re.escape("kafka.properties.socket.timeout.ms")):
        BatchMonitoringProducer(config=config)
    with pytest.raises(ConfigError, match=re.escape("kafka.properties.socket.timeout.ms")):
        BatchPerformanceMonitor(region="korea", exchange="upbit", request_type="ticker", config=config)


def test_healthcheck_asks_whatever_kafka_is_to_be_told() -> None:
    """It has nothing to do with that."""
    run = [str(PROGRAM), "healthcheck", "--web.listen-address=127.0.0.1:1"]
    environment = {"MARKETDATA_KAFKA__PROPERTIES__SOCKET_TIMEOUT_MS": "45s"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, "Connection refused" in done.stderr) == (1, True)


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, str]:
    """Properties of a client with a certificate, which are right."""
    authority = Authority(tmp_path / "authority")
    trust = {"security.protocol": "SSL", "ssl.ca.location": str(authority.certificate)}
    return trust | authority.issue("client").properties()


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"])
def test_a_file_that_cannot_be_used_is_named_with_what_it_has_to_be(
    name: str, shown: dict[str, str], tmp_path: Path
) -> None:
    junk, missing = tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("no certificate")
    for file, words in (
        (junk, f"cannot use {junk}: "),
        (missing, f"cannot read {missing}: No such file or directory;"),
    ):
        (found,) = mistakes(Config(kafka=KafkaConfig(properties=shown | {name: str(file)})))
        assert found.paths == (f"kafka.properties.{name}",)
        assert found.message.startswith(words)
        assert "; expected " in found.message
