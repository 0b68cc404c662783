"""A filter against repeated log lines. Its clock is an argument."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from exporter.runtime.rate_limit import RateLimiter

PACKAGE = "exporter."
# The attributes that every record has; all others are fields of the line.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# A line whose cause lasts is written again after REPEAT_SECONDS; a cause ends after QUIET_SECONDS without a line.
REPEAT_SECONDS = 300.0
QUIET_SECONDS = 120.0
# The rate limit of lines of one kind, whatever their causes.
BURST, PER_SECOND = 20, 10 / 60
# Parts that differ between lines of one cause: durations, clients, addresses in memory, counts.
_VOLATILE = re.compile(r"\b\d+(?:\.\d+)?\s?m?s\b|#[\w.-]+|0x[0-9a-f]+|\b\d+(?= (?:identical|request))")


class _Cause(NamedTuple):
    written_at: float
    seen_at: float
    kept_back: int


class RepeatFilter(logging.Filter):
    """Filter that suppresses repetitions of a line; the next one that is written has their number as `kept_back`.

    Two lines are equal when their texts and fields are, numbers aside. Lines about a completed action have no cause
    that lasts, so they may be equal. Debug lines always pass. Thread-safe; at worst a line is written twice.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Reset to the state before the first line."""
        self._kinds = RateLimiter(BURST, PER_SECOND)
        self._causes: dict[str, _Cause] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        if record.levelno <= logging.DEBUG:
            return True
        now, key = self._clock(), _cause(record)
        cause = self._causes.get(key, _Cause(float("-inf"), float("-inf"), 0))
        if now - cause.seen_at < QUIET_SECONDS and now - cause.written_at < REPEAT_SECONDS:
            self._causes[key] = cause._replace(seen_at=now, kept_back=cause.kept_back + 1)
            return False
        others = self._kinds.admit(_kind(record), round(now * 1000))
        if others is None:
            return False
        if not _is_completed_action(record):
            recent = {each: known for each, known in self._causes.items() if now - known.seen_at < REPEAT_SECONDS}
            self._causes = recent | {key: _Cause(now, now, 0)}
        if kept_back := cause.kept_back + others:
            vars(record)["kept_back"] = kept_back
        return True


def _cause(record: logging.LogRecord) -> str:
    fields = {name: value for name, value in vars(record).items() if name not in STANDARD}
    texts = [f"{name}={value}" for name, value in fields.items() if not isinstance(value, int | float)]
    return _VOLATILE.sub("N", " ".join([record.name, _text(record), *texts]))


def _is_completed_action(record: logging.LogRecord) -> bool:
    """Return whether a line reports what was done, rather than an error or a line of librdkafka."""
    return record.levelno == logging.INFO and not record.args and "error" not in vars(record)


def _kind(record: logging.LogRecord) -> str:
    """Return the key of the rate limit: logger and level, and of the package's lines the text.

    Lines of librdkafka count as one text when they begin with the same word.
    """
    is_own, text = record.name.startswith(PACKAGE), str(record.msg)
    first = _text(record).partition(" ")[0] if text.startswith("%") else text
    return f"{record.name} {record.levelno} {first if is_own else ''}"


def _text(record: logging.LogRecord) -> str:
    """Return the text of a record; its format when the arguments do not fit, as in some other packages."""
    try:
        return record.getMessage()
    except Exception:
        return str(record.msg)
