"""The response to each request: paths, methods, headers and parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter

import orjson
import yaml
from aiohttp import web

from exporter.instrument import protobuf
from exporter.instrument.exposition import OPENMETRICS, PROTOBUF, TEXT, AnyFamily, Format, pieces, select
from exporter.model import Status
from exporter.runtime.foreign_text import printable
from exporter.store.store import StoreUnavailable
from exporter.web.heads import HEAD_BYTES_MAX, HEAD_TOO_LARGE
from exporter.web.hosts import Access
from exporter.web.interface import CursorError, Lifecycle, Queries, Row, WebMetrics
from exporter.web.lifecycle import METHODS as LIFECYCLE_METHODS
from exporter.web.lifecycle import LifecycleRoutes
from exporter.web.negotiation import accepts_gzip, negotiate
from exporter.web.parameters import (
    ParameterError,
    SymbolQuery,
    event_types,
    feed_key,
    feed_keys,
    is_foreign,
    symbol_query,
)
from exporter.web.push_paths import PushPaths
from exporter.web.responses import (
    HEADERS,
    CompleteResponse,
    Response,
    complete,
    error_response,
    response_or_error,
    text_response,
)
from exporter.web.risk import READY, ROWS, Risk
from exporter.web.shared_responses import Reuse, SharedResponses
from exporter.web.static_files import PROGRAMS, SHELL, StaticFiles, is_view
from exporter.web.streams import CONTENT_TYPE, Broadcast, EventStream

NAMES_MAX = 100
PARAMETERS_MAX = 200
STATIC = "/static/"
METHODS = ("GET", "HEAD")
VERSIONS = ((1, 0), (1, 1))
JSON = "application/json"
HOST_REFUSED = "the host of the request is not in web.allowed_hosts"
# Requests for metrics without a pause take half of a thread, other requests a fifth.
SCRAPES = Reuse(ratio=1, seconds_min=0.1)
OTHERS = Reuse(ratio=4)

Route = Callable[[web.BaseRequest], Awaitable[CompleteResponse | EventStream]]


class Routes:
    """Table of paths; responds to requests in the thread of the event loop, and to health checks in any."""

    def __init__(
        self,
        queries: Queries,
        pushes: PushPaths,
        *,
        metrics: WebMetrics,
        access: Access,
        tick_seconds: float,
        lifecycle: Lifecycle | None = None,
        only_programs: bool = False,
        pages: Mapping[str, Callable[[], Response]] | None = None,
        risk: Risk | None = None,
    ) -> None:
        self._queries = queries
        self._metrics = metrics
        self.access = access
        self._lifecycle = None if lifecycle is None else LifecycleRoutes(lifecycle, risk)
        self._pushes = pushes
        self._static = StaticFiles()
        self._scrapes = SharedResponses("web-scrape", SCRAPES)
        self._reads = SharedResponses("web-read", OTHERS)
        # These may wait for Redis.
        self._lists = SharedResponses("web-list", OTHERS)
        self._views = SharedResponses("web-view", OTHERS)
        self._broadcast = Broadcast(queries.watch, tick_seconds)
        self._health: dict[str, Callable[[], Status]] = {"/-/healthy": queries.healthy, "/-/ready": queries.ready}
        self._routes: dict[str, Route] = {
            "/config": self._get_config,
            "/api/v1/feed": self._get_feed,
            "/api/v1/feeds": self._get_feeds,
            "/api/v1/history": self._get_history,
            "/api/v1/ingestion": self._get_ingestion,
            "/api/v1/programs": self._get_programs,
            "/api/v1/status": self._get_status,
            "/api/v1/stream": self._get_stream,
            "/api/v1/symbols": self._get_symbols,
            pushes.telemetry_path: self._get_metrics,
        }
        if risk is not None:
            self._routes[ROWS] = partial(self._read, make=lambda: self._view(risk.rows()))
            self._health[READY] = risk.ready
        self._is_view = is_view
        if only_programs:
            kept = ("/api/v1/programs", "/api/v1/stream", pushes.telemetry_path)
            self._routes = {"/": self._go_to_programs, **{path: self._routes[path] for path in kept}}
            self._is_view = lambda path: path.startswith(PROGRAMS) and is_view(path)
        if pages is not None:
            own: dict[str, Route] = {path: partial(self._read, make=make) for path, make in pages.items()}
            self._routes = own | {path: self._routes[path] for path in ("/config", pushes.telemetry_path)}
            self._is_view = lambda path: False

    @property
    def health_paths(self) -> tuple[str, ...]:
        """The paths of health checks."""
        return tuple(self._health)

    def check(self, path: str, host: str) -> CompleteResponse:
        """Return the response to a health check, at once."""
        if not self.access.allows_host(host):
            return text_response(HOST_REFUSED, 421)
        return response_or_error(path, lambda: _status_answer(self._health[path]()))

    async def respond(self, request: web.BaseRequest) -> CompleteResponse | EventStream:
        """Return the response to a request."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        path = path_of(request)
        if path in self._health:
            return self.check(path, request.host)
        if self._lifecycle is not None and path in LIFECYCLE_METHODS:
            return await self._lifecycle.respond(request, self.access)
        if self._pushes.takes(path):
            return await self._pushes.respond(request, self.access)
        if (route := self._route(path)) is None:
            return text_response("not found", 404)
        try:
            return await route(request)
        except ParameterError as error:
            return complete(_error(str(error), 400))
        except Exception as error:
            return error_response(request.path, error)

    def _route(self, path: str) -> Route | None:
        if path.removeprefix(STATIC) in self._static and path.startswith(STATIC):
            return self._get_file
        return self._get_page if self._is_view(path) else self._routes.get(path)

    def close(self) -> None:
        """Start no further computation, and end all streams."""
        self._broadcast.close()
        self._pushes.close()
        for shared in (self._scrapes, self._reads, self._lists, self._views):
            shared.close()

    def _refusal(self, request: web.BaseRequest) -> CompleteResponse | None:
        """Return the response that refuses a request, None for an acceptable one."""
        if request.version not in VERSIONS:
            return text_response("only HTTP/1.0 and HTTP/1.1 are supported", 505)
        methods = self._methods(path_of(request))
        if request.method not in methods:
            return text_response(f"only {' and '.join(methods)} are allowed", 405, Allow=", ".join(methods))
        if sum(len(name) + len(value) for name, value in request.raw_headers) > HEAD_BYTES_MAX:
            return text_response(HEAD_TOO_LARGE.text, HEAD_TOO_LARGE.status)
        # Both the host of an absolute target, which is decisive, and the header, which proxies may use instead.
        if not all(map(self.access.allows_host, (request.host, _header(request, "Host")))):
            return text_response(HOST_REFUSED, 421)
        if request.rel_url.raw_query_string.count("&") > PARAMETERS_MAX:
            return text_response(f"the query has more than {PARAMETERS_MAX} parameters", 400)
        return None

    def _methods(self, path: str) -> tuple[str, ...]:
        if self._pushes.takes(path):
            return self._pushes.methods
        return METHODS if self._lifecycle is None else LIFECYCLE_METHODS.get(path, METHODS)

    async def _read(
        self, request: web.BaseRequest, make: Callable[[], Response], key: object = None
    ) -> CompleteResponse:
        return await self._reads.get(request.path, (request.path, key), make, _wants_gzip(request))

    async def _get_metrics(self, request: web.BaseRequest) -> CompleteResponse:
        names = request.query.getall("name[]", [])
        if len(names) > NAMES_MAX:
            return text_response(f"more than {NAMES_MAX} families are selected by name[]", 400)
        format = negotiate(_header(request, "Accept"))
        # Versions of the text format and escapings differ in the content type only.
        rendered = PROTOBUF if format.is_protobuf else OPENMETRICS if format.is_openmetrics else TEXT
        selected = tuple(sorted(set(names)))
        make = partial(self._metrics_page, rendered, selected)
        key, gzip = (rendered, selected), _wants_gzip(request)
        response = await self._scrapes.get(request.path, key, make, gzip, is_one_of_many=bool(selected))
        if response.status != 200:
            return response
        return response._replace(headers={**response.headers, "Content-Type": format.content_type})

    def _metrics_page(self, format: Format, names: tuple[str, ...]) -> Response:
        return Response(self._timed(self._metrics_pieces(format, names)))

    def _metrics_pieces(self, format: Format, names: tuple[str, ...]) -> Iterator[bytes]:
        families: Iterable[AnyFamily] = list(self._queries.collect(format.is_protobuf))
        families = select(families, names) if names else families
        page = protobuf.pieces(families) if format.is_protobuf else pieces(families, format)
        yield from self._queries.in_turn(page)

    def _timed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks of a page, and measure the time of rendering them, but not of sending them."""
        seconds = 0.0
        while True:
            begin = perf_counter()
            chunk = next(chunks, None)
            seconds += perf_counter() - begin
            if chunk is None:
                break
            yield chunk
        self._metrics.render_seconds.observe(seconds)

    async def _get_file(self, request: web.BaseRequest) -> CompleteResponse:
        return self._file(request, request.path.removeprefix(STATIC))

    def _file(self, request: web.BaseRequest, name: str) -> CompleteResponse:
        return self._static.get(name, _wants_gzip(request), _header(request, "If-None-Match"))

    async def _get_page(self, request: web.BaseRequest) -> CompleteResponse:
        return self._file(request, SHELL)

    async def _go_to_programs(self, _request: web.BaseRequest) -> CompleteResponse:
        return text_response(PROGRAMS, 302, Location=PROGRAMS)

    async def _get_programs(self, request: web.BaseRequest) -> CompleteResponse:
        program = request.query.get("program")
        return await self._shared(request, program, lambda: self._view(self._queries.programs(program), "program"))

    async def _get_config(self, request: web.BaseRequest) -> CompleteResponse:
        if not self._shows_config(request):
            return text_response("the configuration is not shown to this client, see web.config_page", 403)
        return await self._read(request, self._config)

    def _config(self) -> Response:
        text: str = yaml.safe_dump(dict(self._queries.config()), allow_unicode=True, sort_keys=False)
        return Response([text.encode()])

    def _shows_config(self, request: web.BaseRequest) -> bool:
        return self.access.shows_config(request.remote, request.host, request.headers)

    async def _get_feeds(self, request: web.BaseRequest) -> CompleteResponse:
        return await self._read(request, lambda: Response(_json(self._queries.feeds()), JSON))

    async def _get_symbols(self, request: web.BaseRequest) -> CompleteResponse:
        query = symbol_query(request.query)
        make = partial(self._symbols, query)
        return await self._lists.get(request.path, query, make, _wants_gzip(request), is_one_of_many=True)

    def _symbols(self, query: SymbolQuery) -> Response:
        try:
            rows, after = self._queries.symbols(*query)
            more: Row = {} if query.feed is None else {"distinct": self._queries.distinct(query.feed)}
        except StoreUnavailable as error:
            return _error(printable(f"Redis: {error}"), 503)
        except CursorError as error:
            return _error(str(error), 400)
        return Response(_json(rows, **more, **({"next": after} if after else {})), JSON)

    async def _get_feed(self, request: web.BaseRequest) -> CompleteResponse:
        key = feed_key(request.query.get("feed", ""))
        return await self._shared(request, key, lambda: self._view(self._queries.feed(key)))

    async def _get_history(self, request: web.BaseRequest) -> CompleteResponse:
        keys = feed_keys(request.query.getall("feed", []))
        return await self._shared(request, keys, lambda: self._view(self._queries.history(keys)))

    async def _get_ingestion(self, request: web.BaseRequest) -> CompleteResponse:
        return await self._read(
            request, lambda: self._view(self._queries.ingestion(), "path: ingestion.enabled is off")
        )

    async def _shared(self, request: web.BaseRequest, key: Hashable, make: Callable[[], Response]) -> CompleteResponse:
        """Return a response that is one of many, by what clients choose."""
        return await self._views.get(request.path, (request.path, key), make, _wants_gzip(request), is_one_of_many=True)

    @staticmethod
    def _view(view: Row | None, what: str = "feed") -> Response:
        if view is None:
            return _error(f"unknown {what}", 404)
        return Response([orjson.dumps({"status": "success", "data": view})], JSON)

    async def _get_status(self, request: web.BaseRequest) -> CompleteResponse:
        return await self._read(request, self._status)

    def _status(self) -> Response:
        return Response([b'{"status":"success","data":', self._queries.snapshot(), b"}"], JSON)

    async def _get_stream(self, request: web.BaseRequest) -> CompleteResponse | EventStream:
        if is_foreign(request.headers):
            return text_response("streams are not for pages of other sites", 403)
        last_id = request.headers.get("Last-Event-ID", request.query.get("last_event_id", ""))
        types, is_gzipped = event_types(request.query.getall("events", [])), _wants_gzip(request)
        # Proxies such as nginx would wait for more.
        headers = {**HEADERS, "Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"}
        headers |= {"Content-Encoding": "gzip"} if is_gzipped else {}
        return EventStream(self._broadcast.stream(types, last_id, is_gzipped=is_gzipped), headers)


def _json(rows: Iterable[Row], **more: object) -> Iterator[bytes]:
    """Yield the rows as JSON, one at a time."""
    separator = b'{"status":"success","data":['
    for row in rows:
        yield separator + orjson.dumps(row)
        separator = b","
    end = b"]" if separator == b"," else separator + b"]"
    yield end + (b"," + orjson.dumps(more)[1:] if more else b"}")


def _error(text: str, status: int) -> Response:
    return Response([orjson.dumps({"status": "error", "error": text})], JSON, status)


def _status_answer(status: Status) -> Response:
    label = "ready; warning" if status.ok else "warning"
    reasons = status.reasons or (() if status.warnings else ("ok",) if status.ok else ("failing",))
    lines = (*reasons, *(f"{label}: {warning}" for warning in status.warnings))
    text = "".join(f"{line}\n" for line in lines)
    return Response([text.encode("utf-8", "replace")], status=200 if status.ok else 503)


def path_of(request: web.BaseRequest) -> str:
    """Return the path of a request, decoded except for slashes: `%2F` does not separate its parts."""
    return request.rel_url.path_safe


def _header(request: web.BaseRequest, name: str) -> str:
    return ",".join(request.headers.getall(name, []))


def _wants_gzip(request: web.BaseRequest) -> bool:
    return accepts_gzip(_header(request, "Accept-Encoding"))
