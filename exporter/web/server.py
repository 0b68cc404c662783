"""What the sidecar says over HTTP: metrics, health, a page for people and JSON for programs; GET and HEAD only.

A thread with an event loop of its own owns the sockets. It never waits for a view: what takes time is made in one of
two worker threads, one for scrapes and one for everything else, so that neither Redis nor a reader of the page can
hold up a scrape.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Protocol

import orjson
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Summary

from exporter.metrics.exposition import OPENMETRICS, TEXT, AnyFamily, accepts_gzip, negotiate, render, select
from exporter.model import FeedKey, Status, Unavailable
from exporter.threads import Start, start
from exporter.web.answers import Answer, Scrapes, Selection, answered, failed
from exporter.web.connections import Connections, Eviction, Limits, listen
from exporter.web.page import page, static

NAMES_MAX = 100
STOP_SECONDS = 2.0
METHODS = ("GET", "HEAD")
HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JSON = "application/json"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "marketdata-exporter",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class Views(Protocol):
    """What there is to show. All but `healthy` and `ready`, which must return at once, run in worker threads."""

    def collect(self) -> Iterable[AnyFamily]:
        """The families of a scrape, from memory."""

    def healthy(self) -> Status:
        """Whether the process works."""

    def ready(self) -> Status:
        """Whether it does what it is for."""

    def config(self) -> Mapping[str, object]:
        """The configuration, without secrets."""

    def feeds(self) -> list[dict[str, object]]:
        """A row a feed. The page shows `region`, `exchange`, `request_type`, `batches`, `messages`, `last_batch_size`,
        `last_batch_unique_symbols`, `last_batch_cache_efficiency` and `last_received_ms`; what is unknown is absent.
        """

    def symbols(self, feed: FeedKey | None) -> list[dict[str, object]]:
        """A row a symbol, of one feed or of all; may wait for Redis, and raise Unavailable."""

    def distinct(self, feed: FeedKey) -> int | None:
        """About how many symbols a feed had lately over all replicas, if anybody knows; as `symbols`."""


class WebMetrics:
    """What the server measures of itself.

    Rendering is a summary, sum and count: a mean over time comes out of it, without the series of a histogram.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.render_seconds = Summary(
            "marketdata_exporter_scrape_render_seconds", "Time to make a page of metrics.", registry=registry
        )
        self.responses = Counter(
            "marketdata_exporter_http_responses", "Answers to HTTP requests, by status.", ["code"], registry=registry
        )
        self.evictions = Counter(
            "marketdata_exporter_http_evictions",
            "HTTP connections closed because they were slow, or to make room for new ones.",
            ["reason"],
            registry=registry,
        )
        for code in (200, 400, 404, 405, 500, 503):
            self.responses.labels(code)
        for reason in Eviction:
            self.evictions.labels(reason)


