"""The response to each request: paths, methods, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import yaml
from aiohttp import web

from exporter.model import Status
from exporter.web.heads import HEAD_BYTES_MAX, HEAD_TOO_LARGE
from exporter.web.hosts import Access
from exporter.web.interface import Lifecycle, Queries, WebMetrics
from exporter.web.lifecycle import METHODS as LIFECYCLE_METHODS
from exporter.web.lifecycle import LifecycleRoutes
from exporter.web.parameters import ParameterError
from exporter.web.push_paths import PushPaths
from exporter.web.request_headers import header, wants_gzip
from exporter.web.responses import (
    CompleteResponse,
    Response,
    complete,
    error_response,
    json_error,
    response_or_error,
    text_response,
)
from exporter.web.risk import READY, Risk
from exporter.web.scrapes import Scrapes
from exporter.web.static_files import PROGRAMS, SHELL, StaticFiles, is_view
from exporter.web.streams import EventStream
from exporter.web.views import PROGRAMS_DATA, STREAM, Route, Views

PARAMETERS_MAX = 200
STATIC = "/static/"
METHODS = ("GET", "HEAD")
VERSIONS = ((1, 0), (1, 1))
HOST_REFUSED = "the host of the request is not in web.allowed_hosts"


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
        self.access = access
        self._lifecycle = None if lifecycle is None else LifecycleRoutes(lifecycle, risk)
        self._pushes = pushes
        self._static = StaticFiles()
        self._scrapes = Scrapes(queries, metrics)
        self._views = Views(queries, tick_seconds, risk)
        self._health: dict[str, Callable[[], Status]] = {"/-/healthy": queries.healthy, "/-/ready": queries.ready}
        if risk is not None:
            self._health[READY] = risk.ready
        scraped: dict[str, Route] = {pushes.telemetry_path: self._scrapes.respond}
        self._is_view = is_view
        self._routes: dict[str, Route]
        if pages is not None:
            own = {path: partial(self._views.read, make=make) for path, make in pages.items()}
            self._routes = {**own, "/config": self._get_config, **scraped}
            self._is_view = lambda path: False
        elif only_programs:
            kept = {path: self._views.routes[path] for path in (PROGRAMS_DATA, STREAM)}
            self._routes = {"/": self._go_to_programs, **kept, **scraped}
            self._is_view = lambda path: path.startswith(PROGRAMS) and is_view(path)
        else:
            self._routes = {"/config": self._get_config, **self._views.routes, **scraped}

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
            return complete(json_error(str(error), 400))
        except Exception as error:
            return error_response(request.path, error)

    def _route(self, path: str) -> Route | None:
        if path.removeprefix(STATIC) in self._static and path.startswith(STATIC):
            return self._get_file
        return self._get_page if self._is_view(path) else self._routes.get(path)

    def close(self) -> None:
        """Start no further computation, and end all streams."""
        self._views.close()
        self._pushes.close()
        self._scrapes.close()

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
        if not all(map(self.access.allows_host, (request.host, header(request, "Host")))):
            return text_response(HOST_REFUSED, 421)
        if request.rel_url.raw_query_string.count("&") > PARAMETERS_MAX:
            return text_response(f"the query has more than {PARAMETERS_MAX} parameters", 400)
        return None

    def _methods(self, path: str) -> tuple[str, ...]:
        if self._pushes.takes(path):
            return self._pushes.methods
        return METHODS if self._lifecycle is None else LIFECYCLE_METHODS.get(path, METHODS)

    async def _get_file(self, request: web.BaseRequest) -> CompleteResponse:
        return self._file(request, request.path.removeprefix(STATIC))

    def _file(self, request: web.BaseRequest, name: str) -> CompleteResponse:
        return self._static.get(name, wants_gzip(request), header(request, "If-None-Match"))

    async def _get_page(self, request: web.BaseRequest) -> CompleteResponse:
        return self._file(request, SHELL)

    async def _go_to_programs(self, _request: web.BaseRequest) -> CompleteResponse:
        return text_response(PROGRAMS, 302, Location=PROGRAMS)

    async def _get_config(self, request: web.BaseRequest) -> CompleteResponse:
        if not self._shows_config(request):
            return text_response("the configuration is not shown to this client, see web.config_page", 403)
        return await self._views.read(request, self._config)

    def _config(self) -> Response:
        text: str = yaml.safe_dump(dict(self._queries.config()), allow_unicode=True, sort_keys=False)
        return Response([text.encode()])

    def _shows_config(self, request: web.BaseRequest) -> bool:
        return self.access.shows_config(request.remote, request.host, request.headers)


def _status_answer(status: Status) -> Response:
    label = "ready; warning" if status.ok else "warning"
    reasons = status.reasons or (() if status.warnings else ("ok",) if status.ok else ("failing",))
    lines = (*reasons, *(f"{label}: {warning}" for warning in status.warnings))
    text = "".join(f"{line}\n" for line in lines)
    return Response([text.encode("utf-8", "replace")], status=200 if status.ok else 503)


def path_of(request: web.BaseRequest) -> str:
    """Return the path of a request, decoded except for slashes: `%2F` does not separate its parts."""
    return request.rel_url.path_safe
