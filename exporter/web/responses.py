"""Answers to requests: their bodies in chunks, and their bytes where no HTTP library writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from traceback import extract_tb
from typing import NamedTuple
from zlib import compressobj

from exporter.runtime import logs

TEXT = "text/plain; charset=utf-8"
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

# All of this is part of the server, and users look for its log under that name.
log = logs.logger("web")


class Answer(NamedTuple):
    """What goes back for a request. The chunks of the body may still have to be made; see `settled`."""

    body: Iterable[bytes]
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = {}


class Settled(NamedTuple):
    """An answer whose body is there, in chunks of about `CHUNK_BYTES`."""

    body: tuple[bytes, ...]
    status: int
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.body))


def short(text: str, status: int, **headers: str) -> Settled:
    """Return an answer of one line."""
    return settled(Answer([f"{text}\n".encode()], status=status, headers=headers))


def settled(answer: Answer, is_gzipped: bool = False) -> Settled:
    """Make the body, one chunk after the other, and compress it if it is worth that."""
    chunks = grouped(answer.body)
    first = next(chunks, b"")
    headers = {**HEADERS, **answer.headers, "Content-Type": answer.content_type}
    if is_gzipped and len(first) >= GZIP_BYTES_MIN:
        chunks = grouped(_gzipped(first, chunks))
        first = next(chunks, b"")
        headers["Content-Encoding"] = "gzip"
    return Settled((first, *chunks), answer.status, headers)


def answered(path: str, make: Callable[[], Answer], is_gzipped: bool = False) -> Settled:
    """Return the answer that `make` makes, or, when it fails, the one of `failed`."""
    try:
        return settled(make(), is_gzipped)
    except Exception as error:
        return failed(path, error)


def failed(path: str, error: Exception) -> Settled:
    """Return an answer that says no more than that it failed; the log says what and where."""
    # The message is left out: it may quote what must not be in a log.
    place = extract_tb(error.__traceback__)[-1]
    log.error("%s failed: %s in %s, line %s", path, type(error).__name__, place.filename, place.lineno)
    return short("internal error, see the log", 500)


def grouped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts joined, so that all but the last have at least `CHUNK_BYTES`."""
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


def wire(answer: Settled, with_body: bool = True) -> bytes:
    """Return an answer as it goes over a connection that ends with it."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"Content-Length: {answer.length}", f"Date: {formatdate(usegmt=True)}", "Connection: close", "", ""]
    return b"".join(["\r\n".join(lines).encode("latin-1"), *(answer.body if with_body else ())])
