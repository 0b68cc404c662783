"""Differences between two runs, and what decides whether they are noise. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from exporter.loadtest.reports.pieces import Figure

# The share of comparisons of equal runs that may raise a false alarm.
ALPHA = 0.05
# A smaller change is noise, however certain.
EFFECT = 0.10
# Of the share of errors, in whole: a tenth of nearly nothing is nothing.
ERRORS_EFFECT = 0.001
PIECES_MIN = 10
# Wanted rates that are further apart are those of other loads: no more comes than is wanted.
SAME_RATE = 0.05


class Verdict(StrEnum):
    """What a difference is."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "noise"
    UNCERTAIN = "not certain"
    UNKNOWN = "too little data"
    OTHER = "another rate was wanted"


class Difference(NamedTuple):
    """A figure of both runs; `change` is a ratio, 0.2 for 20 % more, or a difference of shares for errors.

    With a probability of 95 % the change that is not chance is between `low` and `high`; `p` is the share of exchanges
    with a difference as large. None: not known.
    """

    target: str
    figure: Figure
    earlier: float | None
    now: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    verdict: Verdict = Verdict.UNKNOWN
