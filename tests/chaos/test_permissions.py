"""What the broker does not allow is told, stops nothing else, and goes on once it is allowed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.support.guarded import CREDENTIALS, GuardedBroker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos


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
    eventually(lambda: "not allowed" in one.log)
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
    eventually(lambda: "publishing events is denied: " in one.get("/-/ready").text, 20)
    assert "ransactional" in one.get("/-/ready").text


def test_group_that_is_not_allowed_is_named(guarded: GuardedBroker, deployment: Deployment) -> None:
    """Nothing is read."""
    one = deployment.sidecar(
        kafka__bootstrap_servers=guarded.guarded,
        kafka__properties=CREDENTIALS,
        input__group=f"{deployment.group}-other",
    ).start()
    eventually(lambda: "Group authorization failed" in one.get("/-/ready").text, 20)
