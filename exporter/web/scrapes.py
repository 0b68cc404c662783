"""Pages of metrics: in the format that a client accepts, whole or of chosen families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from time import perf_counter

from aiohttp import web

from exporter.instrument import protobuf
from exporter.instrument.exposition import OPENMETRICS, PROTOBUF, TEXT, AnyFamily, Format, pieces, select
from exporter.web.interface import Queries, WebMetrics
from exporter.web.negotiation import negotiate
from exporter.web.request_headers import header, wants_gzip
from exporter.web.responses import CompleteResponse, Response, text_response
from exporter.web.shared_responses import Reuse, SharedResponses

NAMES_MAX = 100
# Requests without a pause take half of a thread.
REUSE = Reuse(ratio=1, seconds_min=0.1)


class Scrapes:
    """Responds to requests for metrics, in the thread of the event loop; a worker thread renders them."""

    def __init__(self, queries: Queries, metrics: WebMetrics) -> None:
        self._queries = queries
        self._metrics = metrics
        self._shared = SharedResponses("web-scrape", REUSE)

    def close(self) -> None:
        """Render nothing more."""
        self._shared.close()

    async def respond(self, request: web.BaseRequest) -> CompleteResponse:
        """Return the response to a request."""
        names = request.query.getall("name[]", [])
        if len(names) > NAMES_MAX:
            return text_response(f"more than {NAMES_MAX} families are selected by name[]", 400)
        format = negotiate(header(request, "Accept"))
        # Versions of the text format and escapings differ in the content type only.
        rendered = PROTOBUF if format.is_protobuf else OPENMETRICS if format.is_openmetrics else TEXT
        selected = tuple(sorted(set(names)))
        make = partial(self._page, rendered, selected)
        key, gzip = (rendered, selected), wants_gzip(request)
        response = await self._shared.get(request.path, key, make, gzip, is_one_of_many=bool(selected))
        if response.status != 200:
            return response
        return response._replace(headers={**response.headers, "Content-Type": format.content_type})

    def _page(self, format: Format, names: tuple[str, ...]) -> Response:
        return Response(self._timed(self._pieces(format, names)))

    def _pieces(self, format: Format, names: tuple[str, ...]) -> Iterator[bytes]:
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
