"""Kafka by TLS, passwords and certificates: all works as without, trouble is told once, and secrets stay secret."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.config.schema import Config, KafkaConfig
from exporter.tools.check import cluster
from tests.support.kafka import running
from tests.support.secure import Authority, SecureBroker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

PASSWORD, WRONG, PASSPHRASE = "sesame", "wrong-4T8w", "open-9Q2x"
READY_SECONDS = 40.0
# Each is a second in which the brokers are asked in vain.
TRIES = 5


class Case(NamedTuple):
    """A way in that does not work, and what is to be told of it: what is wrong, and where to look."""

    entrance: str
    properties: dict[str, str]
    wrong: str
    advice: str


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker that asks who comes."""
    with running(SecureBroker(tmp_path_factory.mktemp("secure"))) as broker:
        yield broker


def by_password(broker: SecureBroker) -> dict[str, object]:
    """Settings of a sidecar that gets in by its password."""
    return {"kafka__bootstrap_servers": broker.at["passwords"], "kafka__properties": broker.credentials(PASSWORD)}


def by_certificate(broker: SecureBroker) -> dict[str, object]:
    """Settings of a sidecar that gets in by its certificate, whose key has a passphrase."""
    shown = broker.authority.issue("sidecar", passphrase=PASSPHRASE).properties(PASSPHRASE)
    trust = {"security.protocol": "SSL", "ssl.ca.location": str(broker.authority.certificate)}
    return {"kafka__bootstrap_servers": broker.at["certificates"], "kafka__properties": trust | shown}


@pytest.mark.parametrize(("settings", "delivery"), [(by_password, "exactly_once"), (by_certificate, "at_least_once")])
def test_everything_works_as_without(
    broker: SecureBroker, deployment: Deployment, settings: Callable[[SecureBroker], dict[str, object]], delivery: str
) -> None:
    """All batches have their event, and `check`, `healthcheck` and `audit` have nothing against it."""
    deployment.traffic.write(300)
    given = settings(broker) | {"output__delivery": delivery}
    sidecar = deployment.sidecar("one", **given).start()
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    assert sidecar.run("healthcheck", f"--web.listen-address=127.0.0.1:{sidecar.port}").returncode == 0
    checked = sidecar.run("check", f"--web.listen-address=127.0.0.1:{sidecar.port}")
    assert checked.returncode == 0, checked.stdout
    sidecar.stop()
    audited = sidecar.run("audit", "--strict-summaries")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    deployment.assert_told_once()


# What does not work.


def cases(broker: SecureBroker, strangers: Authority) -> dict[str, Case]:
    """All ways in which it may not work."""
    known, password = broker.authority, broker.credentials(PASSWORD)
    trust = {"security.protocol": "SSL", "ssl.ca.location": str(known.certificate)}
    old, strange = known.issue("old", days=0).properties(), strangers.issue("strange").properties()
    ours = "the broker does not accept the client's certificate"
    return {
        "password": Case("passwords", broker.credentials(WRONG), "invalid credentials", "see sasl.*"),
        "mechanism": Case(
            "passwords", password | {"sasl.mechanism": "PLAIN"}, "Unsupported SASL mechanism", "see sasl.*"
        ),
        "expired": Case("expired", password, "certificate has expired", "renew it"),
        "renamed": Case("renamed", password, "certificate is not valid for '127.0.0.1'", "kafka.bootstrap_servers"),
        "unknown authority": Case(
            "passwords",
            password | {"ssl.ca.location": str(strangers.certificate)},
            "the broker's certificate is not accepted: unable to get local issuer certificate",
            "see ssl.ca.location",
        ),
        "our expired": Case("certificates", trust | old, f"{ours}: it has expired (", "see ssl.certificate.location"),
        "none of ours": Case("certificates", trust, f"{ours}: none is configured", "see ssl.certificate.location"),
        "stranger": Case("certificates", trust | strange, ours, "see ssl.certificate.location"),
        "without TLS": Case("plain", password, "perhaps it listens without TLS", "see security.protocol"),
    }


def test_it_is_let_in_once_the_password_is_right(broker: SecureBroker, deployment: Deployment) -> None:
    """Without a restart: whoever sees the line may mend it at the broker."""
    broker.let_in("late", "another")
    properties = broker.credentials(PASSWORD, "late")
    sidecar = deployment.sidecar(kafka__bootstrap_servers=broker.at["passwords"], kafka__properties=properties).start()
    deployment.traffic.write(90)
    eventually(lambda: "invalid credentials" in sidecar.get("/-/ready").text, READY_SECONDS)
    broker.let_in("late", PASSWORD)
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    sidecar.stop()
    deployment.assert_told_once()


def test_check_says_the_same(broker: SecureBroker) -> None:
    """Of each address that is configured."""
    names = ("passwords", "expired", "renamed", "plain")
    addresses = broker.at | {"plain": broker.bootstrap}
    servers = ",".join(addresses[name] for name in names)
    kafka = KafkaConfig(bootstrap_servers=servers, properties=broker.credentials(PASSWORD))
    found, _ = cluster.ask_servers(Config(kafka=kafka))
    assert found[0].error == ""
    assert "certificate has expired" in found[1].error
    assert "certificate is not valid for '127.0.0.1'" in found[2].error
    assert "perhaps it listens without TLS" in found[3].error


