"""Where the server listens, and its open connections: how many, how long and how much memory they may hold.

Nobody is refused. Who comes when a limit is reached takes the place of another: of those that had a second or more
for what they want, and of these, of one that has not sent a request. So clients that are slow, silent or hostile lose
to those that send a request and read the answer. Everything here belongs to the thread of the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from ipaddress import IPv6Address
from typing import NamedTuple

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

SWEEP_SECONDS = 0.5
CHUNK_BYTES = 64 * 1024
WAITING_MAX = 512
# asyncio accepts this many before it reads from any of them, so that they must be fewer than may be open.
ACCEPTED_MAX = 64
YOUNG_SECONDS = 1.0
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Limits(NamedTuple):
    """How much clients may have of the server."""

    connections: int = 512
    request_seconds: float = 10.0
    reply_seconds: float = 30.0
    idle_seconds: float = 15.0
    # What large answers that are on their way may hold; one that is larger than this goes out alone.
    bodies_bytes: int = 64 * 1024 * 1024


class ListenError(OSError):
    """The address cannot be listened on: it is in use, not ours, or not allowed."""


class Eviction(StrEnum):
    """Why a connection was closed before its time; a closed set."""

    CONNECTIONS = "connections"
    MEMORY = "memory"
    SLOW = "slow"


class Connection:
    """One client. `body` is the large answer it is reading."""

    __slots__ = ("body", "deadline", "is_served", "since", "transport")

    def __init__(self, transport: asyncio.Transport, now: float, deadline: float) -> None:
        self.transport = transport
        self.is_served = False
        self.since = now
        self.deadline = deadline
        self.body = b""


class Connections(web.Server):
    """aiohttp's server with limits; `on_eviction` is called for each connection that is closed for breaking one."""

    def __init__(self, handler: Handler, limits: Limits, on_eviction: Callable[[Eviction], None]) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            keepalive_timeout=limits.idle_seconds,
            # A body that nobody asked for is not waited for.
            lingering_time=0,
            access_log=None,
            # A logger of its own that says nothing: what aiohttp would log is garbage that clients sent.
            logger=logging.Logger("aiohttp", logging.CRITICAL + 1),
        )
        self._limits = limits
        self._on_eviction = on_eviction
        self._open: dict[RequestHandler, Connection] = {}
        self._clock = asyncio.get_running_loop().time
        self._is_closing = False

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        if len(self._open) >= self._limits.connections:
            self._evict(min(self._open, key=self._merit), Eviction.CONNECTIONS)
        now = self._clock()
        self._open[handler] = Connection(transport, now, now + self._limits.request_seconds)
        super().connection_made(handler, transport)
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)

    @contextmanager
    def serving(self, request: web.BaseRequest) -> Iterator[None]:
        """The request has been read; within this its answer is made and sent."""
        connection = self._open.get(request.protocol)
        if connection is None:
            raise ConnectionResetError("the client has gone")
        connection.is_served = True
        connection.since = self._clock()
        connection.deadline = connection.since + self._limits.reply_seconds
        try:
            yield
        finally:
            connection.is_served = False
            connection.body = b""
            connection.since = self._clock()
            # aiohttp closes an idle connection sooner than this; this one is for what it cannot close.
            connection.deadline = connection.since + 2 * self._limits.idle_seconds

    async def send(self, request: web.BaseRequest, response: web.StreamResponse, body: bytes) -> None:
        """Send an answer, in chunks: to a client that does not read, the transport holds one or two of them."""
        if len(body) > CHUNK_BYTES:
            self._make_room(request.protocol, body)
        response.content_length = len(body)
        await response.prepare(request)
        if request.method != "HEAD":
            view = memoryview(body)
            for start in range(0, len(body), CHUNK_BYTES):
                await response.write(view[start : start + CHUNK_BYTES])
        await response.write_eof()

    async def accept(self, listener: socket.socket) -> asyncio.Server:
        """Begin to serve those who connect to a socket."""
        server = await asyncio.get_running_loop().create_server(self, sock=listener, backlog=ACCEPTED_MAX)
        # The same number is the length of the kernel's queue, which may be longer.
        listener.listen(WAITING_MAX)
        return server

    async def sweep(self) -> None:
        """Close, for ever, connections that took too long."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._clock()
            for handler in [each for each, connection in self._open.items() if connection.deadline < now]:
                self._evict(handler, Eviction.SLOW)

    def abort(self) -> None:
        """Close all connections, and those that are only just coming, without waiting for their clients."""
        self._is_closing = True
        for connection in self._open.values():
            connection.transport.abort()

    def _make_room(self, handler: RequestHandler, body: bytes) -> None:
        """Close those that read the oldest answers until the different answers on their way fit into memory."""
        self._open[handler].body = body
        readers = sorted((each for each in self._open if self._open[each].body), key=self._merit)
        for reader in readers:
            bodies = {id(connection.body): len(connection.body) for connection in self._open.values()}
            if sum(bodies.values()) <= self._limits.bodies_bytes:
                return
            if reader is not handler:
                self._evict(reader, Eviction.MEMORY)

    def _merit(self, handler: RequestHandler) -> tuple[bool, bool, float]:
        connection = self._open[handler]
        is_young = self._clock() - connection.since < YOUNG_SECONDS
        return is_young, connection.is_served, connection.since

    def _evict(self, handler: RequestHandler, why: Eviction) -> None:
        connection = self._open.pop(handler)
        connection.body = b""
        connection.deadline = math.inf
        connection.transport.abort()
        self._on_eviction(why)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ListenError names the address.

    An empty host and the unspecified address of IPv6 are all interfaces, by IPv6 and IPv4; by IPv4 where the machine
    has no IPv6. Of a name with several addresses, it is one of IPv4.
    """
    try:
        return _everywhere(port) if not host or _is_unspecified(host) else _at(host, port)
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host
        raise ListenError(f"cannot listen on {shown}:{port}: {error.strerror or error}") from error


def _is_unspecified(host: str) -> bool:
    """Whether this is `::`, however it is written."""
    try:
        return IPv6Address(host).is_unspecified
    except ValueError:
        return False


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=WAITING_MAX, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise
    return socket.create_server(("", port), backlog=WAITING_MAX)


def _at(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    # Of an address with a zone, the zone is a part.
    return socket.create_server(address, family=family, backlog=WAITING_MAX)
