"""Servers that misbehave: raw TCP on a free loopback port, each bounded in time and in what it sends."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

DRIP_SECONDS = 0.1
# What an endless answer ends with, should nobody hang up: far above any limit, and no danger to the machine.
ENDLESS_BYTES = 3_000_000_000
PEER_SECONDS = 180.0

Talk = Callable[[bytes], Iterator[bytes]]
"""What a server sends, in pieces, once it has received something, which is the argument."""


class Peer:
    """A server on a free loopback port, as a context, that answers whatever comes first, and then hangs up.

    `sent` counts bytes, `asked` connections that said something, `open` those that are not over.
    """

    def __init__(self, talk: Talk) -> None:
        self.sent = 0
        self.asked = 0
        self.open = 0
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.place = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.place}"
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        deadline = time.monotonic() + PEER_SECONDS
        with client, suppress(OSError):
            client.settimeout(PEER_SECONDS)
            while received := client.recv(65536):
                self._count(1)
                try:
                    for piece in self._talk(received):
                        if self._ended.is_set() or time.monotonic() > deadline:
                            return
                        client.sendall(piece)
                        self.sent += len(piece)
                finally:
                    self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self.open += change
            self.asked += change > 0


def dripping(beginning: bytes, piece: bytes = b"a", seconds: float = DRIP_SECONDS) -> Talk:
    """A beginning, and then a piece now and then: each read succeeds, none is the last."""

    def talk(_: bytes) -> Iterator[bytes]:
        yield beginning
        for _turn in range(int(PEER_SECONDS / seconds)):
            time.sleep(seconds)
            yield piece

    return talk


def endless(beginning: bytes, piece: bytes = b"a" * 65536) -> Talk:
    """A beginning, and then pieces as fast as they are taken."""

    def talk(_: bytes) -> Iterator[bytes]:
        yield beginning
        for _turn in range(ENDLESS_BYTES // len(piece)):
            yield piece

    return talk


def saying(text: bytes) -> Talk:
    """The same words each time."""
    return lambda _: iter((text,))


def slowly(text: bytes, seconds: float) -> Talk:
    """The same words each time, after a while."""

    def talk(_: bytes) -> Iterator[bytes]:
        time.sleep(seconds)
        yield text

    return talk


def http(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """An answer of HTTP; with a header of its own, the length is not added."""
    lines = headers or (f"Content-Length: {len(body)}",)
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode() + body


CHUNKED = http("200 OK", b"", "Transfer-Encoding: chunked")
SIZED = http("200 OK", b"", "Content-Length: 4000000000")


def redis(reply: bytes) -> Talk:
    """The same reply to each command of Redis."""
    return lambda received: iter((reply * max(1, len(_COMMAND.findall(received))),))


_COMMAND = re.compile(rb"(?:^|\r\n)\*\d+\r\n")

# Whoever asks by HTTP, and what it gets.
HTTP_DRIPS: dict[str, Talk] = {
    "status line": dripping(b"HTTP/1.1 200 "),
    "headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "one header": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": dripping(SIZED),
    "chunks": dripping(CHUNKED, b"1\r\na\r\n"),
    "chunk size": dripping(CHUNKED, b"0"),
    "trailers": dripping(CHUNKED + b"0\r\n", b"X: y\r\n"),
}
HTTP_FLOODS: dict[str, Talk] = {
    "status line": endless(b"HTTP/1.1 200 "),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 60_000 + b"\r\n"),
    "continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "body": endless(SIZED),
    "body without end": endless(http("200 OK", b"", "Connection: close")),
    "chunks": endless(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n"),
    "chunk size": endless(CHUNKED, b"0" * 65536),
    "chunk extension": endless(CHUNKED + b"1;"),
    "trailers": endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
}

REDIS_DRIPS: dict[str, Talk] = {
    "line": dripping(b"+O"),
    "bulk": dripping(b"$4000000000\r\n"),
    "list": dripping(b"*4000000000\r\n", b":1\r\n"),
    "nesting": dripping(b"", b"*1\r\n"),
    "digits": dripping(b":", b"1"),
}
REDIS_FLOODS: dict[str, Talk] = {
    "line": endless(b"+O"),
    "bulk": endless(b"$4000000000\r\n"),
    "list": endless(b"*4000000000\r\n", b"*0\r\n" * 10_000),
    "nesting": endless(b"", b"*1\r\n" * 10_000),
    "digits": endless(b":", b"1" * 65536),
    "words": endless(b"", b"+OK\r\n" * 10_000),
}
# One a line, what goes without saying left out: the end of each line.
REDIS_ODD = tuple(
    reply.encode("latin-1").replace(b"|", b"\r\n") + b"\r\n"
    for reply in """
+OK
+
:1
:-1
:99999999999999999999999
:x
$-1
*-1
*0
$3|abc
$-7
$x
*x
$1|\xff
*2|:0|*0
*2|$1|0|*1|:1
*2|$1|0|*2|$1|a|$1|b
*2|$1|0|*2|$1|a|$3|nan
*2|$1|7|*0
*1|-ERR nested
*1|*1|*0
*1|$-1
-ERR no
-
-WRONGTYPE odd
-MOVED x
-ASK
-LOADING
%1|+a|+b
~1|+a
>2|+pubsub|+x
_
,nan
#t
(3492890328409238509324850943850943825024385
=7|txt:abc
!5|ERR x
HTTP/1.1 400 Bad Request|
\0
|""".splitlines()[1:]
)

# Brokers. The size of what follows comes first, and then the number of the request, which is 1.
KAFKA_TALKS: dict[str, Talk] = {
    "dripping size": dripping(b"", b"\0"),
    "dripping body": dripping(b"\0\x01\0\0" + b"\0\0\0\x01"),
    "endless, announced": endless(b"\x05\xf0\0\0" + b"\0\0\0\x01"),
    "endless, too large": endless(b"\x7f\xff\xff\xff"),
    "endless, small": endless(b"", b"\0\0\0\x04\0\0\0\x63" * 8192),
    "negative": saying(b"\xff\xff\xff\xff" * 10),
    "counts without end": saying(b"\0\0\0\x0e" + b"\0\0\0\x01" + b"\0\0" + b"\x7f\xff\xff\xff" + b"\0\0\0\0"),
    "HTTP": saying(http("400 Bad Request")),
    "zeros": endless(b"", b"\0" * 65536),
}
