"""User and password of clients in the making and of those that live."""

from __future__ import annotations

from exporter.config.schema import Config, KafkaConfig
from exporter.kafka.credentials import SaslCredentials, pair

OLD = {"sasl.username": "me", "sasl.password": "old"}


class Client:
    """A client that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.is_closed = False

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """See confluent-kafka."""
        if self.is_closed:
            raise RuntimeError("Handle has been closed")
        self.given.append((username, password))


def config(**kafka: dict[str, str]) -> Config:
    return Config(kafka=KafkaConfig(**kafka))  # type: ignore[arg-type]


def test_clients_that_live_and_those_that_follow_get_what_changed() -> None:
    present = SaslCredentials(config(properties=OLD))
    make = present.with_present("consumer", Client)
    replaced, living = make(), make()
    assert present.renew(config(properties=OLD | {"sasl.password": "new"}))
    assert (replaced.given, living.given, make().given) == ([], [("me", "new")], [("me", "new")])
    assert present.properties("consumer", dict)() == {"sasl.username": "me", "sasl.password": "new"}


def test_what_did_not_change_is_given_to_nobody() -> None:
    present = SaslCredentials(config(properties=OLD))
    client = present.with_present("producer", Client)()
    assert not present.renew(config(properties=OLD))
    assert not present.renew(config())
    assert client.given == []
    assert present.properties("producer", dict)() == {}


def test_each_role_has_its_own() -> None:
    mine = {"sasl.password": "own"}
    present = SaslCredentials(config(properties=OLD, producer_properties=mine))
    consumer, producer = (present.with_present(role, Client)() for role in ("consumer", "producer"))
    assert present.renew(config(properties=OLD | {"sasl.password": "new"}, producer_properties=mine))
    assert (consumer.given, producer.given) == ([("me", "new")], [])


def test_a_closed_client_is_passed_over() -> None:
    present = SaslCredentials(config(properties=OLD))
    closed, living = (present.with_present("admin", Client)() for _ in range(2))
    closed.is_closed = True
    assert present.renew(config(properties=OLD | {"sasl.username": "you"}))
    assert (closed.given, living.given) == ([], [("you", "old")])


def test_without_user_and_password_there_is_nothing_to_renew() -> None:
    assert not SaslCredentials(config(properties={"sasl.mechanism": "OAUTHBEARER"}))
    assert pair(config(properties={"sasl.username": "me"}), "admin") is None
    assert SaslCredentials(config(consumer_properties=OLD))
