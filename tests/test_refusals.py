"""What keeps the sidecar from reading is named by its own cause, once in the log, while it lasts; Kafka is real."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.support.background import repeating
from tests.support.guarded import CREDENTIALS, GuardedBroker
from tests.support.kafka import running
from tests.support.process import free_port
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

READY_SECONDS = 40.0
# How often Kafka says no before the log is looked at; more than once a second it is asked.
TRIES = 4
LOST = "kafka.invalid:29092"
COOPERATIVE = "cooperative-sticky"


class DifficultBroker(GuardedBroker):
    """Groups have two members at most; behind `lost` and `deaf` the broker says to be where nobody finds it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {"group.max.size": "2", "group.consumer.heartbeat.interval.ms": "1000"})
        self.nowhere = f"127.0.0.1:{free_port()}"
        self.lost, self.deaf = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.listen("LOST", self.lost, LOST)
        self.listen("DEAF", self.deaf, self.nowhere)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DifficultBroker]:
    """A broker with much to say no to."""
    with running(DifficultBroker(tmp_path_factory.mktemp("difficult"))) as broker:
        yield broker


@contextmanager
def member(deployment: Deployment, **properties: object) -> Iterator[None]:
    """Another member of the group, which has its partitions; two underscores stand for the dot."""
    given = {name.replace("__", "."): value for name, value in properties.items()}
    group: Any = {"bootstrap.servers": deployment.cluster.bootstrap, "group.id": deployment.group, "log_level": 0}
    consumer: Any = Consumer(group | given)
    assigned = threading.Event()

    def take(_: object, partitions: list[TopicPartition]) -> None:
        if partitions:  # sharing cooperatively takes two rounds
            assigned.set()

    consumer.subscribe([deployment.topic], on_assign=take)
    try:
        with repeating(lambda: consumer.poll(0.1)):
            assert assigned.wait(READY_SECONDS)
            yield
    finally:
        consumer.close()


def errors(sidecar: Sidecar, code: str) -> float:
    """How often Kafka, or librdkafka, has reported an error of that code."""
    return sidecar.scrape().total("marketdata_consumer_kafka_errors_total", code=code)


def says(sidecar: Sidecar, *words: str) -> None:
    """Wait until `/-/ready` has all these words."""
    eventually(lambda: all(word in sidecar.get("/-/ready").text for word in words), READY_SECONDS, f"no {words}")


def lines(sidecar: Sidecar, words: str) -> list[str]:
    """The log's lines with these words, without their time."""
    return [line.partition(" level=")[2] for line in sidecar.log.splitlines() if words in line]


def ready(sidecar: Sidecar) -> None:
    """Wait until it reads, and has forgotten what was in its way."""
    eventually(lambda: sidecar.get("/-/ready").text == "ok\n", READY_SECONDS, "not ready")
    assert sidecar.get("/-/ready").text == "ok\n"


# A group that refuses.


def test_members_that_share_partitions_otherwise(deployment: Deployment) -> None:
    """Kafka says no twice a second; the log says it once, and it is over once they are gone."""
    sidecar = deployment.sidecar()
    with member(deployment, partition__assignment__strategy="range"):
        sidecar.start()
        says(sidecar, "no partition is assigned: ", "Inconsistent group protocol", "choose another input.group")
        eventually(lambda: errors(sidecar, "INCONSISTENT_GROUP_PROTOCOL") > TRIES, READY_SECONDS)
        assert len(lines(sidecar, "Inconsistent group protocol")) == 1, sidecar.log
    ready(sidecar)


def test_group_that_is_full(deployment: Deployment) -> None:
    sidecar = deployment.sidecar()
    with ExitStack() as others:
        for _ in range(2):
            others.enter_context(member(deployment, partition__assignment__strategy=COOPERATIVE))
        sidecar.start()
        says(sidecar, "Consumer group has reached maximum size", "group.max.size")
        eventually(lambda: errors(sidecar, "GROUP_MAX_SIZE_REACHED") > TRIES, READY_SECONDS)
        assert len(lines(sidecar, "maximum size")) == 1, sidecar.log
    ready(sidecar)


def test_group_that_is_not_allowed(broker: DifficultBroker, deployment: Deployment) -> None:
    """It begins by itself once it is."""
    broker.allow(ResourceType.TOPIC, deployment.topic, AclOperation.READ)
    sidecar = deployment.sidecar(
        kafka__bootstrap_servers=broker.guarded, kafka__properties=CREDENTIALS, output__enabled=False
    ).start()
    says(sidecar, "the group cannot be joined: ", "Group authorization failed", "allow READ on the group")
    eventually(lambda: sidecar.scrape().total("marketdata_processing_seconds_count", stage="poll") > 1, READY_SECONDS)
    assert len(lines(sidecar, "Group authorization failed")) == 1, sidecar.log
    broker.allow(ResourceType.GROUP, deployment.group, AclOperation.READ)
    ready(sidecar)


def test_session_that_the_brokers_do_not_allow(deployment: Deployment) -> None:
    properties = {"session.timeout.ms": "3000000", "max.poll.interval.ms": "3600000"}
    sidecar = deployment.sidecar(kafka__consumer_properties=properties).start()
    says(sidecar, "Invalid session timeout", "group.max.session.timeout.ms")
    eventually(lambda: errors(sidecar, "INVALID_SESSION_TIMEOUT") > 2, READY_SECONDS)
    assert len(lines(sidecar, "Invalid session timeout")) == 1, sidecar.log


