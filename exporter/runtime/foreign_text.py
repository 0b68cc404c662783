"""Texts of other programs, made safe for logs, pages and terminals: secrets masked, on one line, bounded.

The known secrets are those of the whole process: the text of one server may quote a secret of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.runtime.redaction import Redactor

TEXT_MAX = 200
SECRETS_MAX = 10_000
# Characters read for each one that is kept; the rest of a long text is ignored.
_WINDOW = 20
_FIELD_MAX = 8192


class _Known:
    redactor = Redactor()


def add_secrets(secrets: Iterable[str]) -> None:
    """Mask these texts from now on as well; beyond `SECRETS_MAX` the earliest are dropped."""
    known = tuple(dict.fromkeys([*_Known.redactor.secrets, *secrets]))
    if known != _Known.redactor.secrets:
        _Known.redactor = Redactor(known[-SECRETS_MAX:])


def masked(text: str) -> str:
    """Return the text with its secrets masked, in full length and with its line breaks."""
    return _Known.redactor.masked(text)


def masked_part(text: str, start: int, end: int) -> str:
    """Return the text from `start` to `end`, with secrets masked that begin before it or end after it, too."""
    return _Known.redactor.masked_part(text, start, end)


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """Return the text on one line, secrets masked, without control characters, cut to `limit` characters."""
    # Masked before it is cut: half a secret would not be found.
    clear = masked(text[: _WINDOW * limit])
    visible = "".join(character if character.isprintable() else " " for character in clear)
    line = " ".join(visible.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def without_secrets(value: object) -> object:
    """Return a value for JSON or a log with secrets masked in each of its texts, and each text bounded."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {name: without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    text = masked(str(value)[: 2 * _FIELD_MAX])
    return text if len(text) <= _FIELD_MAX else f"{text[: _FIELD_MAX - 1]}…"
