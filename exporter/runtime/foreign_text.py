"""Texts of other programs, made fit for logs, pages and terminals: secrets masked, one line, bounded.

What is known to be secret holds for the whole process, as its log and its stderr do: a text of one server may quote
what was meant for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.runtime.redaction import Redactor

TEXT_MAX = 200
SECRETS_MAX = 10_000
# What stands behind so many characters for each that is kept is not looked at.
_WINDOW = 20
_FIELD_MAX = 8192


class _Known:
    redactor = Redactor()


def hide(secrets: Iterable[str]) -> None:
    """Mask these texts from now on, in addition to those known already; the earliest are forgotten beyond a limit."""
    known = tuple(dict.fromkeys([*_Known.redactor.secrets, *secrets]))
    if known != _Known.redactor.secrets:
        _Known.redactor = Redactor(known[-SECRETS_MAX:])


def masked(text: str) -> str:
    """Return the text without secrets; for what is long or has lines of its own."""
    return _Known.redactor.masked(text)


def masked_part(text: str, start: int, end: int) -> str:
    """Return what stands from `start` to `end`, without secrets that may have begun before it or end behind it."""
    return _Known.redactor.masked_part(text, start, end)


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """Return the text on one line, without secrets and control characters, at most `limit` characters of it."""
    # Cut at last: half a secret would not be found.
    clear = masked(text[: _WINDOW * limit])
    visible = "".join(character if character.isprintable() else " " for character in clear)
    line = " ".join(visible.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def without_secrets(value: object) -> object:
    """Return a value for JSON or a log, with secrets masked in all of its texts, each of them bounded."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {name: without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    text = masked(str(value)[: 2 * _FIELD_MAX])
    return text if len(text) <= _FIELD_MAX else f"{text[: _FIELD_MAX - 1]}…"
