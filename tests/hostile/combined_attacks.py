"""All at the same time, on a sidecar with TLS, passwords, streams and reloads."""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from http.client import HTTPConnection, HTTPSConnection

from tests.hostile.attack import Attack, Run, Target
from tests.hostile.door_attacks import LIFECYCLE, STREAM
from tests.hostile.http_attacks import HEAD, HOST, _at_once, _hammer, _hold
from tests.hostile.tls_attacks import _trusting, half_handshakes, silent_handshakes, wrong_passwords
from tests.support.webfile import PASSWORD, USER

LOGIN = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
LOGGED_IN = f"Authorization: {LOGIN}\r\n\r\n".encode()


def encrypted_slow_readers(target: Target, until: float) -> None:
    """Clients with the right password that read a few bytes of a page."""
    _held(target, until, HEAD + b"Accept-Encoding: identity\r\n" + LOGGED_IN, 64)


def encrypted_slow_writers(target: Target, until: float) -> None:
    """Clients whose request never comes to an end."""
    _hold(target, until, HEAD, lambda client: client.send(b"X: y\r\n"), wrap=_trusting().wrap_socket)


def encrypted_streams(target: Target, until: float) -> None:
    """Clients with the right password that read a few bytes of a stream."""
    _held(target, until, STREAM + LOGGED_IN, 64)


def encrypted_reloads(target: Target, until: float) -> None:
    """Reloads by clients with the right password."""
    _hammer(target, until, "/-/reload", "POST", {"Authorization": LOGIN}, _connect)


def everything_at_once(target: Target, until: float) -> None:
    """All of these, and half-open, silent and repeated handshakes with wrong passwords."""
    _at_once(partial(attack, target, until) for attack in (*PARTS, *HANDSHAKES))


PARTS: tuple[Run, ...] = (encrypted_slow_readers, encrypted_slow_writers, encrypted_streams, encrypted_reloads)
HANDSHAKES: tuple[Run, ...] = (half_handshakes, silent_handshakes, wrong_passwords)
ATTACKS = {run.__name__.replace("_", " "): Attack(run, settings=LIFECYCLE) for run in (*PARTS, everything_at_once)}


def _connect(target: Target) -> HTTPConnection:
    return HTTPSConnection(HOST, target.port, timeout=10, context=_trusting())


def _held(target: Target, until: float, request: bytes, size: int) -> None:
    _hold(target, until, request, lambda client: client.recv(size), wrap=_trusting().wrap_socket)
