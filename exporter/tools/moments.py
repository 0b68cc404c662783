"""Times as arguments of commands."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp_ms(text: str) -> int:
    """Return Unix milliseconds of such a number or of an ISO 8601 time, in UTC without an offset."""
    if text.isdecimal():
        return int(text)
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
