"""What clients log in with, in the making and while they live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config.schema import Config, KafkaConfig
from exporter.kafka.credentials import KafkaLogin, Maker, Role, pair
from tests.support.secure import Authority

OLD = {"sasl.username": "me", "sasl.password": "old"}
PAIR, CLIENTS = (True, False), (False, True)


class Client:
    """A client that keeps what it was made with, and what it was given."""

    def __init__(self, made_with: KafkaConfig) -> None:
        self.made_with = made_with
        self.given: list[tuple[str, str]] = []
        self.is_closed = False

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """See confluent-kafka."""
        if self.is_closed:
            raise RuntimeError("Handle has been closed")
        self.given.append((username, password))


def config(**kafka: dict[str, str]) -> Config:
    return Config(kafka=KafkaConfig(**kafka))  # type: ignore[arg-type]


def maker(login: KafkaLogin, role: Role, of: Config | None = None) -> Maker[[], Client]:
    make: Callable[[Config], Client] = lambda config: Client(config.kafka)  # noqa: E731
    return login.maker(role, of or Config(), make)


def test_clients_that_live_get_another_password_and_those_that_follow_are_made_with_it() -> None:
    login = KafkaLogin(config(properties=OLD))
    make = maker(login, "consumer")
    replaced, living = make(), make()
    new = config(properties=OLD | {"sasl.password": "new"})
    assert login.renew(new) == PAIR
    assert living.given == []  # a thread may be polling
    assert not make.is_outdated()
    assert (replaced.given, living.given) == ([], [("me", "new")])
    assert make().made_with == login.present(Config()).kafka == new.kafka
    assert not make.is_outdated()


def test_what_did_not_change_is_given_to_nobody() -> None:
    login = KafkaLogin(config(properties=OLD))
    make = maker(login, "producer")
    client = make()
    assert login.renew(config(properties=OLD)) == (False, False)
    assert login.renew(config()) == (False, False)
    assert client.given == []
    assert not make.is_outdated()


def test_each_role_has_its_own() -> None:
    mine = {"sasl.password": "own"}
    login = KafkaLogin(config(properties=OLD, producer_properties=mine))
    roles: tuple[Role, ...] = ("consumer", "producer")
    makers = [maker(login, role) for role in roles]
    consumer, producer = (make() for make in makers)
    assert login.renew(config(properties=OLD | {"sasl.password": "new"}, producer_properties=mine)) == PAIR
    assert not any(make.is_outdated() for make in makers)
    assert (consumer.given, producer.given) == ([("me", "new")], [])


def test_a_closed_client_is_passed_over() -> None:
    login = KafkaLogin(config(properties=OLD))
    closed, living = (maker(login, "admin")() for _ in range(2))
    closed.is_closed = True
    assert login.renew(config(properties=OLD | {"sasl.username": "you"})) == PAIR
    assert (closed.given, living.given) == ([], [("you", "old")])


def test_without_anything_to_log_in_with_there_is_nothing_to_renew() -> None:
    assert not KafkaLogin(config(properties={"linger.ms": "5"}))
    assert KafkaLogin(config(consumer_properties=OLD))
    assert KafkaLogin(config(properties={"ssl.ca.location": "ca.pem"}))
    assert pair(KafkaConfig(properties={"sasl.username": "me"}), "admin") is None


def test_another_secret_of_a_token_server_asks_for_new_clients() -> None:
    secret = "sasl.oauthbearer.client.secret"
    login = KafkaLogin(config(properties={secret: "old"}))
    make = maker(login, "consumer")
    make()
    assert login.renew(config(properties={secret: "new"})) == CLIENTS
    assert make.is_outdated()
    assert make().made_with.properties == {secret: "new"}
    assert not make.is_outdated()


def test_only_the_values_of_what_clients_log_in_with_are_taken() -> None:
    given = {"ssl.key.password": "a", "fetch.min.bytes": "1"}
    login = KafkaLogin(config(properties=given))
    wanted = {"ssl.key.password": "b", "fetch.min.bytes": "2", "sasl.mechanism": "PLAIN"}
    assert login.renew(config(properties=wanted)) == CLIENTS
    assert login.present(Config()).kafka.properties == {"ssl.key.password": "b", "fetch.min.bytes": "1"}


@pytest.fixture
def authorities(tmp_path: Path) -> list[Authority]:
    """Two that know nothing of each other."""
    return [Authority(tmp_path / name) for name in ("old", "new")]


def test_files_that_are_replaced_ask_for_new_clients_once_they_fit_together(
    authorities: list[Authority], tmp_path: Path
) -> None:
    """Certificate and key are replaced one after the other: meanwhile no client can be made of them."""
    old, new = (each.issue("client") for each in authorities)
    shown, key, ca = (tmp_path / name for name in ("shown.pem", "key.pem", "ca.pem"))
    for file, content in ((shown, old.certificate), (key, old.key), (ca, authorities[0].certificate)):
        file.write_bytes(content.read_bytes())
    places = {"ssl.certificate.location": str(shown), "ssl.key.location": str(key), "ssl.ca.location": str(ca)}
    given = config(properties=places)
    login = KafkaLogin(given)
    make = maker(login, "producer")
    make()
    assert login.renew(given) == (False, False)
    ca.write_bytes(authorities[1].certificate.read_bytes())
    assert login.renew(given) == CLIENTS
    make()
    shown.write_bytes(new.certificate.read_bytes())
    with pytest.raises(ValueError, match="key"):
        login.renew(given)
    assert not make.is_outdated()
    key.write_bytes(new.key.read_bytes())
    assert login.renew(given) == CLIENTS
    assert make.is_outdated()


def test_an_authority_in_a_folder_is_noticed(authorities: list[Authority], tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    given = config(properties={"ssl.ca.location": str(folder)})
    login = KafkaLogin(given)
    (folder / "new.pem").write_bytes(authorities[1].certificate.read_bytes())
    assert login.renew(given) == CLIENTS


@pytest.mark.parametrize("place", ["probe", "", "\0", "/proc/self/mem", "x" * 5000])
def test_what_is_no_file_to_read_does_not_change(place: str) -> None:
    given = config(properties={"ssl.ca.location": place})
    assert KafkaLogin(given).renew(given) == (False, False)
