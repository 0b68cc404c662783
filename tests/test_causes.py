"""Why nothing is read: the cause that matters is shown, as long as it lasts; and what to do about a refusal."""

import pytest
from confluent_kafka import KafkaError

from exporter.source.causes import ADVICE, LASTS_SECONDS, CauseKind, Causes, refusal
from tests.support.documents import DOCUMENTS


def test_the_cause_that_matters_most_is_shown() -> None:
    """A broker that refuses is worth more than another one that does not answer, whichever came last."""
    causes = Causes()
    for kind in reversed(CauseKind):
        causes.set(kind, kind.name, 0.0)
        assert causes.current(1.0) == kind.name
        assert causes.is_refused(1.0) is (kind is CauseKind.REFUSED)
    causes.set(CauseKind.SILENT, "again", 2.0)
    assert causes.current(3.0) == "REFUSED"


def test_a_failed_connection_is_the_cause_as_long_as_it_is_repeated() -> None:
    """librdkafka does not report success."""
    for kind in (CauseKind.UNREACHABLE, CauseKind.SILENT):
        causes = Causes()
        assert causes.current(0.0) == ""
        causes.set(kind, "first", 0.0)
        causes.set(kind, "second", 50.0)
        assert causes.current(50.0 + LASTS_SECONDS - 1) == "second"
        assert causes.current(50.0 + LASTS_SECONDS) == ""


@pytest.mark.parametrize("kind", [CauseKind.REFUSED, CauseKind.MISSING])
def test_a_refusal_lasts_until_it_is_cleared(kind: CauseKind) -> None:
    """librdkafka does not repeat that a group may not be used."""
    causes = Causes()
    causes.set(kind, "no", 0.0)
    assert causes.current(1e6) == "no"
    causes.clear()
    assert causes.current(1e6) == ""


def test_what_came_much_later_is_the_cause_now() -> None:
    """Brokers that refused and then went away: the cause is that they are away."""
    causes = Causes()
    causes.set(CauseKind.REFUSED, "refused", 0.0)
    causes.set(CauseKind.UNREACHABLE, "unreachable", LASTS_SECONDS - 1)
    assert (causes.current(LASTS_SECONDS), causes.is_refused(LASTS_SECONDS)) == ("refused", True)
    causes.set(CauseKind.UNREACHABLE, "unreachable", LASTS_SECONDS)
    assert (causes.current(LASTS_SECONDS), causes.is_refused(LASTS_SECONDS)) == ("unreachable", False)
    assert causes.current(2 * LASTS_SECONDS) == "refused"


def test_an_answer_ends_silence_and_no_refusal() -> None:
    causes = Causes()
    for kind in CauseKind:
        causes.set(kind, kind.name, 0.0)
    causes.clear(CauseKind.REFUSED, CauseKind.MISSING)
    assert causes.current(1.0) == "UNREACHABLE"
    causes.clear(CauseKind.UNREACHABLE, CauseKind.SILENT)
    assert causes.current(1.0) == ""


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
def test_a_refusal_comes_with_a_remedy(code: int, advice: str) -> None:
    """In librdkafka's own words for it, whatever request it was an answer to."""
    words = KafkaError(code).str()
    text = refusal(f"JoinGroup failed: {words}")
    assert text.startswith(f"JoinGroup failed: {words}; ")
    assert advice in text


def test_the_text_of_a_fatal_error_is_not_repeated() -> None:
    words = KafkaError(KafkaError.UNSUPPORTED_ASSIGNOR).str()
    text = refusal(f"Fatal error: {words}: ConsumerGroupHeartbeat fatal error: {words}")
    assert text.startswith(f"ConsumerGroupHeartbeat fatal error: {words}; ")
    assert text.count(words) == 1


def test_a_refusal_without_a_known_remedy_stays_as_it_is() -> None:
    assert refusal("Broker: something new") == "Broker: something new"


def test_the_documents_have_each_refusal() -> None:
    assert [pattern for pattern, _ in ADVICE if pattern.partition("|")[0] not in DOCUMENTS] == []
