"""A password that is changed while the sidecar runs: it is read again, and each batch has its event once."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.kafka import running
from tests.support.secure import SecureBroker
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

READY_SECONDS = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker that asks for a password, and is started again by tests."""
    with running(SecureBroker(tmp_path_factory.mktemp("secure"))) as broker:
        yield broker


@pytest.mark.chaos  # the broker starts three times
@pytest.mark.parametrize(("first", "delivery"), [("broker", "exactly_once"), ("file", "at_least_once")])
def test_a_rotated_password_is_read_again_without_a_restart_and_each_batch_has_its_event_once(
    broker: SecureBroker, deployment: Deployment, tmp_path: Path, first: str, delivery: str
) -> None:
    """All connections end, and new ones need another password; the file has it before that, or after refusals."""
    secret, new = tmp_path / "password", uuid4().hex
    secret.write_text(broker.password)
    properties = broker.credentials(f"${{file:{secret}}}")
    given = {"kafka__bootstrap_servers": broker.at["passwords"], "kafka__properties": properties}
    sidecar = deployment.sidecar("one", **given, output__delivery=delivery).start()
    deployment.traffic.write(200)
    deployment.eventually_committed()
    if first == "file":
        secret.write_text(new)
    broker.rotate(new)
    broker.restart()
    deployment.traffic.write(100)
    eventually(lambda: "invalid credentials" in sidecar.log, READY_SECONDS)
    secret.write_text(new)
    eventually(lambda: "user and password for Kafka changed, connecting with them" in sidecar.log, READY_SECONDS)
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    assert new not in sidecar.log
    sidecar.stop()
    deployment.assert_told_once()