def test_assignor_that_the_brokers_do_not_have(deployment: Deployment) -> None:
    """It breaks each consumer; what replaces it says no more."""
    properties = {"group.protocol": "consumer", "group.remote.assignor": "none-of-these"}
    sidecar = deployment.sidecar(kafka__consumer_properties=properties).start()
    says(sidecar, "the group cannot be joined: ConsumerGroupHeartbeat fatal error: ", "see group.remote.assignor")
    eventually(lambda: errors(sidecar, "_FATAL") > 2, READY_SECONDS)
    assert "…" not in sidecar.get("/-/ready").text
    # Of librdkafka, of the source, and that the consumer failed.
    assert len(lines(sidecar, "assignor")) == 3, sidecar.log
    assert lines(sidecar, "partitions lost") == []


def test_another_member_with_the_same_instance_id(deployment: Deployment) -> None:
    """Who comes later throws the first one out."""
    same = {"group__instance__id": "same", "partition__assignment__strategy": COOPERATIVE}
    sidecar = deployment.sidecar(kafka__consumer_properties={"group.instance.id": "same"}).start()
    ready(sidecar)
    with member(deployment, **same):
        eventually(lambda: lines(sidecar, "another member has this group.instance.id"), READY_SECONDS)
    ready(sidecar)


def test_check_says_so_before(deployment: Deployment) -> None:
    """As far as the brokers show what they allow."""
    long = {"session.timeout.ms": "3000000", "max.poll.interval.ms": "3600000", "group.instance.id": "same"}
    with member(deployment, group__instance__id="same", partition__assignment__strategy="range"):
        sidecar = deployment.sidecar(kafka__consumer_properties=long)
        checked = sidecar.run("check", "--web.listen-address=127.0.0.1:0").stdout
    for words in ("session.timeout.ms is 3000000, the brokers allow", "use the assignor range", "same already"):
        assert words in checked


# Addresses.


@pytest.mark.parametrize(("entrance", "why"), [("lost", "Failed to resolve"), ("deaf", "Connection refused")])
def test_address_that_is_advertised_and_of_no_use(
    broker: DifficultBroker, deployment: Deployment, entrance: str, why: str
) -> None:
    """The one that is configured answers, and is not to blame."""
    configured: str = getattr(broker, entrance)
    advertised = {"lost": LOST, "deaf": broker.nowhere}[entrance]
    sidecar = deployment.sidecar(kafka__bootstrap_servers=configured).start()
    says(sidecar, f"no broker has answered yet: {advertised}: ", why, "the brokers advertise this address")
    assert configured not in sidecar.get("/-/ready").text
    (line,) = lines(sidecar, "cannot connect to a broker")
    assert f"broker={advertised}" in line
    assert "advertised.listeners" in line


def test_check_names_the_address_that_is_advertised(broker: DifficultBroker, deployment: Deployment) -> None:
    """Nothing else is said of Kafka: that is why."""
    checked = deployment.sidecar(kafka__bootstrap_servers=broker.lost).run("check", "--web.listen-address=127.0.0.1:0")
    first, second = (line for line in checked.stdout.splitlines() if "kafka." in line)
    assert first == f"ok    kafka.bootstrap_servers: {broker.lost} answers"
    assert second.startswith("fail  kafka.bootstrap_servers: the cluster advertises kafka.invalid:29092, ")
    assert second.endswith("make their advertised.listeners one that can be reached from here")


def test_audit_names_the_address_that_is_advertised(broker: DifficultBroker, deployment: Deployment) -> None:
    audited = deployment.sidecar(kafka__bootstrap_servers=broker.deaf).run("audit", "--timeout=3")
    assert audited.returncode == 2
    assert audited.stderr.count("\n") == 1
    assert audited.stderr.startswith(f"audit: Kafka: {broker.nowhere}: ")
    assert "advertised.listeners" in audited.stderr


@contextmanager
def stranger(answer: bytes) -> Iterator[str]:
    """The address of a server that answers whoever connects so, if at all."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer)
            while self.request.recv(1024):
                """Let it talk."""

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens there does not speak Kafka"),
        (b"", "what listens there does not answer: perhaps it is no broker"),
    ],
)
def test_what_is_no_broker(deployment: Deployment, answer: bytes, words: str) -> None:
    with stranger(answer) as address:
        properties = {"socket.timeout.ms": "1000"}
        sidecar = deployment.sidecar(kafka__bootstrap_servers=address, kafka__properties=properties).start()
        says(sidecar, f"no broker has answered yet: {address}: {words}")
        assert len(lines(sidecar, words)) <= 2  # of the broker, and of the group that cannot be joined yet
        sidecar.kill()


# Tokens.


def test_server_of_tokens_that_does_not_answer(broker: DifficultBroker, deployment: Deployment) -> None:
    """It is named, and the brokers are not blamed."""
    url = f"http://127.0.0.1:{free_port()}/token"
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "sidecar",
        "sasl.oauthbearer.client.secret": "sesame",
        "sasl.oauthbearer.token.endpoint.url": url,
    }
    sidecar = deployment.sidecar(kafka__properties=properties).start()
    words = "Failed to acquire SASL OAUTHBEARER token: Failed to connect"
    says(sidecar, f"no broker has answered yet: {words}")
    assert "sesame" not in sidecar.log
    sidecar.kill()
    checked = sidecar.run("check", "--web.listen-address=127.0.0.1:0").stdout
    assert f'does not answer: Failed to retrieve OIDC token from "{url}": Failed to connect' in checked
    assert "see sasl.oauthbearer.*" in checked
    assert words in sidecar.run("audit", "--timeout=3").stderr
