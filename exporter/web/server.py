"""The HTTP server of the sidecar: its listener and its threads.

Two threads own the sockets, and neither waits for a query. One accepts connections and answers health checks, see
`acceptor`; the other has an event loop for all other requests. With TLS a third one makes handshakes, see `handshakes`.
What takes time runs in worker threads: one for scrapes, one for lists that may wait for Redis, and one for the rest.

The way of a request: `acceptor` (`handshakes`), `admission`, `connections`, `routes`, `scrapes` or `views`, `sending`.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import web

from exporter.runtime.threads import Start, start
from exporter.web.acceptor import Acceptor
from exporter.web.connections import Connections
from exporter.web.heads import HealthCheck
from exporter.web.hosts import Access, network_of
from exporter.web.interface import Lifecycle, Queries, WebMetrics
from exporter.web.limits import ClientLimits
from exporter.web.push_paths import PushPaths
from exporter.web.responses import CompleteResponse, Response, text_response
from exporter.web.risk import Risk
from exporter.web.routes import Routes, path_of
from exporter.web.sending import Sender
from exporter.web.sockets import listen
from exporter.web.streams import EventStream
from exporter.web.throttle import ThrottledSelector

if TYPE_CHECKING:
    from exporter.web.config_file import WebConfigFile
    from exporter.web.handshakes import Handshakes
    from exporter.web.protection import Protection

STOP_SECONDS = 2.0
STALLED_SECONDS = 30.0
# After these statuses a body or further requests may follow; none of it is read.
CLOSING = {400, 401, 403, 405, 408, 413, 421, 431, 505}


class WebServer:
    """HTTP server of `queries`. `host` "" means all interfaces, `port` 0 any free port.

    With `only_programs` there is nothing but metrics, health and the view of programs; with `pages` nothing but those,
    metrics, health and the configuration.
    """

    def __init__(
        self,
        queries: Queries,
        host: str,
        port: int,
        telemetry_path: str,
        *,
        metrics: WebMetrics,
        limits: ClientLimits = ClientLimits(),  # noqa: B008 - frozen
        access: Access = Access(),  # noqa: B008 - frozen
        web_file: WebConfigFile | None = None,
        lifecycle: Lifecycle | None = None,
        pushes: PushPaths | None = None,
        start_thread: Start = start,
        only_programs: bool = False,
        pages: Mapping[str, Callable[[], Response]] | None = None,
        risk: Risk | None = None,
    ) -> None:
        self._address = host, port
        self._routes = Routes(
            queries,
            pushes or PushPaths(telemetry_path),
            metrics=metrics,
            access=access,
            tick_seconds=limits.tick_seconds,
            lifecycle=lifecycle,
            only_programs=only_programs,
            pages=pages,
            risk=risk,
        )
        self._metrics = metrics
        self._web_file = web_file
        self._limits = limits
        self._start_thread = start_thread
        self._threads: list[threading.Thread] = []

    def start(self) -> int:
        """Listen and serve in threads of the server; return the port, raise ListenError."""
        listener = listen(*self._address)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = self._limits if descriptors == resource.RLIM_INFINITY else self._limits.within(descriptors)
        port: int = listener.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop(ThrottledSelector())
        self._stopping = asyncio.Event()
        has_tls = self._protection is not None and self._protection.tls is not None
        self._connections = Connections(
            self._loop,
            self._handle,
            limits.with_tls() if has_tls else limits,
            self._metrics.evicted,
            self._metrics.answered,
            has_tls=has_tls,
        )
        self._sender = Sender(self._connections)
        self._handshakes = self._create_handshakes(limits)
        self._acceptor = Acceptor(
            listener,
            limits,
            self._routes.health_paths,
            check=self._check,
            hand_over=(self._handshakes or self._connections.queue).hand_over,
            on_exhausted=self._close_some,
            on_response=self._metrics.answered,
            on_eviction=self._metrics.evicted,
            has_tls=self._handshakes is not None,
        )
        for name, run in (("web", self._run), ("web-accept", self._acceptor.run)):
            self._threads.append(self._start_thread(name, run))
        if self._handshakes is not None:
            self._threads.append(self._start_thread("web-tls", self._handshakes.run))
        if self._web_file is not None:
            self._web_file.start(self._start_thread)
        return port

    def _create_handshakes(self, limits: ClientLimits) -> Handshakes | None:
        if (file := self._web_file) is None or (tls := file.protection.tls) is None:
            return None
        # Loaded when it is needed, as everything that a web configuration file asks for.
        from exporter.web.handshakes import Handshakes

        return Handshakes(
            limits.with_tls(),
            self._routes.health_paths,
            tls=lambda: file.protection.tls or tls,
            check=self._check,
            queue=self._connections.queue.hand_over,
            on_response=self._metrics.answered,
            on_eviction=self._metrics.evicted,
            on_failure=file.count_failure,
        )

    @property
    def _protection(self) -> Protection | None:
        return None if self._web_file is None else self._web_file.protection

    def _close_some(self) -> None:
        """Close some connections soon; callable from any thread."""
        self._connections.close_some()
        if self._handshakes is not None:
            self._handshakes.close_some()

    def allow(self, access: Access) -> None:
        """Put other access rules in force; callable from any thread."""
        self._routes.access = access

    def stop(self, deadline_seconds: float = STOP_SECONDS) -> None:
        """Close all connections and end the threads, whatever clients do; a query that hangs is abandoned."""
        if not self._threads:
            return
        deadline = monotonic() + deadline_seconds
        serving, *others = self._threads
        self._acceptor.stop()
        if self._handshakes is not None:
            self._handshakes.stop()
        for thread in others:
            thread.join(max(0.0, deadline - monotonic()))
        if serving.is_alive():
            with suppress(RuntimeError):  # the thread has died, and its loop is closed
                self._loop.call_soon_threadsafe(self._stopping.set)
            serving.join(max(0.0, deadline - monotonic()))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        sweeping = asyncio.create_task(self._connections.sweep())
        await self._stopping.wait()
        sweeping.cancel()
        self._connections.abort()
        await self._connections.shutdown(timeout=STOP_SECONDS / 4)
        self._routes.close()
        if self._web_file is not None:
            self._web_file.stop()

    def _check(self, check: HealthCheck) -> CompleteResponse | None:
        """Return the response to a health check, in any thread; None if its password must be checked first.

        A stalled event loop is not healthy.
        """
        protection = self._protection
        if protection is not None and not protection.admits(check.authorization):
            return None
        stalled = monotonic() - self._connections.turned_at
        if stalled > STALLED_SECONDS:
            return text_response(f"the HTTP server has answered no other request for {stalled:.0f} s", 503)
        response = self._routes.check(check.path, check.host)
        more = {} if protection is None else protection.headers
        return response._replace(headers={**response.headers, **more})

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._connections.serving(request):
            await self._connections.take_turn(request)
            protection = self._protection
            response = await (self._protected(request, protection) if protection else self._routes.respond(request))
            if isinstance(response, EventStream) and not self._sender.has_room_for_stream:
                response = text_response("too many streams are open, retry later", 503)
            self._metrics.answered(response.status)
            stream = web.StreamResponse(status=response.status, headers=response.headers)
            # A proxy may take another length for that of a body, so nothing behind one is read as a request.
            if response.status in CLOSING or request.body_exists or self._connections.is_crowded:
                stream.force_close()
            if isinstance(response, EventStream):
                await self._sender.stream(request, stream, response.messages)
            else:
                await self._sender.send(request, stream, response)
        return stream

    async def _protected(self, request: web.BaseRequest, protection: Protection) -> CompleteResponse | EventStream:
        """Return the response as the web configuration file asks for."""
        authorization, network = request.headers.get("Authorization", ""), network_of(request.remote or "")
        # A health check that the rate limit refuses would make a supervisor restart the process.
        is_limited = path_of(request) not in self._routes.health_paths
        refusal = await protection.refusal(authorization, network, is_limited=is_limited)
        response = refusal or await self._routes.respond(request)
        return response._replace(headers={**response.headers, **protection.headers})
