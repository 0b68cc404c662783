"""The data behind the live page, and the stream of it: `/api/v1/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial

import orjson
from aiohttp import web

from exporter.runtime.foreign_text import printable
from exporter.store.store import StoreUnavailable
from exporter.web.interface import CursorError, Queries, Row
from exporter.web.parameters import SymbolQuery, event_types, feed_key, feed_keys, is_foreign, symbol_query
from exporter.web.request_headers import wants_gzip
from exporter.web.responses import HEADERS, JSON, CompleteResponse, Response, json_error, text_response
from exporter.web.risk import ROWS, Risk
from exporter.web.shared_responses import Reuse, SharedResponses
from exporter.web.streams import CONTENT_TYPE, Broadcast, EventStream

PROGRAMS_DATA, STREAM = "/api/v1/programs", "/api/v1/stream"
# Requests without a pause take a fifth of a thread.
REUSE = Reuse(ratio=4)

Route = Callable[[web.BaseRequest], Awaitable[CompleteResponse | EventStream]]


class Views:
    """Responds to requests of its paths, in the thread of the event loop; worker threads ask the queries."""

    def __init__(self, queries: Queries, tick_seconds: float, risk: Risk | None = None) -> None:
        self._queries = queries
        self._reads = SharedResponses("web-read", REUSE)
        # These may wait for Redis.
        self._lists = SharedResponses("web-list", REUSE)
        self._views = SharedResponses("web-view", REUSE)
        self._broadcast = Broadcast(queries.watch, tick_seconds)
        self.routes: Mapping[str, Route] = {
            "/api/v1/feed": self._get_feed,
            "/api/v1/feeds": self._get_feeds,
            "/api/v1/history": self._get_history,
            "/api/v1/ingestion": self._get_ingestion,
            PROGRAMS_DATA: self._get_programs,
            "/api/v1/status": self._get_status,
            STREAM: self._get_stream,
            "/api/v1/symbols": self._get_symbols,
            **({} if risk is None else {ROWS: partial(self.read, make=lambda: self._view(risk.rows()))}),
        }

    def close(self) -> None:
        """Start no further computation, and end all streams."""
        self._broadcast.close()
        for shared in (self._reads, self._lists, self._views):
            shared.close()

    async def read(self, request: web.BaseRequest, make: Callable[[], Response]) -> CompleteResponse:
        """Return the response that `make` computes, which is the same for all clients."""
        return await self._reads.get(request.path, request.path, make, wants_gzip(request))

    async def _get_programs(self, request: web.BaseRequest) -> CompleteResponse:
        program = request.query.get("program")
        return await self._shared(request, program, lambda: self._view(self._queries.programs(program), "program"))

    async def _get_feeds(self, request: web.BaseRequest) -> CompleteResponse:
        return await self.read(request, lambda: Response(_json(self._queries.feeds()), JSON))

    async def _get_symbols(self, request: web.BaseRequest) -> CompleteResponse:
        query = symbol_query(request.query)
        make = partial(self._symbols, query)
        return await self._lists.get(request.path, query, make, wants_gzip(request), is_one_of_many=True)

    def _symbols(self, query: SymbolQuery) -> Response:
        try:
            rows, after = self._queries.symbols(*query)
            more: Row = {} if query.feed is None else {"distinct": self._queries.distinct(query.feed)}
        except StoreUnavailable as error:
            return json_error(printable(f"Redis: {error}"), 503)
        except CursorError as error:
            return json_error(str(error), 400)
        return Response(_json(rows, **more, **({"next": after} if after else {})), JSON)

    async def _get_feed(self, request: web.BaseRequest) -> CompleteResponse:
        key = feed_key(request.query.get("feed", ""))
        return await self._shared(request, key, lambda: self._view(self._queries.feed(key)))

    async def _get_history(self, request: web.BaseRequest) -> CompleteResponse:
        keys = feed_keys(request.query.getall("feed", []))
        return await self._shared(request, keys, lambda: self._view(self._queries.history(keys)))

    async def _get_ingestion(self, request: web.BaseRequest) -> CompleteResponse:
        return await self.read(request, lambda: self._view(self._queries.ingestion(), "path: ingestion.enabled is off"))

    async def _shared(self, request: web.BaseRequest, key: Hashable, make: Callable[[], Response]) -> CompleteResponse:
        """Return a response that is one of many, by what clients choose."""
        return await self._views.get(request.path, (request.path, key), make, wants_gzip(request), is_one_of_many=True)

    @staticmethod
    def _view(view: Row | None, what: str = "feed") -> Response:
        if view is None:
            return json_error(f"unknown {what}", 404)
        return Response([orjson.dumps({"status": "success", "data": view})], JSON)

    async def _get_status(self, request: web.BaseRequest) -> CompleteResponse:
        return await self.read(request, self._status)

    def _status(self) -> Response:
        return Response([b'{"status":"success","data":', self._queries.snapshot(), b"}"], JSON)

    async def _get_stream(self, request: web.BaseRequest) -> CompleteResponse | EventStream:
        if is_foreign(request.headers):
            return text_response("streams are not for pages of other sites", 403)
        last_id = request.headers.get("Last-Event-ID", request.query.get("last_event_id", ""))
        types, is_gzipped = event_types(request.query.getall("events", [])), wants_gzip(request)
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
