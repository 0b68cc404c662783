"""What `explain` and `check` know of a decoder, whatever the format that it reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from exporter.decoding.batch import Batch
from exporter.model import Record


class Source(NamedTuple):
    """Where a field of a batch comes from, in words, and the paths of a record that are read for it.

    `has_zone`: it is a time that needs no offset from UTC.
    """

    text: str
    paths: tuple[str, ...] = ()
    has_zone: bool = False


class TopicDecoder(Protocol):
    """Reads the records of a topic.

    `sources` has the source of each field that may be found, by its name in a `Batch` or a `Message`.
    """

    @property
    def name(self) -> str:
        """What the format of the records is called."""

    @property
    def has_format(self) -> bool:
        """Whether there is a format for the records."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """Where each field comes from."""

    def decode(self, record: Record) -> Batch | None:
        """Return the batch of a record, None for a control message; raise `Rejected`, with the feed if known."""

    def content(self, record: Record) -> object:
        """Return what a record holds as plain objects; raise what is in `UNREADABLE`, or `Rejected`."""


class Candidate(NamedTuple):
    """A decoder to try, and the configuration with which a topic would have it, as YAML."""

    decoder: TopicDecoder
    configuration: str


def topic_name(topic: str) -> str:
    """Return a topic as a configuration has it; one to be filled in for a file."""
    return json.dumps(topic) if topic else "TOPIC"
