"""A broker that ends may answer that there are no brokers: librdkafka forgets those that it knows (its issue 5301)."""

from pathlib import Path

import pytest

from tests.chaos.broker import ProxiedBroker
from tests.chaos.proxy import Api, Harm, Rule
from tests.support.kafka_programs import KafkaPrograms, Way
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

SOON = {"topic.metadata.refresh.interval.ms": "500"}
# With it a client never connects again; without, most do by themselves.
FOR_GOOD = {"metadata.recovery.strategy": "none"}
FORGET_SECONDS = 30.0


def forget(proxied: ProxiedBroker) -> None:
    """Answer for some seconds that there are no brokers, until all clients have heard it."""
    rule = proxied.proxy.add(Rule(Api.METADATA, Harm.FORGET, times=10_000))
    known = 0

    def is_quiet() -> bool:
        nonlocal known
        before, known = known, len(rule.done)
        return 0 < before == known

    eventually(is_quiet, FORGET_SECONDS, "clients still ask")
    proxied.proxy.heal()


@pytest.mark.parametrize("more", [{}, FOR_GOOD], ids=["most by themselves", "none by itself"])
def test_every_program_goes_on_after_it_was_told_that_there_are_no_brokers(
    proxied: ProxiedBroker, redis_server: RedisServer, tmp_path: Path, more: dict[str, str]
) -> None:
    with KafkaPrograms(proxied, tmp_path, redis_server) as programs:
        programs.start(Way(proxied.proxied, SOON | more))
        programs.go_on()
        forget(proxied)
        programs.go_on()
        programs.go_on()
        programs.finish()
