"""Ask the sidecar on this machine whether it is healthy; also the client of other tools for a sidecar on this machine.

A container runs this every few seconds, so it uses a socket: an HTTP library takes longer to load than everything else
here, obeys the proxies of the environment, and sets no limit on the total time of an answer.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from exporter.config import addresses
from exporter.config.addresses import host_and_port, local_hosts
from exporter.config.files import read_text
from exporter.config.schema import Config
from exporter.config.web_schema import WebClientConfig, WebConfig
from exporter.runtime.foreign_text import printable

TIMEOUT_SECONDS = 3.0
ANSWER_BYTES = 16 * 1024 * 1024

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})\b")


class Answer(NamedTuple):
    """An HTTP response: status, headers by their names in lower case, text."""

    status: int
    headers: Mapping[str, str]
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of the command."""
    parser.add_argument("--ready", action="store_true", help="check that its figures are up to date as well")


def main(config: Config, *, ready: bool = False) -> int:
    """Return 0 when `/-/healthy`, or `/-/ready`, answers 200, otherwise 1 after a line on stderr."""
    address, what = config.web.listen_address, "not ready" if ready else "unhealthy"
    try:
        status, _, text = ask(address, "/-/ready" if ready else "/-/healthy", TIMEOUT_SECONDS, config.web)
    except OSError as error:
        print(f"{what}: no answer from {authority(address)}: {error.strerror or error}", file=sys.stderr)
        return 1
    if status == 200:
        return 0
    print(f"{what}: {printable(text)}", file=sys.stderr)
    return 1


def ask(listen_address: str, path: str, seconds: float, web: WebConfig = WebConfig()) -> Answer:  # noqa: B008 - frozen
    """Return the response of the sidecar that listens at this address; raise `OSError` without one within `seconds`.

    `listen_address` is that of the configuration: for all interfaces, loopback is asked. `web` has the credentials, and
    the web configuration file, which decides on HTTPS.
    """
    deadline = time.monotonic() + seconds
    host, port = host_and_port(listen_address)
    lines = [f"GET {path} HTTP/1.0", f"Host: {authority(listen_address)}", *_authorization(web.client)]
    with _connect(host, port, seconds) as plain, _secured(plain, host, web) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return _parse(_receive(connection, deadline))


def _authorization(client: WebClientConfig) -> list[str]:
    if client.username is None:
        return []
    text = b64encode(f"{client.username:s}:{client.password or '':s}".encode()).decode()
    return [f"Authorization: Basic {text}"]


def _secured(connection: socket.socket, host: str, web: WebConfig) -> AbstractContextManager[socket.socket]:
    """Return the connection, encrypted if the sidecar has a web configuration file with TLS."""
    if web.config_file is None:
        return nullcontext(connection)
    # Both are loaded when they are needed: this command starts every few seconds.
    from exporter.config.web_file import uses_tls
    from exporter.tools.tls_client import secured

    if not uses_tls(_content(web.config_file)):
        return nullcontext(connection)
    return secured(connection, local_hosts(host)[0].partition("%")[0], web.client)


def _content(path: str) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise OSError(f"web.config_file cannot be read: {getattr(error, 'strerror', '') or 'not a text'}") from None


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
