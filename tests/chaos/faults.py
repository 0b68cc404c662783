"""What can go wrong: each fault begins, lasts some seconds at most, and is over when its function returns."""

from collections.abc import Callable, Mapping
from functools import partial
from time import sleep
from typing import Any

from exporter.runtime import clock
from tests.chaos.broker import ProxiedBroker
from tests.chaos.members import MOST_MEMBERS, Members, end
from tests.chaos.proxy import TRANSACTIONAL, Api, Harm, Rule
from tests.chaos.stage import Stage
from tests.support.waiting import eventually

Fault = Callable[[Any], None]
Group = Members[Any]

MEMBERSHIP = (Api.OFFSET_FETCH, Api.JOIN_GROUP, Api.SYNC_GROUP, Api.HEARTBEAT, Api.CONSUMER_GROUP_HEARTBEAT)
KINDS = (*TRANSACTIONAL, Api.PRODUCE, Api.FETCH, Api.METADATA, Api.FIND_COORDINATOR, Api.LIST_OFFSETS, *MEMBERSHIP)
RULE_SECONDS = 2.0
HALT_SECONDS = 30.0
HOUR_MS = 3_600_000
NEVER, LONG_AGO = -1, 1  # a record without a stamp, and one of 1970; 0 would be now


def last(stage: Group, least: float, most: float) -> None:
    """Let the fault last: the only place that sleeps, because nothing is waited for."""
    sleep(stage.random.uniform(least, most))


# Sidecars.


def killed(stage: Group) -> None:
    """SIGKILL, and a new process."""
    with stage.away() as sidecar:
        sidecar.kill()
        last(stage, 0, 1)
        sidecar.start()


def ended(stage: Group) -> None:
    """SIGTERM, and a new process."""
    with stage.away() as sidecar:
        end(sidecar)
        sidecar.start()


def asleep(stage: Group) -> None:
    """SIGSTOP, for less or more than a session, and SIGCONT."""
    with stage.away() as sidecar:
        sidecar.freeze()
        last(stage, 0.5, 5)
        sidecar.resume()


def scaled(stage: Group) -> None:
    """One alone, two more than usual, and back."""
    for number in (1, MOST_MEMBERS, 1, 2):
        stage.scale(number)


# Brokers.


def broker_killed(stage: Group) -> None:
    """One dies and comes back."""
    _die(stage, stage.random.choice(stage.brokers.nodes))


def coordinator_killed(stage: Group) -> None:
    """The one that coordinates the group, or the transactions, dies and comes back."""
    _die(stage, stage.brokers.coordinator(stage.random))


def all_killed(stage: Group) -> None:
    """All die, and come back at the same time."""
    for node in stage.brokers.nodes:
        node.kill()
    last(stage, 0, 2)
    stage.brokers.start(stage.brokers.nodes)


def leaders_moved(stage: Group) -> None:
    """One is shut down, which moves what it leads; it comes back, and each partition gets its first leader again."""
    stage.random.choice(stage.brokers.nodes).restart()
    last(stage, 0, 2)
    stage.brokers.elect()


def disk_full(stage: Group) -> None:
    """A broker has no room left, gives up, and comes back when there is some."""
    node = stage.brokers.nodes[0]
    stage.brokers.disk.fill()
    eventually(lambda: node.exit_code() is not None, HALT_SECONDS, "the broker does not mind")
    stage.brokers.disk.free()
    node.kill()
    node.start()


def topic_refused(stage: Stage) -> None:
    """Nobody may write events."""
    with stage.brokers.refusing(stage.deployment.events):
        last(stage, 1, 4)


def _die(stage: Group, node: ProxiedBroker) -> None:
    node.kill()
    last(stage, 0, 2)
    node.start()


# Connections and requests.


def cut(stage: Group) -> None:
    """All connections break, several times."""
    for _ in range(stage.random.randint(1, 4)):
        stage.brokers.proxy.cut()
        last(stage, 0, 0.3)


def stalled(stage: Group) -> None:
    """Connections stay, and nothing comes through."""
    stage.brokers.proxy.stall()
    last(stage, 0.5, 6)
    stage.brokers.proxy.resume()


def harmed(harm: Harm, stage: Group) -> None:
    """Harm to a few requests of some kind."""
    api = stage.random.choice(KINDS)
    seconds = stage.random.uniform(0.2, 4)
    stage.brokers.proxy.add(Rule(api, harm, times=stage.random.randint(1, 3), seconds=seconds))
    last(stage, RULE_SECONDS, RULE_SECONDS)


# What else they need.


def clocks_jumped(stage: Stage) -> None:
    """Collectors stamp their records hours too early or too late, with 1970, or not at all."""
    now_ms = clock.now_ms()
    hours = stage.random.randint(1, 48) * HOUR_MS
    stage.deployment.traffic.clocks = (now_ms - hours, now_ms + hours, LONG_AGO, NEVER)
    last(stage, 1, 3)
    stage.deployment.traffic.clocks = ()


def redis_killed(stage: Stage) -> None:
    """It dies, and comes back empty."""
    stage.redis.kill()
    last(stage, 0, 4)
    stage.redis.start()


def redis_asleep(stage: Stage) -> None:
    """It accepts everything and answers nothing."""
    stage.redis.freeze()
    last(stage, 0.5, 5)
    stage.redis.resume()


def registry_refuses(stage: Stage) -> None:
    """It answers 503 while a sidecar starts, which has to ask it."""
    stage.registry.refuse = True
    killed(stage)
    last(stage, 0, 3)
    stage.registry.refuse = False


def registry_asleep(stage: Stage) -> None:
    """It answers some seconds after a sidecar asked, which may be too late."""
    stage.registry.go_on.clear()
    killed(stage)
    last(stage, 0, 7)
    stage.registry.go_on.set()


FAULTS: Mapping[str, Fault] = {
    "killed": killed,
    "terminated": ended,
    "asleep": asleep,
    "scaled 1, 4, 1, 2": scaled,
    "broker killed": broker_killed,
    "disk full": disk_full,
    "topic refused": topic_refused,
    "connections cut": cut,
    "connections stalled": stalled,
    "request dropped": partial(harmed, Harm.DROP_REQUEST),
    "answer dropped": partial(harmed, Harm.DROP_ANSWER),
    "cut before": partial(harmed, Harm.CUT_BEFORE),
    "cut after": partial(harmed, Harm.CUT_AFTER),
    "request delayed": partial(harmed, Harm.DELAY),
    "request late": partial(harmed, Harm.LATE),
    "clocks jumped": clocks_jumped,
    "redis killed": redis_killed,
    "redis asleep": redis_asleep,
    "registry refuses": registry_refuses,
    "registry asleep": registry_asleep,
}
OF_SEVERAL: Mapping[str, Fault] = {
    "coordinator killed": coordinator_killed,
    "all brokers killed": all_killed,
    "leaders moved": leaders_moved,
}
ALL = {**FAULTS, **OF_SEVERAL}


# What a consumer in a program neither has nor needs, or no outage of the stream.
OF_SIDECARS = ("topic refused", "clocks jumped", "redis killed", "redis asleep", "registry refuses", "registry asleep")


def possible(brokers: int, *, is_sidecar: bool = True) -> list[str]:
    """The faults that can happen to so many brokers, and to sidecars or consumers in programs."""
    return [name for name in (ALL if brokers > 1 else FAULTS) if is_sidecar or name not in OF_SIDECARS]
