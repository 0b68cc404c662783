"""Text files as the editors of all systems write them."""

from __future__ import annotations

import codecs
from pathlib import Path

# The mark of UTF-32 begins with that of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, without that mark.

    Raises OSError, and UnicodeDecodeError (a ValueError) for what is none of these.
    """
    return decoded(Path(path).read_bytes())


def decoded(data: bytes) -> str:
    """Return bytes as text; see `read_text`."""
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8-sig")
    return data.decode(encoding)
