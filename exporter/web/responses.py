"""Responses: their bodies in chunks, and their bytes where no HTTP library writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from traceback import extract_tb
from typing import NamedTuple
from zlib import compressobj

import orjson

from exporter.runtime import logs

TEXT, JSON = "text/plain; charset=utf-8", "application/json"
CHUNK_BYTES = 64 * 1024
GZIP_LEVEL = 2
GZIP_BYTES_MIN = 1024
GZIP_WINDOW = 31
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "marketdata-exporter",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}

# The logger of the whole server, under its documented name.
log = logs.logger("web")


class Response(NamedTuple):
    """A response whose body is an iterable that may still be computed; see `complete`."""

    body: Iterable[bytes]
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = {}


class CompleteResponse(NamedTuple):
    """A response whose body is in memory, in chunks of about `CHUNK_BYTES`."""

    body: tuple[bytes, ...]
    status: int
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """The length of the body in bytes."""
        return sum(map(len, self.body))


def text_response(text: str, status: int, **headers: str) -> CompleteResponse:
    """Return a response of one line of text."""
    return complete(Response([f"{text}\n".encode()], status=status, headers=headers))


def json_error(text: str, status: int) -> Response:
    """Return a response of an error as the API has it."""
    return Response([orjson.dumps({"status": "error", "error": text})], JSON, status)


def complete(response: Response, is_gzipped: bool = False) -> CompleteResponse:
    """Compute the body chunk by chunk, and compress it unless it is small."""
    chunks = grouped(response.body)
    first = next(chunks, b"")
    headers = {**HEADERS, **response.headers, "Content-Type": response.content_type}
    if is_gzipped and len(first) >= GZIP_BYTES_MIN:
        chunks = grouped(_gzipped(first, chunks))
        first = next(chunks, b"")
        headers["Content-Encoding"] = "gzip"
    return CompleteResponse((first, *chunks), response.status, headers)


def response_or_error(path: str, make: Callable[[], Response], is_gzipped: bool = False) -> CompleteResponse:
    """Return the response of `make`, or `error_response` when it raises."""
    try:
        return complete(make(), is_gzipped)
    except Exception as error:
        return error_response(path, error)


def error_response(path: str, error: Exception) -> CompleteResponse:
    """Return a response without details of the error; log its type and place."""
    # Without the message, which may quote secrets.
    place = extract_tb(error.__traceback__)[-1]
    log.error("request for %s failed: %s in %s, line %s", path, type(error).__name__, place.filename, place.lineno)
    return text_response("internal error, see the log", 500)


def grouped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts joined into chunks, of which all but the last have at least `CHUNK_BYTES`."""
    some: list[bytes] = []
    length = 0
    for part in parts:
        some.append(part)
        length += len(part)
        if length >= CHUNK_BYTES:
            yield b"".join(some)
            some, length = [], 0
    if some:
        yield b"".join(some)


def _gzipped(first: bytes, more: Iterable[bytes]) -> Iterator[bytes]:
    packer = compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW)
    yield packer.compress(first)
    yield from map(packer.compress, more)
    yield packer.flush()


def to_bytes(response: CompleteResponse, with_body: bool = True) -> bytes:
    """Return the bytes of a response after which the connection is closed."""
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines += [f"Content-Length: {response.length}", f"Date: {formatdate(usegmt=True)}", "Connection: close", "", ""]
    return b"".join(["\r\n".join(lines).encode("latin-1"), *(response.body if with_body else ())])
