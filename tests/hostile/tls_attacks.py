"""Attacks on TLS and passwords."""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from tests.hostile.attack import Target, named
from tests.hostile.http_attacks import HAMMERS, HEAD, HOST, _at_once, _connection, _hold


def silent_handshakes(target: Target, until: float) -> None:
    """Connections that say nothing."""
    _hold(target, until, b"", lambda client: client.recv(64))


def half_handshakes(target: Target, until: float) -> None:
    """Connections that begin a handshake and never go on."""
    _hold(target, until, _first_message(), lambda client: client.recv(64))


def new_handshakes(target: Target, until: float) -> None:
    """Whole handshakes, one after the other from several threads, without a request."""
    _from_threads(target, until, lambda client: client.version())


def broken_handshakes(target: Target, until: float) -> None:
    """First messages with another byte changed in each."""
    first = _first_message()
    for number in count():
        if time.monotonic() > until:
            return
        broken = bytearray(first)
        broken[5 + number % (len(broken) - 5)] ^= 1 + number % 255
        with suppress(OSError), _connection(target) as client:
            client.sendall(broken)
            client.recv(64)


def wrong_passwords(target: Target, until: float) -> None:
    """A new password with each request, from several threads."""
    numbers = count()

    def ask(client: ssl.SSLSocket) -> None:
        while time.monotonic() < until:
            login = b64encode(b"prometheus:%d" % next(numbers))
            client.sendall(HEAD + b"Authorization: Basic " + login + b"\r\n\r\n")
            if not client.recv(65536):
                return

    _from_threads(target, until, ask)


ATTACKS = named((silent_handshakes, half_handshakes, new_handshakes, broken_handshakes, wrong_passwords))


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first_message() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        _trusting().wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    return outgoing.read()


def _from_threads(target: Target, until: float, use: Callable[[ssl.SSLSocket], object]) -> None:
    """Use new connections without a pause."""

    def go_on() -> None:
        context = _trusting()
        while time.monotonic() < until:
            with suppress(OSError), _connection(target) as plain, context.wrap_socket(plain) as client:
                use(client)

    _at_once([go_on] * HAMMERS)