class WebServer:
    """The HTTP side of the sidecar. `host` "" means all interfaces, `port` 0 any port."""

    def __init__(
        self,
        views: Views,
        host: str,
        port: int,
        telemetry_path: str,
        *,
        version: str,
        metrics: WebMetrics,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        start_thread: Start = start,
    ) -> None:
        self._views = views
        self._address = host, port
        self._telemetry_path = telemetry_path
        self._version = version
        self._metrics = metrics
        self._limits = limits
        self._start_thread = start_thread
        self._template = static("page.html")
        self._style = Answer(static("style.css").encode(), CSS)
        self._reader = ThreadPoolExecutor(1, "web-read")
        self._routes: dict[str, Callable[[web.BaseRequest], Awaitable[Answer]]] = {
            "/": self._get_page,
            "/-/healthy": self._get_healthy,
            "/-/ready": self._get_ready,
            "/config": self._get_config,
            "/api/v1/feeds": self._get_feeds,
            "/api/v1/symbols": self._get_symbols,
            "/static/style.css": self._get_style,
            telemetry_path: self._get_metrics,
        }
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and serve, in a thread of its own; returns the port. ListenError when that cannot be."""
        listener = listen(*self._address)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = self._start_thread("web", lambda: self._run(listener))
        port: int = listener.getsockname()[1]
        return port

    def stop(self, deadline_seconds: float = STOP_SECONDS) -> None:
        """Close all connections and end the thread, whatever clients do; a view that hangs is left behind."""
        if self._thread is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the thread has died, and its loop is closed
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(deadline_seconds)

    def _run(self, listener: socket.socket) -> None:
        with listener, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        self._scrapes = Scrapes(self._telemetry_path, self._metrics_page)
        self._connections = Connections(self._handle, self._limits, self._count_eviction)
        server = await self._connections.accept(listener)
        sweeping = asyncio.create_task(self._connections.sweep())
        await self._stopping.wait()
        server.close()
        sweeping.cancel()
        self._connections.abort()
        await self._connections.shutdown(timeout=STOP_SECONDS / 4)
        self._scrapes.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _count_eviction(self, why: Eviction) -> None:
        self._metrics.evictions.labels(why).inc()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._connections.serving(request):
            answer = await self._answer(request)
            self._metrics.responses.labels(answer.status).inc()
            headers = {**HEADERS, **answer.headers, "Content-Type": answer.content_type}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await self._connections.send(request, response, answer.body)
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer:
        route = self._routes.get(request.path)
        if route is None:
            return Answer(b"not found\n", status=404)
        if request.method not in METHODS:
            return Answer(b"method not allowed\n", status=405, headers={"Allow": ", ".join(METHODS)})
        try:
            return await route(request)
        except Exception as error:
            return failed(request.path, error)

    async def _read(self, request: web.BaseRequest, make: Callable[[], Answer]) -> Answer:
        return await self._loop.run_in_executor(self._reader, answered, request.path, make, _wants_gzip(request))

    async def _get_metrics(self, request: web.BaseRequest) -> Answer:
        names = request.query.getall("name[]", [])
        if len(names) > NAMES_MAX:
            return Answer(b"at most %d names can be chosen\n" % NAMES_MAX, status=400)
        format = negotiate(_header(request, "Accept"))
        # Versions of text and escapings differ in their label only.
        made = OPENMETRICS if format.is_openmetrics else TEXT
        selection = Selection(made, tuple(sorted(set(names))), _wants_gzip(request))
        answer = await self._scrapes.page(selection)
        return answer._replace(content_type=format.content_type) if answer.status == 200 else answer

    def _metrics_page(self, selection: Selection) -> Answer:
        begin = perf_counter()
        families = self._views.collect()
        if selection.names:
            families = select(families, selection.names)
        body = render(families, selection.format)
        self._metrics.render_seconds.observe(perf_counter() - begin)
        return Answer(body)

    async def _get_page(self, request: web.BaseRequest) -> Answer:
        return await self._read(request, self._page)

    def _page(self) -> Answer:
        links = [path for path in sorted(self._routes) if path not in ("/", "/static/style.css")]
        states = {"ready": self._views.ready(), "healthy": self._views.healthy()}
        text = page(self._template, self._version, links, states, self._views.feeds())
        return Answer(text.encode("utf-8", "replace"), HTML)

    async def _get_healthy(self, request: web.BaseRequest) -> Answer:
        return answered(request.path, lambda: _status_answer(self._views.healthy()))

    async def _get_ready(self, request: web.BaseRequest) -> Answer:
        return answered(request.path, lambda: _status_answer(self._views.ready()))

    async def _get_config(self, request: web.BaseRequest) -> Answer:
        return await self._read(request, self._config)

    def _config(self) -> Answer:
        return Answer(yaml.safe_dump(dict(self._views.config()), allow_unicode=True, sort_keys=False).encode())

    async def _get_feeds(self, request: web.BaseRequest) -> Answer:
        return await self._read(request, lambda: _data(self._views.feeds()))

    async def _get_symbols(self, request: web.BaseRequest) -> Answer:
        text = request.query.get("feed")
        parts = text.split(":") if text is not None else []
        if text is not None and (len(parts) != len(FeedKey._fields) or not all(parts)):
            error = {"status": "error", "error": "feed must be region:exchange:request_type"}
            return Answer(orjson.dumps(error), JSON, status=400)
        feed = FeedKey(*parts) if parts else None
        return await self._read(request, lambda: self._symbols(feed))

    def _symbols(self, feed: FeedKey | None) -> Answer:
        try:
            more = {} if feed is None else {"distinct": self._views.distinct(feed)}
            return _data(self._views.symbols(feed), **more)
        except Unavailable as error:
            return Answer(orjson.dumps({"status": "error", "error": str(error)}), JSON, status=503)

    async def _get_style(self, request: web.BaseRequest) -> Answer:
        return self._style.gzipped() if _wants_gzip(request) else self._style


def _data(rows: list[dict[str, object]], **more: object) -> Answer:
    return Answer(orjson.dumps({"status": "success", "data": rows, **more}), JSON)


def _status_answer(status: Status) -> Answer:
    said = "ready; warning" if status.ok else "warning"
    reasons = status.reasons or (() if status.warnings else ("ok",) if status.ok else ("failing",))
    lines = (*reasons, *(f"{said}: {warning}" for warning in status.warnings))
    return Answer("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"), status=200 if status.ok else 503)


def _header(request: web.BaseRequest, name: str) -> str:
    return ",".join(request.headers.getall(name, []))


def _wants_gzip(request: web.BaseRequest) -> bool:
    return accepts_gzip(_header(request, "Accept-Encoding"))
