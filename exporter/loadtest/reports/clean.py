"""Texts from elsewhere in reports: names of processes, errors of services, settings. Pure."""

from exporter.runtime.foreign_text import printable

_TEXT_MAX = 500


def clean(text: str) -> str:
    """Return a text on one line, without secrets and control characters, and bounded."""
    return printable(text, _TEXT_MAX)
