"""Texts of other programs, made fit for logs, pages and terminals. Pure."""

from __future__ import annotations

TEXT_MAX = 200


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """Return the text on one line, without control characters, at most `limit` characters of it."""
    # What is far beyond the limit is not looked at.
    visible = "".join(character if character.isprintable() else " " for character in text[: 2 * limit])
    line = " ".join(visible.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
