"""Recordings: records as JSON lines, plain or compressed by gzip or zstd.

A line has `topic`, `received_ms` (Unix milliseconds) and `value`, the JSON of the record as it was written. What a
recording of a topic has beside these: `partition`, `offset`, `key` and `headers` in base64 where a format reads them,
and in the place of `value`, where it is no JSON of one line, `value_base64`. A record of a sidecar has `is_event`.
"""

from __future__ import annotations

import gzip
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec

from exporter.model import Partition, Record

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZSTD_SUFFIX, GZIP_SUFFIX = ".zst", ".gz"
_NULL = b"null"
# A line with a record of the largest size that Kafka takes, in base64, and more.
LINE_BYTES = 256 * 1024**2


class RecordingError(Exception):
    """A recording cannot be read or written, for the reason in the text."""


class Line(msgspec.Struct, omit_defaults=True):
    """One line of a recording."""

    topic: str
    received_ms: int
    value: msgspec.Raw = msgspec.Raw(_NULL)
    partition: int = 0
    offset: int | None = None
    value_base64: bytes | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    is_event: bool = False


_decode = msgspec.json.Decoder(Line).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


def encoded(record: Record) -> bytes:
    """Return the line of a record, with its end."""
    place: dict[str, Any] = {"partition": record.partition.number, "offset": record.offset}
    if record.value is not None and not _is_one_line_of_json(record.value):
        place["value_base64"] = b64encode(record.value).decode()
    head = {"topic": record.partition.topic, "received_ms": record.timestamp_ms, **place}
    if record.is_event:
        head["is_event"] = True
    if record.key is not None:
        head["key"] = b64encode(record.key).decode()
    if record.headers:
        head["headers"] = [
            (name, None if value is None else b64encode(value).decode()) for name, value in record.headers
        ]
    value = b"null" if "value_base64" in place or record.value is None else record.value
    return _encode(head)[:-1] + b',"value":' + value + b"}\n"


def _is_one_line_of_json(value: bytes) -> bool:
    """Return whether a value can stand in a line as it is; `null` stands for no value."""
    if value == _NULL or b"\n" in value or b"\r" in value:
        return False
    try:
        value.decode()
        return bytes(_decode_any(value)) == value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class Recording:
    """The records in a file; `position` is how many of its `size` bytes were read, compressed ones where it is so.

    `damage` is why what follows the last record cannot be read, as in a file whose writing was interrupted; empty
    when there is nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.position = 0
        self.damage = ""

    def records(self) -> Iterator[Record]:
        """Yield the records in the order of the lines; raise `RecordingError` and OSError.

        A record without an offset gets the number of those of its topic before it. A damaged end is an error only
        when no record is before it.
        """
        partitions: dict[tuple[str, int], Partition] = {}
        numbers: Counter[Partition] = Counter()
        with self.path.open("rb") as file, _reading(file, self.path) as lines:
            for number, text in enumerate(self._lines(file, lines), 1):
                if not text.strip():
                    continue
                if (line := self._line(text, number, is_first=not numbers)) is None:
                    return
                partition = partitions.setdefault((line.topic, line.partition), Partition(line.topic, line.partition))
                offset = numbers[partition] if line.offset is None else line.offset
                numbers[partition] = offset + 1
                yield _record(line, partition, offset)
        if self.damage and not numbers:
            raise RecordingError(f"{self.path}: {self.damage}")

    def _lines(self, file: BinaryIO, lines: IO[bytes]) -> Iterator[bytes]:
        try:
            while line := lines.readline(LINE_BYTES):
                self.position = file.tell()
                yield line
        except Exception as error:
            if not isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) and type(error).__name__ != "ZstdError":
                raise
            self.damage = f"the compressed file is damaged or cut: {error}"

    def _line(self, text: bytes, number: int, *, is_first: bool) -> Line | None:
        """Return a line; None for a last one that is cut."""
        try:
            return _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            if not text.endswith(b"\n") and not is_first:
                self.damage = f"line {number} is cut: {error}"
                return None
            raise RecordingError(f"{self.path}: line {number} is no record of a recording: {error}") from None


def _record(line: Line, partition: Partition, offset: int) -> Record:
    value: bytes | None = line.value_base64
    if value is None and (raw := bytes(line.value)) != _NULL:
        value = raw
    return Record(partition, offset, line.received_ms, value, None, line.is_event, line.key, line.headers)


@contextmanager
def _reading(file: BinaryIO, path: Path) -> Iterator[IO[bytes]]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP_MAGIC):
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("IO[bytes]", unpacked)
    elif magic == ZSTD_MAGIC:
        with _zstd(path).open(file, "rb") as unpacked:
            yield unpacked
    else:
        yield file


@contextmanager
def writing(path: Path) -> Iterator[Callable[[Record], object]]:
    """Open a new recording for as long as the context lasts, and return what writes a record; raise OSError.

    Its name decides whether it is compressed: by gzip with `.gz`, by zstd with `.zst`.
    """
    with _new(path) as file:
        yield lambda record: file.write(encoded(record))


def _new(path: Path) -> IO[bytes]:
    if path.suffix == ZSTD_SUFFIX:
        return cast("IO[bytes]", _zstd(path).open(path, "xb"))
    if path.suffix == GZIP_SUFFIX:
        return cast("IO[bytes]", gzip.open(path, "xb", compresslevel=6))
    return path.open("xb")


def _zstd(path: Path) -> Any:
    """Return the library for zstd, which belongs to the extra `replay` before Python 3.14."""
    for module in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(module)
    raise RecordingError(f"{path}: zstd needs a library: pip install 'marketdata-exporter[replay]'")
