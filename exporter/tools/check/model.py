"""The values of `check`: the state of the services that a sidecar uses, and findings about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from exporter.model import Partition
from exporter.runtime.foreign_text import printable

# Texts of servers may be long.
TEXT_MAX = 300


class Level(StrEnum):
    """Severity: `fail` means that something that is configured does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line of the output: severity, subject (mostly a path of the configuration), text, and a remedy."""

    level: Level
    subject: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        text = printable(self.text, TEXT_MAX)
        return f"{self.level:<4}  {printable(self.subject)}: {text}" + (f"; {self.advice}" if self.advice else "")


class Refusal(NamedTuple):
    """A request that Kafka refused: the name of the error, and its text."""

    code: str
    text: str


class Server(NamedTuple):
    """The address of a broker, and why it does not answer, empty when it does."""

    address: str
    error: str = ""


class Topic(NamedTuple):
    """A topic; values that this user may not see are None or missing.

    `in_sync` is the number of replicas in sync of the partition that has the fewest.
    """

    partitions: int
    leaderless: int = 0
    in_sync: int = 1
    operations: frozenset[str] | None = None
    settings: Mapping[str, str] = {}


class Progress(NamedTuple):
    """The committed offset of the group on a partition, and the first and end offset of the partition."""

    committed: int
    first: int
    end: int


class Group(NamedTuple):
    """A consumer group; one that does not exist is `dead`. `kind` is classic or consumer, the protocols of groups.

    `instances` are the group.instance.id of the members that have one.
    """

    state: str
    kind: str
    assignor: str
    members: int
    operations: frozenset[str] | None
    progress: Mapping[Partition, Progress] | Refusal
    instances: frozenset[str] = frozenset()


class Cluster(NamedTuple):
    """The state of the Kafka cluster.

    `names` are all topics that this user may see; `topics` are those in use, or why they cannot be described.
    `settings` are those of one broker, empty when this user may not see them. `creation` has the broker's refusal, or
    None, for each output topic to be created. `group` is None when the request could have a side effect.
    `transactional_acls` are the principals that may write with the configured transactional.id; ACLs may be hidden.
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
        """Return the number of partitions of these topics together."""
        return sum(topic.partitions for name in names if isinstance(topic := self.topics.get(name), Topic))

    def setting(self, name: str) -> int | None:
        """Return a number in the broker's settings, None when it is unknown."""
        return number(self.settings, name)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun, such as `2 topics`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def number(settings: Mapping[str, str], name: str) -> int | None:
    """Return a setting that is a whole number, None when it is not, or unknown."""
    value = settings.get(name)
    return int(value) if value is not None and re.fullmatch(r"\d+", value) else None
