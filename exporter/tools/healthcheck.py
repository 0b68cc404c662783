"""Ask the sidecar on this machine whether it is healthy; also the client of other tools for a sidecar on this machine.

A container runs this every few seconds, so it uses a socket: an HTTP library takes longer to load than everything else
here, obeys the proxies of the environment, and sets no limit on the total time of an answer.
"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from exporter.config import addresses
from exporter.config.addresses import host_and_port, local_hosts
from exporter.config.schema import Config
from exporter.runtime.foreign_text import printable

TIMEOUT_SECONDS = 3.0
ANSWER_BYTES = 16 * 1024 * 1024

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})\b")


class Answer(NamedTuple):
    """An HTTP response: status, headers by their names in lower case, text."""

    status: int
    headers: Mapping[str, str]
    text: str


def main(config: Config) -> int:
    """Return 0 when `/-/healthy` answers 200, otherwise 1 after a line on stderr."""
    address = config.web.listen_address
    try:
        status, _, text = ask(address, "/-/healthy", TIMEOUT_SECONDS)
    except OSError as error:
        print(f"unhealthy: no answer from {authority(address)}: {error.strerror or error}", file=sys.stderr)
        return 1
    if status == 200:
        return 0
    print(f"unhealthy: {printable(text)}", file=sys.stderr)
    return 1


def ask(listen_address: str, path: str, seconds: float) -> Answer:
    """Return the response of the sidecar that listens at this address; raise `OSError` without one within `seconds`.

    `listen_address` is that of the configuration: for all interfaces, loopback is asked.
    """
    deadline = time.monotonic() + seconds
    request = f"GET {path} HTTP/1.0\r\nHost: {authority(listen_address)}\r\n\r\n"
    with _connect(*host_and_port(listen_address), seconds) as connection:
        connection.sendall(request.encode())
        return _parse(_receive(connection, deadline))


def authority(listen_address: str) -> str:
    """Return the host and port, as in a URL, at which this machine reaches what listens at this address."""
    host, port = host_and_port(listen_address)
    return addresses.authority(local_hosts(host)[0].partition("%")[0], port)


def is_local(host: str) -> bool:
    """Return whether a name or address is one of this machine: a socket can be bound only to those."""
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


def _connect(host: str, port: int, seconds: float) -> socket.socket:
    *others, last = local_hosts(host)
    for name in others:
        try:
            return socket.create_connection((name, port), seconds)
        except OSError:
            continue
    return socket.create_connection((last, port), seconds)


def _receive(connection: socket.socket, deadline: float) -> bytes:
    """Return all bytes up to the end of the connection."""
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
    raise OSError(f"the answer is larger than {ANSWER_BYTES} bytes")


def _parse(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    found = _STATUS.match(first)
    if found is None:
        raise OSError("the answer is not HTTP")
    fields = (line.decode("latin-1").partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return Answer(int(found[1]), headers, body.decode("utf-8", "replace"))
