"""Ask the sidecar on this machine whether its loop turns; how whatever asks this machine's own sidecar does so.

A container asks every few seconds, so the question is put through a socket: an HTTP library takes longer to load than
all the rest, obeys the environment's proxies, and gives what dribbles all the time it wants.
"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from exporter.config.parsers import host_and_port
from exporter.config.schema import Config

TIMEOUT_SECONDS = 3.0
ANSWER_BYTES = 16 * 1024 * 1024
TEXT_MAX = 200

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})\b")
# What listens on all addresses is reached by loopback; which family it has is the system's choice.
_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = {"": _LOOPBACK, "0.0.0.0": _LOOPBACK[:1], "::": _LOOPBACK[::-1]}  # noqa: S104


class Answer(NamedTuple):
    """What was answered: status, headers by their names in small letters, text."""

    status: int
    headers: Mapping[str, str]
    text: str


def main(config: Config) -> int:
    """Return 0 when `/-/healthy` says yes, 1 with a line on stderr when it does not."""
    address = config.web.listen_address
    try:
        status, _, text = ask(address, "/-/healthy", TIMEOUT_SECONDS)
    except OSError as error:
        print(f"unhealthy: no answer from {authority(address)}: {error.strerror or error}", file=sys.stderr)
        return 1
    if status == 200:
        return 0
    told = " ".join(text.split())[:TEXT_MAX]
    print(f"unhealthy: {told if told.isprintable() else ascii(told)}", file=sys.stderr)
    return 1


def ask(listen_address: str, path: str, seconds: float) -> Answer:
    """Return the answer of the sidecar that listens there on this machine; raise `OSError` when there is none in time.

    `listen_address` is as in the configuration: without a host, or with that of all interfaces, loopback is asked.
    """
    deadline = time.monotonic() + seconds
    question = f"GET {path} HTTP/1.0\r\nHost: {authority(listen_address)}\r\n\r\n"
    with _connected(*host_and_port(listen_address), seconds) as connection:
        connection.sendall(question.encode())
        return _read(_received(connection, deadline))


def authority(listen_address: str) -> str:
    """Return host and port, as they stand in a URL, by which this machine reaches what listens there."""
    host, port = host_and_port(listen_address)
    name = _EVERYWHERE.get(host, (host,))[0].partition("%")[0]
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def is_here(host: str) -> bool:
    """Return whether a name or address is one of this machine's: a socket can be bound to those only."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_bind(family, address) for family, *_, address in found)


def _can_bind(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError:
            return False
    return True


def _connected(host: str, port: int, seconds: float) -> socket.socket:
    *others, last = _EVERYWHERE.get(host, (host,))
    for name in others:
        try:
            return socket.create_connection((name, port), seconds)
        except OSError:
            continue
    return socket.create_connection((last, port), seconds)


def _received(connection: socket.socket, deadline: float) -> bytes:
    """Return all that comes until the connection ends."""
    received = bytearray()
    while len(received) <= ANSWER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        piece = connection.recv(64 * 1024)
        if not piece:
            return bytes(received)
        received += piece
    raise OSError("the answer has no end")


def _read(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    found = _STATUS.match(first)
    if found is None:
        raise OSError("what listens there does not speak HTTP")
    fields = (line.decode("latin-1").partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return Answer(int(found[1]), headers, body.decode("utf-8", "replace"))
