"""What can go wrong: each fault begins, lasts some seconds at most, and is over when its function returns."""

import signal
from collections.abc import Callable
from functools import partial
from time import sleep

from tests.chaos.proxy import TRANSACTIONAL, Api, Harm, Rule
from tests.chaos.stage import MOST_SIDECARS, Stage, end

Fault = Callable[[Stage], None]

GROUP = (Api.OFFSET_FETCH, Api.JOIN_GROUP, Api.SYNC_GROUP, Api.HEARTBEAT, Api.CONSUMER_GROUP_HEARTBEAT)
KINDS = (*TRANSACTIONAL, Api.PRODUCE, Api.FETCH, Api.METADATA, Api.FIND_COORDINATOR, Api.LIST_OFFSETS, *GROUP)
RULE_SECONDS = 2.0


def last(stage: Stage, least: float, most: float) -> None:
    """Let the fault last: the only place that sleeps, because nothing is waited for."""
    sleep(stage.random.uniform(least, most))


def killed(stage: Stage) -> None:
    """SIGKILL, and a new process."""
    with stage.away() as sidecar:
        sidecar.kill()
        last(stage, 0, 1)
        sidecar.start()


def ended(stage: Stage) -> None:
    """SIGTERM, and a new process."""
    with stage.away() as sidecar:
        end(sidecar)
        sidecar.start()


def asleep(stage: Stage) -> None:
    """SIGSTOP, for less or more than a session, and SIGCONT."""
    with stage.away() as sidecar:
        sidecar.signal(signal.SIGSTOP)
        last(stage, 0.5, 5)
        sidecar.signal(signal.SIGCONT)


def broker_killed(stage: Stage) -> None:
    """The only broker dies and comes back."""
    stage.broker.kill()
    last(stage, 0, 2)
    stage.broker.start()


def cut(stage: Stage) -> None:
    """All connections break, several times."""
    for _ in range(stage.random.randint(1, 4)):
        stage.broker.proxy.cut()
        last(stage, 0, 0.3)


def stalled(stage: Stage) -> None:
    """Connections stay, and nothing comes through."""
    stage.broker.proxy.stall()
    last(stage, 0.5, 6)
    stage.broker.proxy.resume()


def scaled(stage: Stage) -> None:
    """Two more sidecars, one alone, and two again."""
    for number in (MOST_SIDECARS, 1, 2):
        stage.scale(number)


def harmed(harm: Harm, stage: Stage) -> None:
    """Harm to a few requests of some kind."""
    api = stage.random.choice(KINDS)
    seconds = stage.random.uniform(0.2, 4)
    stage.broker.proxy.add(Rule(api, harm, times=stage.random.randint(1, 3), seconds=seconds))
    last(stage, RULE_SECONDS, RULE_SECONDS)


FAULTS: dict[str, Fault] = {
    "killed": killed,
    "terminated": ended,
    "asleep": asleep,
    "broker killed": broker_killed,
    "connections cut": cut,
    "connections stalled": stalled,
    "scaled 4, 1, 2": scaled,
    "request dropped": partial(harmed, Harm.DROP_REQUEST),
    "answer dropped": partial(harmed, Harm.DROP_ANSWER),
    "cut before": partial(harmed, Harm.CUT_BEFORE),
    "cut after": partial(harmed, Harm.CUT_AFTER),
    "request delayed": partial(harmed, Harm.DELAY),
    "request late": partial(harmed, Harm.LATE),
}
