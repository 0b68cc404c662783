"""Recognizes binary formats by their first bytes or their structure. Pure.

At most `EXAMINED_BYTES` bytes are read, except of MessagePack, which is read to its end for certainty.
"""

from __future__ import annotations

import re
import zlib

import msgspec

EXAMINED_BYTES = 4096
_MARKS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "an lz4 frame",
    b"\x02\x21\x4c\x18": "an lz4 frame of the old format",
    b"\xff\x06\x00\x00sNaPpY": "a snappy stream",
    b"\x82SNAPPY\x00": "snappy as Java frames it",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\xc3\x01": "Avro single-object encoding",
    b"Obj\x01": "an Avro container",
    b"PAR1": "Parquet",
    b"\xac\xed\x00\x05": "Java serialization",
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# ASCII in wide characters without a byte order mark.
_WIDE = {
    re.compile(rb"(?:[ -~\s]\0\0\0){2}|(?:\0\0\0[ -~\s]){2}"): "UTF-32 without a byte order mark",
    re.compile(rb"(?:[ -~\s]\0){2}|(?:\0[ -~\s]){2}"): "UTF-16 without a byte order mark",
}
_TEXT_BYTES = frozenset(range(32, 127)) | frozenset(b"\t\n\f\r")
_CONTROL_BYTES = frozenset(range(32)) - _TEXT_BYTES
_PROTOBUF_FIELDS = 64


def binary_format(value: bytes) -> str:
    """Return the name of the format of the bytes; empty when they look like text."""
    head = value[:EXAMINED_BYTES]
    named = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
    named = named or next((name for pattern, name in _WIDE.items() if pattern.match(head)), "")
    is_binary = not _CONTROL_BYTES.isdisjoint(head)
    if named or not head or (head[0] in _TEXT_BYTES and not is_binary):
        return named
    return _by_structure(value, head) or ("binary data" if is_binary else "")


def _by_structure(value: bytes, head: bytes) -> str:
    if not head.strip(b"\0"):
        return "zero bytes only"
    if head[0] == 0 and len(value) > 5:
        inside = ", JSON behind it" if value[5:6] in (b"{", b"[") else ""
        return f"Confluent's wire format with schema {int.from_bytes(head[1:5])}{inside}"
    if head[0] == 0x80 and head[1:2] in (b"\2", b"\3", b"\4", b"\5") and value.endswith(b"."):
        return "a Python pickle"
    if _is_message_pack(value):
        return "MessagePack"
    if (0xA1 <= head[0] <= 0xB8 or head[0] == 0xBF) and b"\x61" <= head[1:2] <= b"\x78":
        return "CBOR"
    if _is_zlib(head):
        return "zlib"
    if _is_snappy(head):
        return "snappy without a frame"
    return "protobuf, perhaps" if _is_protobuf(head, len(value)) else ""


def _is_message_pack(value: bytes) -> bool:
    """Return whether it is one array or map from the first byte to the last."""
    if not (0x80 <= value[0] <= 0x9F or 0xDC <= value[0] <= 0xDF):
        return False
    try:
        msgspec.msgpack.decode(value, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _is_zlib(head: bytes) -> bool:
    try:
        return len(zlib.decompressobj().decompress(head, EXAMINED_BYTES)) > 0
    except zlib.error:
        return False


def _is_snappy(head: bytes) -> bool:
    """Return whether it is a length followed by a literal that begins like JSON."""
    _, start = _varint(head, 0)
    if not 0 < start < len(head) or head[start] & 3:
        return False
    length_bytes = max(0, (head[start] >> 2) - 59)
    return head[start + 1 + length_bytes :][:1] in (b"{", b"[")


def _is_protobuf(head: bytes, length: int) -> bool:
    """Return whether it is a sequence of fields up to the end, one with a length among them."""
    position, has_length = 0, False
    for _ in range(_PROTOBUF_FIELDS):
        if position >= len(head):
            break
        tag, position = _varint(head, position)
        size, position = _field_size(head, tag & 7, position)
        if position < 0 or size < 0 or not 0 < tag >> 3 < 1000:
            return False
        position += size
        has_length |= tag & 7 == 2
    return has_length and position <= length


def _field_size(head: bytes, kind: int, position: int) -> tuple[int, int]:
    """Return the remaining size of a field and the position of its data; size -1 for an unknown kind."""
    if kind in (0, 2):
        number, position = _varint(head, position)
        return (number if kind == 2 else 0), position
    return {1: 8, 5: 4}.get(kind, -1), position


def _varint(head: bytes, position: int) -> tuple[int, int]:
    """Return a number of up to ten groups of seven bits, and the position after it; -1 when it has no end."""
    number = 0
    for index, byte in enumerate(head[max(position, 0) : position + 10]):
        number |= (byte & 127) << (7 * index)
        if byte < 128:
            return number, position + index + 1
    return 0, -1
