"""Reads text files in the encodings that editors use."""

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
# Far more than any configuration or certificate, and far less than a device or a log.
FILE_BYTES = 4_194_304


def read_text(path: str) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, without that mark.

    Raises OSError, also for more than `FILE_BYTES`, and ValueError for an invalid path or text.
    """
    with Path(path).open("rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise OSError(f"{path} has more than {FILE_BYTES} bytes")
    return decoded(data)


def decoded(data: bytes) -> str:
    """Return the text of bytes; see `read_text`."""
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8-sig")
    return data.decode(encoding)
