"""An attack, and the program that runs one: `python -m tests.hostile.attack MODULE NAME TARGET SECONDS`."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import NamedTuple


class Target(NamedTuple):
    """What is attacked: the port of a sidecar on this machine, the broker that it reads from, and its input topic."""

    port: int
    bootstrap: str
    topic: str


# Goes on until a moment (monotonic); bounded in what it holds, and to this machine only.
Run = Callable[[Target, float], None]


class Attack(NamedTuple):
    """What runs beside a sidecar; `prefix` starts the command of the sidecar, `settings` have dotted names."""

    run: Run
    prefix: tuple[str, ...] = ()
    settings: Mapping[str, object] = {}


# Stderr is a pipe that nobody reads, and that stays open.
UNREAD = ("sh", "-c", 'mkfifo unread && exec "$@" 2<>unread', "sh")


def descriptors(number: int) -> tuple[str, ...]:
    """Return the prefix with which a program may have so many descriptors."""
    return ("prlimit", f"--nofile={number}:{number}")


def named(attacks: Iterable[Run]) -> dict[str, Attack]:
    """The attacks by what their functions are called."""
    return {run.__name__.replace("_", " "): Attack(run) for run in attacks}


def main(module: str, name: str, target: str, seconds: float) -> None:
    """Attack for so many seconds."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    attack: Attack = import_module(module).ATTACKS[name]
    attack.run(Target(*json.loads(target)), time.monotonic() + seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