def test_check_says_that_a_broker_wants_tls(broker: SecureBroker) -> None:
    """It just ends connections without."""
    found, _ = cluster.ask_servers(Config(kafka=KafkaConfig(bootstrap_servers=broker.at["passwords"])))
    assert "perhaps it listens with TLS" in found[0].error


def test_audit_says_the_same(broker: SecureBroker, deployment: Deployment) -> None:
    """In its one line."""
    properties = broker.credentials(WRONG)
    sidecar = deployment.sidecar(kafka__bootstrap_servers=broker.at["passwords"], kafka__properties=properties)
    audited = sidecar.run("audit", "--timeout=2")
    assert audited.returncode == 2
    assert audited.stderr.count("\n") == 1
    assert "invalid credentials" in audited.stderr
    assert WRONG not in audited.stderr


def test_key_that_cannot_be_read_is_a_mistake_in_the_configuration(
    broker: SecureBroker, deployment: Deployment
) -> None:
    """Told in one line without its passphrase: there is nothing to wait for."""
    settings: dict[str, Any] = by_certificate(broker)
    settings["kafka__properties"] |= {"ssl.key.password": WRONG}
    sidecar = deployment.sidecar(**settings)
    assert sidecar.run_to_end() == 2
    (last,) = sidecar.log.splitlines()[1:]
    assert last.startswith("kafka.properties.ssl.key.location: cannot use ")
    assert "expected the PEM file of the key of ssl.certificate.location" in last
    assert "Traceback" not in sidecar.log
    assert WRONG not in sidecar.log


# Secrets.


def test_secrets_are_shown_nowhere(broker: SecureBroker, deployment: Deployment, tmp_path: Path) -> None:
    """Neither in logs, of librdkafka too, nor in what is served or published, nor to whoever lists processes."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}-in-a-file\n")
    broker.let_in("filed", f"{PASSWORD}-in-a-file")
    key = broker.authority.issue("shown", passphrase=PASSPHRASE)
    properties = broker.credentials(f"${{file:{file}}}", "filed") | {
        "ssl.certificate.location": str(key.certificate),
        "ssl.key.pem": key.key.read_text(),
        "ssl.key.password": PASSPHRASE,
        "debug": "security,conf",
    }
    sidecar = deployment.sidecar(
        kafka__bootstrap_servers=broker.at["passwords"], kafka__properties=properties, log__level="debug"
    ).start()
    deployment.traffic.write(90)
    broker.produce(deployment.topic, [b"not a batch"])
    eventually(lambda: broker.read_all(deployment.errors), READY_SECONDS)
    served = [sidecar.get(path).text for path in ("/metrics", "/config", "/api/v1/feeds", "/-/ready")]
    served.append(sidecar.snapshot())
    published = [str((record.value, record.headers)) for record in broker.read_all(deployment.errors)]
    listed = Path(f"/proc/{sidecar.pid}/cmdline").read_text()
    checked = sidecar.run("check", f"--web.listen-address=127.0.0.1:{sidecar.port}").stdout
    sidecar.stop()
    assert "SASL" in sidecar.log, "librdkafka was to tell all that it does"
    body = key.key.read_text().splitlines()[2]
    for shown in (*served, *published, listed, checked, sidecar.log):
        for secret in (f"{PASSWORD}-in-a-file", PASSPHRASE, body):
            assert secret not in shown


# Last, as these sidecars go on trying until the end of the file, which takes the broker much time.


@pytest.fixture(scope="module")
def refused(
    broker: SecureBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Case, Sidecar]]]:
    """Each case with a sidecar; all have tried several times."""
    directory = tmp_path_factory.mktemp("refused")
    addresses = broker.at | {"plain": broker.bootstrap}
    with Deployment(broker, directory) as deployment:
        sidecars = {
            name: (
                case,
                deployment.sidecar(
                    kafka__bootstrap_servers=addresses[case.entrance], kafka__properties=case.properties
                ).start(),
            )
            for name, case in cases(broker, Authority(directory / "strangers")).items()
        }
        for _, sidecar in sidecars.values():
            eventually(lambda sidecar=sidecar: tries(sidecar) >= TRIES, READY_SECONDS)  # type: ignore[misc]
        yield sidecars


def tries(sidecar: Sidecar) -> float:
    """How often it has asked the brokers in vain."""
    return sidecar.scrape().total("marketdata_processing_seconds_count", stage="poll")


@pytest.mark.parametrize(
    "name",
    ["password", "mechanism", "expired", "renamed", "unknown authority", "our expired", "none of ours", "stranger",
     "without TLS"],
)  # fmt: skip
def test_who_is_not_let_in_says_why_and_where_to_look(refused: dict[str, tuple[Case, Sidecar]], name: str) -> None:
    """In one line however often it is tried, and in readiness; metrics are served, and it goes on trying."""
    case, sidecar = refused[name]
    ready = sidecar.get("/-/ready")
    assert ready.status_code == 503
    assert case.wrong in ready.text
    assert case.advice in ready.text
    lines = sidecar.log.splitlines()
    told = [line for line in lines if case.wrong in line]
    assert len(told) == 1, sidecar.log
    assert "level=error" in told[0]
    assert case.advice in told[0]
    # Beside it: that it serves, that no broker is left, and that no group can be joined and no event published.
    happenings = [line.partition(" level=")[2] for line in lines]
    assert len(set(happenings)) == len(happenings) <= 5, sidecar.log
    assert sidecar.scrape().total("marketdata_exporter_ready") == 0
    assert sidecar.exit_code() is None
    assert WRONG not in sidecar.log + ready.text
