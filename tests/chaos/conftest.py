"""The broker of these tests, behind a proxy that does no harm until it is told to."""

from collections.abc import Iterator

import pytest

from tests.chaos.broker import ProxiedBroker


@pytest.fixture(scope="session")
def _proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedBroker]:
    with ProxiedBroker(tmp_path_factory.mktemp("proxied")) as broker:
        yield broker


@pytest.fixture
def proxied(_proxied: ProxiedBroker) -> Iterator[ProxiedBroker]:
    """A broker whose proxy is healed after the test."""
    yield _proxied
    _proxied.proxy.heal()
