"""Log lines as logfmt or JSON, to stderr, one line a happening, and a counter for each level."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from exporter.foreign import without_secrets

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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
        fields |= {name: without_secrets(value) for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = without_secrets(self.formatException(record.exc_info))
        if self._as_json:
            return json.dumps(fields, default=str)
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(character in text for character in ' "=\\')
    return text if plain else json.dumps(text)


def level_name(number: int) -> str:
    """Return the name of the closest level of ours at or below a level of `logging`."""
    return next((name for level, name in sorted(_NAMES.items(), reverse=True) if number >= level), "debug")


class LogCounter(logging.Handler):
    """Counts the lines of each level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = dict.fromkeys(LEVELS, 0)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self.lines[level_name(record.levelno)] += 1


def configure(level: str, style: Literal["logfmt", "json"]) -> None:
    """Send the lines of the whole process to stderr. For programs; a library leaves logging to its user."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])


def warn_of_flags(flags: Sequence[str]) -> None:
    """Log that these flags show a secret to all who can list the processes of the machine."""
    if flags:
        message = "secrets in flags are visible to all users of this machine, use files or variables"
        logging.getLogger("exporter.app").warning(message, extra={"flags": ", ".join(flags)})
