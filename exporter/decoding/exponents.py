"""Replaces numbers with exponents of three digits, such as 5e-310, which msgspec decodes in up to 10 µs each. Pure.

A record full of them takes a hundred times as long to decode as an ordinary one; read one by one, with `float`, they
are the same numbers at a fraction of that. So what is found here decides the way a record is read, never the result.
"""

from __future__ import annotations

import re

# Searching each record whole would take as long as decoding it; a record full of exponents has one in any window.
WINDOW_BYTES = 64
BYTES_PER_WINDOW = 16 * 1024
# Searched whole after a match: enough that the matches missed before cost nothing on average.
ALERT_BYTES = 64 * 1024**2

# A number, or text with one. Possessive quantifiers (+) exclude backtracking, so that one pass suffices.
_LONG = re.compile(rb'[:\[,]\s*+("?)-?\d[\d.]*+[eE][-+]?0*+[1-9]\d\d+\1(?=[\s,\]}])')
_SIMPLIFIED = bytes.maketrans(b"123456789E", b"000000000e")
_SIGNS = b"+-"
_HINT = b"0e000"


def has_long(value: bytes) -> bool:
    """Return whether a number in the JSON text has a long exponent."""
    return _has_hint(value) and _LONG.search(value) is not None


def _has_hint(text: bytes) -> bool:
    return _HINT in text.translate(_SIMPLIFIED, _SIGNS)


class Exponents:
    """Search for long exponents that takes next to no time for ordinary records.

    One window in `BYTES_PER_WINDOW` is searched, at a place that a record cannot predict. After a match the following
    `ALERT_BYTES` are searched whole. The caller adds the bytes of each record to `unseen_bytes` and searches it once
    these are `due_bytes`: a call for each record would cost more than the search.
    """

    def __init__(self) -> None:
        self.unseen_bytes = 0
        self.due_bytes = BYTES_PER_WINDOW
        self._alert_bytes = 0
        self._seed = 1

    def seen(self, value: bytes) -> bool:
        """Return the result of `has_long`, or False when the search has missed the numbers, which only costs time."""
        if self._alert_bytes <= 0 and not self._is_suspect(value):
            return False
        found = has_long(value)
        self._alert_bytes = ALERT_BYTES if found else self._alert_bytes - len(value)
        self.unseen_bytes, self.due_bytes = 0, 0 if self._alert_bytes > 0 else BYTES_PER_WINDOW
        return found

    def _is_suspect(self, value: bytes) -> bool:
        size, windows = len(value), self.unseen_bytes // BYTES_PER_WINDOW
        self.unseen_bytes %= BYTES_PER_WINDOW
        for _ in range(windows):
            self._seed = (self._seed * 1_103_515_245 + size) & 0x7FFF_FFFF
            start = self._seed % size
            if _has_hint(value[start : start + WINDOW_BYTES]):
                return True
        return False
