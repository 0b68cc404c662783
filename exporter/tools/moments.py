"""Times as arguments of commands."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime

# Numbers between these are seconds of the years from 1973 to 5138: milliseconds of then would be those of 1970.
_SECONDS = range(10**8, 10**11)
_EXPECTED = "expected ISO 8601 (UTC), such as 2026-11-28T09:00, or Unix milliseconds"


def timestamp_ms(text: str) -> int:
    """Return Unix milliseconds of such a number or of an ISO 8601 time, in UTC without an offset.

    Raises ArgumentTypeError for other text, and for what must be seconds.
    """
    if text.isdecimal():
        if (number := int(text)) in _SECONDS:
            raise ArgumentTypeError(f"got {text}, which looks like seconds, {_EXPECTED}")
        return number
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"got {text!r}, {_EXPECTED}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
