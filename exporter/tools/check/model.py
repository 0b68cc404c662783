"""The values of `check`: what was found out about the surroundings of a sidecar, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from exporter.model import Partition
from exporter.runtime.foreign_text import printable

# What others say may be long.
TEXT_MAX = 300


class Level(StrEnum):
    """How bad it is: `fail` means that something that is configured would not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line of the output: how bad, about what (mostly a path of the configuration), what, and what to do."""

    level: Level
    subject: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        text = printable(self.text, TEXT_MAX)
        return f"{self.level:<4}  {printable(self.subject)}: {text}" + (f"; {self.advice}" if self.advice else "")


class Refusal(NamedTuple):
    """A question that Kafka did not answer: the name of the error, and its text."""

    code: str
    text: str


class Server(NamedTuple):
    """A broker's address, and why it does not answer: empty when it does."""

    address: str
    error: str = ""


class Topic(NamedTuple):
    """What the cluster tells of a topic; what it does not tell this user is None or missing.

    `in_sync` is the number of replicas in sync of the partition that has the fewest.
    """

    partitions: int
    leaderless: int = 0
    in_sync: int = 1
    operations: frozenset[str] | None = None
    settings: Mapping[str, str] = {}


class Progress(NamedTuple):
    """Where the group stands on a partition, and what the partition holds; all are offsets."""

    committed: int
    first: int
    end: int


class Group(NamedTuple):
    """A consumer group; one that does not exist is `dead`. `kind` is classic or consumer, the protocols of groups.

    `instances` are the ids of the members that have one of their own.
    """

    state: str
    kind: str
    assignor: str
    members: int
    operations: frozenset[str] | None
    progress: Mapping[Partition, Progress] | Refusal
    instances: frozenset[str] = frozenset()


class Cluster(NamedTuple):
    """All that was asked of Kafka.

    `names` are all topics that this user may see; `topics` are those that matter, or why they cannot be described.
    `settings` are those of one broker, empty when this user may not see them. `creation` tells of the output topics
    to be created whether the broker would. `group` is None when asking could have left a trace.
    `transactional_acls` are the principals that may write with our transactional.id; ACLs may be hidden from us.
    """

    brokers: int
    names: frozenset[str]
    topics: Mapping[str, Topic | Refusal]
    settings: Mapping[str, str]
    creation: Mapping[str, Refusal | None]
    group: Group | Refusal | None
    transactional_acls: Sequence[str]

    @property
    def is_open(self) -> bool:
        """Whether the cluster is known to have no authorizer, so that everything is allowed."""
        return self.settings.get("authorizer.class.name") == ""

    def partitions(self, names: Iterable[str]) -> int:
        """How many partitions these topics have together."""
        return sum(topic.partitions for name in names if isinstance(topic := self.topics.get(name), Topic))

    def setting(self, name: str) -> int | None:
        """A broker's number, None when it is not known."""
        return number(self.settings, name)


def counted(number: int, thing: str) -> str:
    """Return a number of things in words."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def number(settings: Mapping[str, str], name: str) -> int | None:
    """Return a setting that is a whole number, None when it is another or not known."""
    value = settings.get(name)
    return int(value) if value is not None and re.fullmatch(r"\d+", value) else None
