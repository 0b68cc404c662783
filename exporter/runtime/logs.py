"""Logging to stderr as logfmt or JSON, one line an occurrence, and a counter for each level.

All loggers of the package are made here, so that repeated lines of each are suppressed.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from exporter.runtime.foreign_text import without_secrets
from exporter.runtime.log_repeats import PACKAGE, STANDARD, RepeatFilter
from exporter.runtime.log_writer import LogWriter
from exporter.runtime.threads import described

Level = Literal["debug", "info", "warn", "error"]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}

STDERR = 2
# At the end of the process.
FLUSH_SECONDS = 1.0

_repeats = RepeatFilter()


def logger(name: str) -> logging.Logger:
    """Return the logger `exporter.<name>`."""
    made = logging.getLogger(PACKAGE + name)
    made.addFilter(_repeats)
    return made


def forget() -> None:
    """Forget which lines were written: none counts as a repetition."""
    _repeats.forget()


def _is_new_of_other_packages(record: logging.LogRecord) -> bool:
    return record.name.startswith(PACKAGE) or _repeats.filter(record)


class _Formatter(logging.Formatter):
    def __init__(self, style: Literal["logfmt", "json"]) -> None:
        super().__init__()
        self._as_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": level_name(record.levelno),
            "logger": record.name,
            "msg": without_secrets(record.getMessage()),
        }
        fields |= {name: without_secrets(value) for name, value in vars(record).items() if name not in STANDARD}
        if record.exc_info:
            fields["exception"] = without_secrets(self.formatException(record.exc_info))
        if self._as_json:
            return json.dumps({name: _value(value) for name, value in fields.items()})
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _value(value: object) -> object:
    """Return a value that JSON can have: NaN and Infinity become text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(character in text for character in ' "=\\')
    return text if plain else json.dumps(text)


def level_name(number: int) -> str:
    """Return the name of the highest level of `LEVELS` at or below a level of `logging`."""
    return next((name for level, name in sorted(_NAMES.items(), reverse=True) if number >= level), "debug")


class LogCounter(logging.Handler):
    """Handler that counts the lines of each level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = dict.fromkeys(LEVELS, 0)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self.lines[level_name(record.levelno)] += 1


class _ToWriter(logging.Handler):
    """Handler that formats any record, even an invalid one, and queues it; never blocks."""

    def __init__(self, style: Literal["logfmt", "json"]) -> None:
        super().__init__()
        self.setFormatter(_Formatter(style))
        self.writer = LogWriter(STDERR, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            line = self.format(record)
        except Exception as error:  # of other packages: arguments that do not fit, values without a text
            line = self.line(record.levelno, record.name, "cannot format a log record", error=type(error).__name__)
        self.writer.write(line)

    def line(self, level: int, name: str, text: str, **fields: object) -> str:
        """Return a formatted line; acquires no lock."""
        return self.format(logging.makeLogRecord({"levelno": level, "name": name, "msg": text, **fields}))

    def _notice(self, dropped: int) -> str:
        text = "log lines were dropped because stderr is not read"
        return self.line(logging.WARNING, "exporter.logs", text, dropped=dropped)


_configured: list[_ToWriter] = []  # the last is in use


def configure(level: str, style: Literal["logfmt", "json"]) -> None:
    """Send the lines of the whole process to stderr, with Python's warnings and uncaught errors of threads.

    For programs only: a library leaves the configuration of logging to the program.
    """
    forget()
    handler = _ToWriter(style)
    handler.addFilter(_is_new_of_other_packages)
    _configured[:] = [handler]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_death
    atexit.register(flush)


def reconfigure(level: str, style: Literal["logfmt", "json"]) -> None:
    """Log from another level on, and in another form; lines that wait keep theirs."""
    for handler in _configured:
        handler.setFormatter(_Formatter(style))
    logging.getLogger().setLevel(LEVELS[level])


def warn_of_flags(flags: Sequence[str]) -> None:
    """Warn that these flags show a secret to every user that can list the processes of the machine."""
    if flags:
        message = "secrets in flags are visible to all users of this machine, use files or variables"
        logger("app").warning(message, extra={"flags": ", ".join(flags)})


def dropped_lines() -> int:
    """Return how many lines of the process were dropped."""
    return sum(handler.writer.dropped for handler in _configured)


def write_text(text: str) -> None:
    """Write a line without level and fields, in order with the log lines."""
    for handler in _configured:
        with handler.lock or threading.Lock():
            handler.writer.write(text)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait up to `seconds` until all log lines are written; return whether they are."""
    return all(handler.writer.flush(seconds) for handler in _configured)


def line(level: int, name: str, text: str, **fields: object) -> str:
    """Return a formatted line; acquires no lock, so it can be used while other threads hang."""
    handler = _configured[-1] if _configured else None
    return f"{name}: {text} {fields}" if handler is None else handler.line(level, name, text, **fields)


def _log_unraisable(what: Any) -> None:
    _log.error(
        "an error was raised where no code can catch it", extra={"error": described(what.exc_value or Exception())}
    )


def _log_death(what: threading.ExceptHookArgs) -> None:
    name = "" if what.thread is None else what.thread.name
    error = described(what.exc_value or what.exc_type())
    _log.error("a thread ended with an error", extra={"thread_name": name, "error": error})


_log = logger("logs")
