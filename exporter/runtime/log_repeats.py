"""Keeps log lines back that say what was just written. Time is an argument, by default that of a clock."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from exporter.runtime.rate_limit import RateLimiter

PACKAGE = "exporter."
# The attributes that every record has; what else there is are fields of the line.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# While its cause lasts, a line is written again after so long. A cause of which nothing was heard for so long is over.
REPEAT_SECONDS = 300.0
QUIET_SECONDS = 120.0
# Lines of one kind, whatever their causes: so many at once, and then so many a second.
BURST, PER_SECOND = 20, 10 / 60
# What differs from one line to the next that says the same: durations, clients, addresses in memory, counts.
_VOLATILE = re.compile(r"\b\d+(?:\.\d+)?\s?m?s\b|#[\w.-]+|0x[0-9a-f]+|\b\d+(?= (?:identical|request))")


class _Told(NamedTuple):
    written: float
    heard: float
    kept_back: int


class Repeats(logging.Filter):
    """Keeps back lines that say what was just written; the next one that is written has their number as `kept_back`.

    A line is the same as another when its text and its fields are, numbers aside; news, which has no cause, may be the
    same again. Debug lines are all let through. From any thread: at worst a line is written twice.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin again, as if nothing had been written."""
        self._kinds = RateLimiter(BURST, PER_SECOND)
        self._told: dict[str, _Told] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        if record.levelno <= logging.DEBUG:
            return True
        now, cause = self._clock(), _cause(record)
        told = self._told.get(cause, _Told(float("-inf"), float("-inf"), 0))
        if now - told.heard < QUIET_SECONDS and now - told.written < REPEAT_SECONDS:
            self._told[cause] = told._replace(heard=now, kept_back=told.kept_back + 1)
            return False
        others = self._kinds.admit(_kind(record), round(now * 1000))
        if others is None:
            return False
        if not _is_news(record):
            recent = {each: known for each, known in self._told.items() if now - known.heard < REPEAT_SECONDS}
            self._told = recent | {cause: _Told(now, now, 0)}
        if kept_back := told.kept_back + others:
            vars(record)["kept_back"] = kept_back
        return True


def _cause(record: logging.LogRecord) -> str:
    fields = {name: value for name, value in vars(record).items() if name not in STANDARD}
    texts = [f"{name}={value}" for name, value in fields.items() if not isinstance(value, int | float)]
    return _VOLATILE.sub("N", " ".join([record.name, _text(record), *texts]))


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a line tells what was done, rather than what is wrong or what librdkafka has to say."""
    return record.levelno == logging.INFO and not record.args and not vars(record).keys() & {"error"}


def _kind(record: logging.LogRecord) -> str:
    """Return what is limited together: of librdkafka's lines those that begin with the same word, of others' all."""
    is_ours, text = record.name.startswith(PACKAGE), str(record.msg)
    first = _text(record).partition(" ")[0] if text.startswith("%") else text
    return f"{record.name} {record.levelno} {first if is_ours else ''}"


def _text(record: logging.LogRecord) -> str:
    """Return what a record says, also of one whose arguments do not fit: other packages have such lines."""
    try:
        return record.getMessage()
    except Exception:
        return str(record.msg)
