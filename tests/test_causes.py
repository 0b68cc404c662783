"""Why nothing is read: the cause that matters is shown, as long as it lasts; and what to do about a refusal."""

import pytest
from confluent_kafka import KafkaError

from exporter.source.causes import ADVICE, LASTS_SECONDS, Causes, Kind, refusal
from tests.support.documents import DOCUMENTS


def test_the_cause_that_matters_most_is_shown() -> None:
    """A broker that refuses is worth more than another one that does not answer, whichever came last."""
    causes = Causes()
    for kind in reversed(Kind):
        causes.say(kind, kind.name, 0.0)
        assert causes.shown(1.0) == kind.name
        assert causes.is_refused(1.0) is (kind is Kind.REFUSED)
    causes.say(Kind.SILENT, "again", 2.0)
    assert causes.shown(3.0) == "REFUSED"


def test_a_connection_that_fails_is_told_as_long_as_that_is_repeated() -> None:
    """Nobody says that it has come about."""
    for kind in (Kind.UNREACHABLE, Kind.SILENT):
        causes = Causes()
        assert causes.shown(0.0) == ""
        causes.say(kind, "first", 0.0)
        causes.say(kind, "second", 50.0)
        assert causes.shown(50.0 + LASTS_SECONDS - 1) == "second"
        assert causes.shown(50.0 + LASTS_SECONDS) == ""


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.MISSING])
def test_what_is_said_once_lasts_until_it_is_over(kind: Kind) -> None:
    """librdkafka does not repeat that a group may not be used."""
    causes = Causes()
    causes.say(kind, "no", 0.0)
    assert causes.shown(1e6) == "no"
    causes.over()
    assert causes.shown(1e6) == ""


def test_what_came_much_later_is_the_cause_now() -> None:
    """Brokers that refused and then went away: it is told that they are away."""
    causes = Causes()
    causes.say(Kind.REFUSED, "refused", 0.0)
    causes.say(Kind.UNREACHABLE, "unreachable", LASTS_SECONDS - 1)
    assert (causes.shown(LASTS_SECONDS), causes.is_refused(LASTS_SECONDS)) == ("refused", True)
    causes.say(Kind.UNREACHABLE, "unreachable", LASTS_SECONDS)
    assert (causes.shown(LASTS_SECONDS), causes.is_refused(LASTS_SECONDS)) == ("unreachable", False)
    assert causes.shown(2 * LASTS_SECONDS) == "refused"


def test_an_answer_ends_silence_and_no_refusal() -> None:
    causes = Causes()
    for kind in Kind:
        causes.say(kind, kind.name, 0.0)
    causes.over(Kind.REFUSED, Kind.MISSING)
    assert causes.shown(1.0) == "UNREACHABLE"
    causes.over(Kind.UNREACHABLE, Kind.SILENT)
    assert causes.shown(1.0) == ""


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "input.group"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "allow READ on the group"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "input.topics"),
        (KafkaError.GROUP_MAX_SIZE_REACHED, "group.max.size"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "session.timeout.ms"),
        (KafkaError.FENCED_INSTANCE_ID, "group.instance.id"),
        (KafkaError.UNRELEASED_INSTANCE_ID, "group.instance.id"),
        (KafkaError.UNSUPPORTED_ASSIGNOR, "group.remote.assignor"),
        (KafkaError.INVALID_GROUP_ID, "input.group"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "input.topics"),
        (KafkaError.UNSUPPORTED_VERSION, "group.protocol"),
        (KafkaError._UNSUPPORTED_FEATURE, "group.protocol"),
    ],
)
def test_a_refusal_says_what_to_do(code: int, advice: str) -> None:
    """In librdkafka's own words for it, whatever request it was an answer to."""
    words = KafkaError(code).str()
    said = refusal(f"JoinGroup failed: {words}")
    assert said.startswith(f"JoinGroup failed: {words}; ")
    assert advice in said


def test_a_fatal_error_is_told_once_in_its_sentence() -> None:
    words = KafkaError(KafkaError.UNSUPPORTED_ASSIGNOR).str()
    said = refusal(f"Fatal error: {words}: ConsumerGroupHeartbeat fatal error: {words}")
    assert said.startswith(f"ConsumerGroupHeartbeat fatal error: {words}; ")
    assert said.count(words) == 1


def test_what_nobody_has_advice_for_is_told_as_it_is() -> None:
    assert refusal("Broker: something new") == "Broker: something new"


def test_the_documents_have_each_refusal() -> None:
    assert [pattern for pattern, _ in ADVICE if pattern.partition("|")[0] not in DOCUMENTS] == []
