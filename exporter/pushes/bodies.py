"""The body of a push: its encoding and its format. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple
from zlib import decompressobj, error

from exporter.pushes.family import PushedFamily, Refused, Result, malformed, too_many
from exporter.pushes.openmetrics_reader import read_openmetrics
from exporter.pushes.protobuf_reader import read_protobuf
from exporter.pushes.snappy import unpacked
from exporter.pushes.text_reader import read_text

ENCODINGS = ("gzip", "snappy")
_GZIP_WINDOW = 31
# Each copies what follows it.
_GZIP_FILES_MAX = 16
_PROTOBUF = {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"}


class BodyLimits(NamedTuple):
    """The largest body, also unpacked, and the most samples in it: these take far more memory than their text."""

    bytes: int
    samples: int


class BodyType(NamedTuple):
    """The headers that describe a body."""

    content_type: str
    content_encoding: str


def check_type(body: BodyType) -> None:
    """Raise Refused for an encoding or a format that is not supported."""
    if _encoding(body) not in ("", "identity", *ENCODINGS):
        raise Refused(Result.UNSUPPORTED, f"the Content-Encoding is not supported: it may be {' or '.join(ENCODINGS)}")
    media_type, parameters = _media_type(body.content_type)
    if media_type == "application/vnd.google.protobuf" and not _PROTOBUF.items() <= parameters.items():
        expected = "; ".join(f"{name}={value}" for name, value in _PROTOBUF.items())
        raise Refused(Result.UNSUPPORTED, f"protobuf must be {expected}")


def read_body(body: bytes, body_type: BodyType, limits: BodyLimits) -> list[PushedFamily]:
    """Return the families in a body; raise Refused.

    What is neither protobuf nor OpenMetrics by its type is read as text, whatever it is called: curl calls it a form.
    """
    check_type(body_type)
    if len(body) > limits.bytes:
        raise too_large(limits.bytes)
    if _encoding(body_type) == "gzip":
        body = b"".join(_unpacked(body, limits.bytes))
    elif _encoding(body_type) == "snappy":
        body = _from_snappy(body, limits.bytes)
    media_type, _ = _media_type(body_type.content_type)
    if media_type == "application/vnd.google.protobuf":
        return read_protobuf(body, limits.samples)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise malformed("the body is not UTF-8") from None
    if text.count("\n") - text.count("\n#") > limits.samples:
        raise too_many(limits.samples)
    return read_openmetrics(text) if media_type == "application/openmetrics-text" else read_text(text)


def too_large(bytes_max: int) -> Refused:
    """Return the error of a body that is too large."""
    return Refused(Result.TOO_LARGE, f"the body has more than {bytes_max} bytes, see web.push.max_bytes")


def _encoding(body: BodyType) -> str:
    return body.content_encoding.strip().lower()


def _from_snappy(body: bytes, bytes_max: int) -> bytes:
    try:
        contents = unpacked(body, bytes_max)
    except ValueError as error:
        raise malformed(f"the body is not in Snappy's framing format: {error}") from None
    if len(contents) > bytes_max:
        raise too_large(bytes_max)
    return contents


def _media_type(content_type: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["Content-Type"] = content_type
    parameters = message.get_params(failobj=[])[1:]
    return message.get_content_type(), {name.lower(): value for name, value in parameters}


def _unpacked(body: bytes, bytes_max: int) -> Iterator[bytes]:
    """Yield the contents of gzip files that follow each other."""
    length = 0
    for _ in range(_GZIP_FILES_MAX):
        packer = decompressobj(_GZIP_WINDOW)
        try:
            part = packer.decompress(body, bytes_max - length + 1)
        except error:
            raise malformed("the body is not gzip, as its Content-Encoding would have it") from None
        if (length := length + len(part)) > bytes_max:
            raise too_large(bytes_max)
        if not packer.eof:
            raise malformed("the end of the compressed body is missing")
        yield part
        if not (body := packer.unused_data):
            return
    raise malformed(f"the body has more than {_GZIP_FILES_MAX} gzip files")
