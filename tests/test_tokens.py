"""Kafka by tokens of an OpenID provider, which a real broker validates by the keys of the provider."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.kafka import running
from tests.support.oidc import AUDIENCE, SCOPE, OidcProvider, TokenBroker
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

READY_SECONDS = 40.0


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """A provider whose tokens live for four seconds."""
    with OidcProvider(tmp_path_factory.mktemp("provider"), seconds=4) as provider:
        yield provider


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[TokenBroker]:
    """A broker that accepts them."""
    with running(TokenBroker(tmp_path_factory.mktemp("tokens"), provider)) as broker:
        yield broker


def more_than(provider: OidcProvider, tokens: int) -> bool:
    """Whether the provider has given more tokens."""
    return len(provider.given) > tokens


def test_tokens_are_renewed_while_the_sidecar_runs_and_each_batch_has_its_event_once(
    broker: TokenBroker, provider: OidcProvider, deployment: Deployment
) -> None:
    """Every client gets new ones before the old ones expire: the broker ends no connection, and refuses none."""
    given = {"kafka__bootstrap_servers": broker.tokens, "kafka__properties": provider.properties()}
    sidecar = deployment.sidecar("one", **given, output__delivery="exactly_once").start()
    deployment.traffic.write(100)
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    known = len(provider.given)
    for rounds in range(1, 3):  # of renewals, of consumer and producer
        deployment.traffic.write(50)
        eventually(partial(more_than, provider, known + 2 * rounds), READY_SECONDS)
    deployment.eventually_committed()
    assert set(provider.given) == {SCOPE}
    checked = sidecar.run("check", "--web.listen-address=127.0.0.1:0")
    assert checked.returncode == 0, checked.stdout
    assert (
        "invalid_token" not in sidecar.log
    )  # a connection that is lost while it is opened is an error of SASL as well
    sidecar.stop()
    deployment.assert_told_once()


def test_a_provider_that_refuses_is_named_and_the_secret_is_not_shown(
    broker: TokenBroker, provider: OidcProvider, deployment: Deployment
) -> None:
    given = {"kafka__bootstrap_servers": broker.tokens, "kafka__properties": provider.properties("wrong-4T8w")}
    sidecar = deployment.sidecar("one", **given).start()
    words = "Failed to acquire SASL OAUTHBEARER token"
    eventually(lambda: words in sidecar.get("/-/ready").text, READY_SECONDS)
    assert "invalid_client" in sidecar.get("/-/ready").text
    eventually(lambda: "invalid_client" in sidecar.log)
    assert "wrong-4T8w" not in sidecar.log
    sidecar.kill()


def test_a_token_that_the_broker_does_not_accept_is_named(
    broker: TokenBroker, provider: OidcProvider, deployment: Deployment
) -> None:
    """Once it does, the sidecar begins by itself."""
    provider.audience = "another"
    given = {"kafka__bootstrap_servers": broker.tokens, "kafka__properties": provider.properties()}
    try:
        sidecar = deployment.sidecar("one", **given).start()
        eventually(lambda: "invalid_token" in sidecar.get("/-/ready").text, READY_SECONDS)
        eventually(lambda: "SASL authentication error" in sidecar.log, READY_SECONDS)  # lines are written by a thread
    finally:
        provider.audience = AUDIENCE
    deployment.traffic.write(50)
    deployment.eventually_committed()
    sidecar.stop()
    deployment.assert_told_once()
