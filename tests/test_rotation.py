"""What a sidecar logs in with is changed while it runs: it is read again, and each batch has its event once."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.kafka import running
from tests.support.kafka_programs import KafkaPrograms, Way
from tests.support.oidc import OidcProvider, TokenBroker
from tests.support.redis import RedisServer
from tests.support.secure import Authority, Certified, SecureBroker
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
    if first == "broker":
        eventually(lambda: "invalid credentials" in sidecar.log, READY_SECONDS)
        secret.write_text(new)
    eventually(lambda: "user and password for Kafka changed, connecting with them" in sidecar.log, READY_SECONDS)
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    assert new not in sidecar.log
    sidecar.stop()
    deployment.assert_told_once()


class Shown:
    """The files that a client shows and trusts, which are replaced one after the other."""

    def __init__(self, directory: Path) -> None:
        self._files = [directory / name for name in ("ca.pem", "shown.pem", "key.pem")]

    def replace(self, authority: Authority, certified: Certified) -> None:
        """Replace them by those of an authority."""
        for file, new in zip(self._files, (authority.certificate, certified.certificate, certified.key), strict=True):
            written = file.with_suffix(".new")
            written.write_bytes(new.read_bytes())
            written.replace(file)

    def properties(self) -> dict[str, str]:
        """The properties that name them."""
        names = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
        return {"security.protocol": "SSL"} | dict(zip(names, map(str, self._files), strict=True))


@pytest.mark.chaos  # the broker starts three times
@pytest.mark.parametrize(("first", "delivery"), [("broker", "exactly_once"), ("file", "at_least_once")])
def test_certificates_of_another_authority_are_read_again_without_a_restart(
    broker: SecureBroker, deployment: Deployment, tmp_path: Path, first: str, delivery: str
) -> None:
    """The broker shows, and asks for, certificates of an authority that did not exist when the sidecar started."""
    shown, old, new = Shown(tmp_path), Authority(tmp_path / "old"), Authority(tmp_path / "new")
    shown.replace(old, old.issue("client"))
    broker.trust(old)
    broker.restart()
    given = {"kafka__bootstrap_servers": broker.at["certificates"], "kafka__properties": shown.properties()}
    sidecar = deployment.sidecar("one", **given, output__delivery=delivery).start()
    deployment.traffic.write(200)
    deployment.eventually_committed()
    if first == "file":
        shown.replace(new, new.issue("client"))
    broker.trust(new)
    broker.restart()
    deployment.traffic.write(100)
    if first == "broker":
        eventually(lambda: "certificate is not accepted" in sidecar.log, READY_SECONDS)
        shown.replace(new, new.issue("client"))
    changed = "certificates or secrets for Kafka changed, connecting with them by new clients"
    eventually(lambda: changed in sidecar.log, READY_SECONDS)
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    deployment.traffic.write(50)
    deployment.eventually_committed()
    sidecar.stop()
    if delivery == "exactly_once":
        deployment.assert_told_once()
    else:  # of a partition that was given up, events may be published again
        deployment.eventually_visible()


@pytest.mark.chaos  # fourteen programs, and a broker that starts twice
def test_every_program_follows_what_it_logs_in_with_and_nothing_is_lost(
    broker: SecureBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Sidecars, cache services and programs with the Python API, by a password and by certificates."""
    shown, old, new = Shown(tmp_path), Authority(tmp_path / "old"), Authority(tmp_path / "new")
    secret, password = tmp_path / "password", uuid4().hex
    secret.write_text(broker.password)
    shown.replace(old, old.issue("client"))
    broker.trust(old)
    broker.restart()
    with KafkaPrograms(broker, tmp_path, redis_server) as programs:
        programs.start(Way(broker.at["passwords"], broker.credentials(f"${{file:{secret}}}")))
        programs.start(Way(broker.at["certificates"], shown.properties()))
        programs.go_on()
        broker.rotate(password)
        broker.trust(new)
        broker.restart()
        secret.write_text(password)
        shown.replace(new, new.issue("client"))
        programs.go_on()
        programs.go_on()
        programs.finish()


@pytest.mark.chaos  # a broker of its own
def test_another_client_secret_of_the_token_server_is_read_again_without_a_restart(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    secret, new = tmp_path / "secret", uuid4().hex
    with (
        OidcProvider(tmp_path_factory.mktemp("provider"), seconds=6) as provider,
        running(TokenBroker(tmp_path_factory.mktemp("tokens"), provider)) as broker,
        Deployment(broker, tmp_path).create_outputs() as deployment,
    ):
        secret.write_text(provider.secret)
        properties = provider.properties(f"${{file:{secret}}}")
        sidecar = deployment.sidecar(
            "one", kafka__bootstrap_servers=broker.tokens, kafka__properties=properties
        ).start()
        deployment.traffic.write(100)
        deployment.eventually_committed()
        provider.secret = new
        eventually(lambda: "invalid_client" in sidecar.log, READY_SECONDS)
        secret.write_text(new)
        eventually(lambda: "connecting with them by new clients" in sidecar.log, READY_SECONDS)
        deployment.traffic.write(100)
        deployment.eventually_committed()
        eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
        assert new not in sidecar.log
        sidecar.stop()
        deployment.assert_told_once()
