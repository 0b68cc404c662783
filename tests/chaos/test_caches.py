"""Caches equal the last event of each currency through every fault of services, publisher, broker and Redis."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.caching import CachingStage
from tests.support.kafka import Broker, running
from tests.support.process import Part, free_port
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

Fault = Callable[[CachingStage], None]
WAITING_SECONDS = 30.0


def _killed(choose: Callable[[CachingStage], Part]) -> Fault:
    return lambda stage: stage.kill(choose(stage))


def _both_services_killed(stage: CachingStage) -> None:
    for service in stage.services:
        service.kill()
    for service in stage.services:
        service.start()
    stage.goes_on()


def _frozen_service(stage: CachingStage) -> None:
    """Another takes its partitions over, and then it goes on with what it was doing."""
    first = stage.services[0]
    first.freeze()
    stage.goes_on()
    first.resume()
    stage.goes_on()


def _stopped_service(stage: CachingStage) -> None:
    stage.services[1].stop()
    stage.goes_on()
    stage.services[1].start()
    stage.goes_on()


def _away(stage: CachingStage) -> None:
    """And an empty Redis in its place."""
    stage.kill(stage.redis, lambda: _wait_for_unready(stage))


def _stopped_without_redis(stage: CachingStage) -> None:
    """They leave the events that wait to those that are started next."""
    stage.redis.kill()
    _wait_for_unready(stage)
    for service in stage.services:
        service.stop()
    stage.redis.start()
    for service in stage.services:
        service.start()
    stage.goes_on()


def _hanging(stage: CachingStage) -> None:
    stage.redis.freeze()
    _wait_for_unready(stage)
    stage.redis.resume()
    stage.goes_on()


def _refusing(begin: tuple[str | int, ...], end: tuple[str | int, ...]) -> Fault:
    def fault(stage: CachingStage) -> None:
        with stage.redis.client() as client:
            client.execute_command(*begin)
            _wait_for_unready(stage)
            client.execute_command(*end)
        stage.goes_on()

    return fault


def _wait_for_unready(stage: CachingStage) -> None:
    for service in stage.services:
        eventually(lambda each=service: not _is_ready(each), WAITING_SECONDS)  # type: ignore[misc]


def _is_ready(service: Sidecar) -> bool:
    return service.get("/-/ready").ok


FAULTS: dict[str, Fault] = {
    "a service killed": _killed(lambda stage: stage.services[0]),
    "both services killed": _both_services_killed,
    "a service frozen": _frozen_service,
    "a service stopped": _stopped_service,
    "publisher killed": _killed(lambda stage: stage.publisher),
    "broker killed": _killed(lambda stage: stage.broker),
    "Redis away, then an empty one": _away,
    "services stopped without Redis": _stopped_without_redis,
    "Redis hangs": _hanging,
    "Redis full": _refusing(("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)),
    "Redis a replica": _refusing(("REPLICAOF", "127.0.0.1", free_port()), ("REPLICAOF", "NO", "ONE")),
    "Redis short of replicas": _refusing(
        ("CONFIG", "SET", "min-replicas-to-write", 1), ("CONFIG", "SET", "min-replicas-to-write", 0)
    ),
}


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that faults kill."""
    with running(Broker(tmp_path_factory.mktemp("broker"))) as broker:
        yield broker


@pytest.mark.parametrize("seed", range(2))
def test_caches_equal_the_last_events_and_no_reader_goes_back(own_broker: Broker, tmp_path: Path, seed: int) -> None:
    """Each fault twice, in another order for each seed, while a reader never pauses."""
    order = [*FAULTS, *FAULTS]
    random.Random(seed).shuffle(order)
    with CachingStage(tmp_path, own_broker) as stage:
        stage.goes_on()
        for fault in order:
            FAULTS[fault](stage)
            assert stage.reader.older == [], fault
        stage.finish()
