"""Attacks on streams and on the paths that change a sidecar."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from functools import partial
from itertools import count

from tests.hostile.attack import UNREAD, Attack, Run, Target, named
from tests.hostile.http_attacks import (
    HAMMERS,
    _at_once,
    _connection,
    _hammer,
    _hold,
    bursts_of_requests,
    half_requests,
    hammered_metrics,
    new_connections,
    pipelined_requests,
    slow_readers,
)

STREAM = b"GET /api/v1/stream?events=all HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
FOREIGN = {"Host": "rebound.example", "Origin": "http://rebound.example", "Sec-Fetch-Site": "same-origin"}
LIFECYCLE = {"web.enable_lifecycle": True}


def unread_streams(target: Target, until: float) -> None:
    """Clients that ask for a stream again and again and never read."""
    request = STREAM + b"\r\n"
    _hold(target, until, request, lambda client: client.send(request))


def more_streams_than_there_are(target: Target, until: float) -> None:
    """Clients that read their streams; nearly all of them get none."""
    _hold(target, until, STREAM + b"\r\n", lambda client: client.recv(1 << 20))


def streams_that_reconnect(target: Target, until: float) -> None:
    """A stream, and after its first bytes another one that wants what it missed, from several threads."""
    numbers = count()

    def go_on() -> None:
        while time.monotonic() < until:
            with suppress(OSError), _connection(target) as client:
                client.sendall(STREAM + b"Last-Event-ID: x.%d\r\n\r\n" % next(numbers))
                client.recv(65536)

    _at_once([go_on] * HAMMERS)


def hammered_reloads(target: Target, until: float) -> None:
    """`POST /-/reload` from several clients at once, again and again."""
    _hammer(target, until, "/-/reload", "POST")


def hammered_log_levels(target: Target, until: float) -> None:
    """`PUT /-/log-level` likewise, back and forth."""
    paths = (f"/-/log-level?level={level}" for level in ("debug", "info"))
    _at_once(partial(_hammer, target, until, path, "PUT") for path in paths)


def reloads_from_another_site(target: Target, until: float) -> None:
    """The same by a page under a name that resolves to the sidecar."""
    _hammer(target, until, "/-/reload", "POST", FOREIGN)


def bodies_without_end(target: Target, until: float) -> None:
    """Requests to reload, whose bodies come one byte at a time."""
    _hold(target, until, BODY, _send_little)


def everything_in_the_clear(target: Target, until: float) -> None:
    """Whatever holds connections or turns, at the same time."""
    _at_once(partial(attack, target, until) for attack in PARTS)


PARTS: tuple[Run, ...] = (
    slow_readers, half_requests, bursts_of_requests, pipelined_requests, hammered_metrics, new_connections,
    unread_streams, bodies_without_end,
)  # fmt: skip
ATTACKS = named((unread_streams, more_streams_than_there_are, streams_that_reconnect)) | {
    name: attack._replace(settings=LIFECYCLE)
    for name, attack in {
        **named((hammered_reloads, hammered_log_levels, reloads_from_another_site, bodies_without_end)),
        **named((everything_in_the_clear,)),
        "hammered log levels, stderr unread": Attack(hammered_log_levels, UNREAD),
    }.items()
}


def _send_little(client: socket.socket) -> None:
    """Send a byte, and drop what was answered."""
    client.send(b"x")
    with suppress(BlockingIOError):
        if not client.recv(4096):
            raise ConnectionResetError
