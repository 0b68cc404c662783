"""What the broker does not allow is told, stops nothing else, and goes on once it is allowed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required user_sidecar=secret;"
CREDENTIALS = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "sidecar",
    "sasl.password": "secret",
}


class GuardedBroker(Broker):
    """At `bootstrap` everybody may do anything; at `guarded` there is a user `sidecar`, who may do what is allowed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.guarded = f"127.0.0.1:{free_port()}"
        plain = self._properties["listener.security.protocol.map"]
        self._properties |= {
            "listeners": f"{self._properties['listeners']},GUARDED://{self.guarded}",
            "advertised.listeners": f"{self._properties['advertised.listeners']},GUARDED://{self.guarded}",
            "listener.security.protocol.map": f"{plain},GUARDED:SASL_PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": LOGIN,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def allow(self, resource: ResourceType, name: str, *operations: AclOperation) -> None:
        """Let the user do that with a topic, a group or a transactional.id of that name."""
        who = "User:sidecar", "*"
        acls = [
            AclBinding(resource, name, ResourcePatternType.LITERAL, *who, operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient(self._client())  # kept: its answers die with it
        for made in admin.create_acls(acls).values():
            made.result(10)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    """A broker that asks who comes."""
    broker = GuardedBroker(tmp_path_factory.mktemp("guarded")).start()
    yield broker
    broker.kill()


@pytest.fixture
def deployment(guarded: GuardedBroker, tmp_path: Path) -> Iterator[Deployment]:
    """Topics for input and output that the user may only read."""
    with Deployment(guarded, tmp_path) as deployment:
        deployment.create_outputs()
        guarded.allow(ResourceType.TOPIC, deployment.topic, AclOperation.READ)
        guarded.allow(ResourceType.GROUP, deployment.group, AclOperation.READ)
        yield deployment


def guarded_sidecar(deployment: Deployment, broker: GuardedBroker, delivery: str) -> Sidecar:
    """A sidecar that comes as the user."""
    return deployment.sidecar(
        kafka__bootstrap_servers=broker.guarded, kafka__properties=CREDENTIALS, output__delivery=delivery
    )


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_what_may_not_be_written_is_counted_and_waits(
    guarded: GuardedBroker, deployment: Deployment, delivery: str
) -> None:
    """Readiness and the log name it; nothing is tried over and over; once it is allowed all is told."""
    guarded.allow(ResourceType.TRANSACTIONAL_ID, f"{deployment.group}-one", AclOperation.WRITE)
    one = guarded_sidecar(deployment, guarded, delivery).start()
    deployment.traffic.write(90)
    eventually(lambda: one.batches() == 90, 20)
    eventually(lambda: "not allowed" in one.get("/-/ready").text, 20)
    assert "not allowed" in one.log
    assert "secret" not in one.log
    assert 1 <= one.scrape().total("marketdata_consumer_commit_failures_total", reason="denied") <= 2
    for topic in (deployment.events, deployment.errors):
        guarded.allow(ResourceType.TOPIC, topic, AclOperation.WRITE)
    deployment.eventually_committed()
    eventually(lambda: one.get("/-/ready").ok)
    one.stop()
    deployment.assert_told_once()


def test_transactions_that_are_not_allowed_are_named(guarded: GuardedBroker, deployment: Deployment) -> None:
    """Before anything is published."""
    for topic in (deployment.events, deployment.errors):
        guarded.allow(ResourceType.TOPIC, topic, AclOperation.WRITE)
    one = guarded_sidecar(deployment, guarded, "exactly_once").start()
    eventually(lambda: "not allowed: " in one.get("/-/ready").text, 20)
    assert "ransactional" in one.get("/-/ready").text


def test_group_that_is_not_allowed_is_named(guarded: GuardedBroker, deployment: Deployment) -> None:
    """Nothing is read."""
    one = deployment.sidecar(
        kafka__bootstrap_servers=guarded.guarded,
        kafka__properties=CREDENTIALS,
        input__group=f"{deployment.group}-other",
    ).start()
    eventually(lambda: "Group authorization failed" in one.get("/-/ready").text, 20)
