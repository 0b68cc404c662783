"""The HTTP side of the sidecar: its listener, its threads, their start and end.

Two threads own the sockets, and neither waits for a view. One accepts connections and answers health checks, see
`acceptor`; the other has an event loop for everything else, see `connections` and `routes`. What takes time is made in
worker threads: one for scrapes, one for lists that may have to wait for Redis, and one for the rest.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from contextlib import suppress
from time import monotonic

from aiohttp import web

from exporter.runtime.threads import Start, start
from exporter.web.acceptor import Acceptor
from exporter.web.connections import Connections
from exporter.web.heads import Check
from exporter.web.hosts import Access
from exporter.web.interface import Queries, WebMetrics
from exporter.web.limits import ClientLimits
from exporter.web.pacing import PacedSelector
from exporter.web.responses import Settled, short
from exporter.web.routes import Routes
from exporter.web.sockets import listen

STOP_SECONDS = 2.0
STALLED_SECONDS = 30.0
# Whoever sends such requests may have sent a body as well, or more of them; none of it is read.
CLOSING = {400, 403, 405, 421, 431, 505}


class WebServer:
    """Serves `queries`. `host` "" means all interfaces, `port` 0 any port."""

    def __init__(
        self,
        queries: Queries,
        host: str,
        port: int,
        telemetry_path: str,
        *,
        version: str,
        metrics: WebMetrics,
        limits: ClientLimits = ClientLimits(),  # noqa: B008 - frozen
        access: Access = Access(),  # noqa: B008 - frozen
        start_thread: Start = start,
    ) -> None:
        self._address = host, port
        self._routes = Routes(queries, telemetry_path, version=version, metrics=metrics, access=access)
        self._metrics = metrics
        self._limits = limits
        self._start_thread = start_thread
        self._threads: list[threading.Thread] = []

    def start(self) -> int:
        """Listen and serve, in threads of its own; returns the port. ListenError when that cannot be."""
        listener = listen(*self._address)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = self._limits if descriptors == resource.RLIM_INFINITY else self._limits.within(descriptors)
        port: int = listener.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop(PacedSelector())
        self._stopping = asyncio.Event()
        self._connections = Connections(self._loop, self._handle, limits, self._metrics.evicted, self._metrics.answered)
        self._acceptor = Acceptor(
            listener,
            limits,
            self._routes.health_paths,
            check=self._check,
            hand_over=self._connections.admission.hand_over,
            relieve=self._connections.relieve,
            on_answer=self._metrics.answered,
            on_eviction=self._metrics.evicted,
        )
        for name, run in (("web", self._run), ("web-accept", self._acceptor.run)):
            self._threads.append(self._start_thread(name, run))
        return port

    def stop(self, deadline_seconds: float = STOP_SECONDS) -> None:
        """Close all connections and end the threads, whatever clients do; a view that hangs is left behind."""
        if not self._threads:
            return
        deadline = monotonic() + deadline_seconds
        serving, accepting = self._threads
        self._acceptor.stop()
        accepting.join(deadline_seconds)
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

    def _check(self, check: Check) -> Settled:
        """Answer a health check in the acceptor's thread; a server that does not get on is not healthy either."""
        still = monotonic() - self._connections.turned_at
        if still > STALLED_SECONDS:
            return short(f"no other request was answered for {still:.0f} s", 503)
        return self._routes.check(check.path, check.host)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._connections.serving(request):
            await self._connections.turn()
            answer = await self._routes.answer(request)
            self._metrics.answered(answer.status)
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            if answer.status in CLOSING:
                response.force_close()
            await self._connections.send(request, response, answer)
        return response
