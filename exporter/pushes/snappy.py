"""Unpacks Snappy's framing format, which programs may push in; its checksums are not compared. Pure.

https://github.com/google/snappy: framing_format.txt and format_description.txt.
"""

from __future__ import annotations

_START = b"\xff\x06\x00\x00sNaPpY"
_COMPRESSED, _PLAIN, _CHECKSUM_BYTES, _SKIPPED_FROM = 0, 1, 4, 0x80
BLOCK_BYTES_MAX = 65_536


def unpacked(body: bytes, bytes_max: int) -> bytes:
    """Return the contents, of which there is at most one block more than `bytes_max`; raise ValueError."""
    if not body.startswith(_START):
        raise ValueError("the beginning of the stream is missing")
    found = bytearray()
    at = 0
    while at < len(body) and len(found) <= bytes_max:
        kind, length = body[at], int.from_bytes(body[at + 1 : at + 4], "little")
        begin, at = at + 4, at + 4 + length
        if at > len(body):
            raise ValueError("the end is missing")
        if kind in (_COMPRESSED, _PLAIN):
            block = body[begin + _CHECKSUM_BYTES : at]
            found += _block(block) if kind == _COMPRESSED else block
        elif kind < _SKIPPED_FROM:
            raise ValueError("a part has an unknown form")
    return bytes(found)


def _block(block: bytes) -> bytearray:
    """Return the contents of a block: literal bytes, and copies of what came before."""
    expected, at = _length(block)
    found = bytearray()
    while at < len(block):
        tag = block[at]
        kind, at = tag & 3, at + 1
        if kind == 0:
            length, at = _literal(block, tag, at)
            found += block[at : at + length]
            at += length
        else:
            more = (1, 2, 4)[kind - 1]
            offset = int.from_bytes(block[at : at + more], "little")
            if kind == 1:
                offset |= tag >> 5 << 8
            _copy(found, offset, (tag >> 2 & 7) + 4 if kind == 1 else (tag >> 2) + 1)
            at += more
        if len(found) > expected:
            break
    if len(found) != expected or at > len(block):
        raise ValueError("a block has another length than it should")
    return found


def _length(block: bytes) -> tuple[int, int]:
    """Return the length of the contents, and where these begin."""
    length = 0
    for shift, byte in enumerate(block[:3]):
        length |= (byte & 127) << 7 * shift
        if byte < 128 and length <= BLOCK_BYTES_MAX:
            return length, shift + 1
    raise ValueError("a block is too long or empty")


def _literal(block: bytes, tag: int, at: int) -> tuple[int, int]:
    """Return the length of literal bytes, and where they begin."""
    if (more := (tag >> 2) - 59) <= 0:
        return (tag >> 2) + 1, at
    return int.from_bytes(block[at : at + more], "little") + 1, at + more


def _copy(found: bytearray, offset: int, length: int) -> None:
    """Append bytes that begin so far before the end; they may repeat themselves."""
    if not 0 < offset <= len(found):
        raise ValueError("a copy begins before its block")
    begin = len(found) - offset
    part = found[begin : begin + length]
    found += part if offset >= length else (part * (length // offset + 1))[:length]
