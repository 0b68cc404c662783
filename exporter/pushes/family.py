"""A family of metrics as a program pushed it, and the reasons for refusing a push. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from prometheus_client.samples import Sample


class Result(StrEnum):
    """What became of a push; a closed set."""

    ACCEPTED = "accepted"
    DELETED = "deleted"
    MALFORMED = "malformed"
    INCONSISTENT = "inconsistent"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    NO_ROOM = "no_room"
    BUSY = "busy"


STATUSES = {
    Result.ACCEPTED: 200,
    Result.DELETED: 202,
    Result.MALFORMED: 400,
    Result.INCONSISTENT: 400,
    Result.UNSUPPORTED: 415,
    Result.TOO_LARGE: 413,
    Result.NO_ROOM: 429,
    Result.BUSY: 503,
}


class Refused(Exception):
    """A push that changes nothing; the text explains it to the program that pushes."""

    def __init__(self, result: Result, text: str) -> None:
        super().__init__(text)
        self.result = result


class PushedFamily(NamedTuple):
    """A family by its name in text 0.0.4, where that of a counter mostly has `_total`.

    `kind` is counter, gauge, histogram, summary or unknown. Samples are as in text: those of a histogram are named
    `_bucket`, `_count` and `_sum`.
    """

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def malformed(text: str) -> Refused:
    """Return the error of a push that cannot be read."""
    return Refused(Result.MALFORMED, text)


def too_many(samples_max: int) -> Refused:
    """Return the error of a push with too many samples to be read."""
    return Refused(Result.TOO_LARGE, f"the body has more than {samples_max} samples, see web.push.max_series")


def inconsistent(text: str) -> Refused:
    """Return the error of a push that contradicts itself or what others have pushed."""
    return Refused(Result.INCONSISTENT, text)
