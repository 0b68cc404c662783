"""The paths that change the running sidecar: its configuration, the log level, an emergency stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args
from urllib.parse import parse_qs

from aiohttp import web

from exporter.runtime.logs import Level
from exporter.web.hosts import Access
from exporter.web.interface import Lifecycle
from exporter.web.parameters import is_foreign
from exporter.web.request_bodies import read_body
from exporter.web.responses import CompleteResponse, text_response
from exporter.web.risk import LIFT, Risk

if TYPE_CHECKING:
    from exporter.reload import Outcome

RELOAD, LOG_LEVEL = "/-/reload", "/-/log-level"
METHODS = {RELOAD: ("POST", "PUT"), LOG_LEVEL: ("GET", "HEAD", "PUT"), LIFT: ("POST",)}
BODY_BYTES_MAX = 1024
# For the commit of the event; less than clients usually wait.
LIFT_SECONDS = 10.0
NOT_COMMITTED = (
    "accepted, but not committed yet: the event emergency_stop_lifted follows once Kafka commits it. If the sidecar "
    "ends before, the stop stays in force; the same request then asks again"
)


class LifecycleRoutes:
    """Responds to requests of these paths, in the thread of the event loop."""

    def __init__(self, lifecycle: Lifecycle, risk: Risk | None = None) -> None:
        self._lifecycle = lifecycle
        self._risk = risk

    async def respond(self, request: web.BaseRequest, access: Access) -> CompleteResponse:
        """Return the response to a request with one of the `METHODS`."""
        if not access.enable_lifecycle:
            return text_response("Lifecycle API is not enabled, see web.enable_lifecycle", 403)
        if request.method in ("GET", "HEAD"):
            return text_response(self._lifecycle.config.log.level, 200)
        if is_foreign(request.headers) or access.is_rebound(request.host, request.headers):
            return text_response("requests from pages of other sites are refused", 403)
        try:
            body = await read_body(request, BODY_BYTES_MAX)
        except TimeoutError:
            return text_response("the request was not received in time", 408)
        if len(body) > BODY_BYTES_MAX:
            return text_response(f"the body is longer than {BODY_BYTES_MAX} bytes", 413)
        if request.path == LIFT:
            return await self._lift(_asked(request, body, "portfolio"))
        return await (self._reload() if request.path == RELOAD else self._set_level(_asked(request, body, "level")))

    async def _reload(self) -> CompleteResponse:
        # A client that disconnects does not cancel a reload that others may wait for.
        outcome = await asyncio.shield(asyncio.wrap_future(self._lifecycle.request()))
        return text_response(_described(outcome), 500 if outcome.error else 200)

    async def _lift(self, portfolio: str) -> CompleteResponse:
        if self._risk is None:
            return text_response("risk is not evaluated, see risk.enabled", 404)
        lifting = asyncio.wrap_future(self._risk.lift(portfolio))
        # One that is not answered in time goes on all the same.
        done, _ = await asyncio.wait([lifting], timeout=LIFT_SECONDS)
        is_lifted = lifting.result() if done else None
        if is_lifted is None:
            return text_response(NOT_COMMITTED, 202)
        if not is_lifted:
            return text_response("the portfolio has no emergency stop in force here", 409)
        return text_response("lifted", 200)

    async def _set_level(self, level: str) -> CompleteResponse:
        for known in get_args(Level):
            if known == level:
                await asyncio.shield(asyncio.wrap_future(self._lifecycle.set_level(known)))
                return text_response(known, 200)
        return text_response(f"level must be one of {', '.join(get_args(Level))}", 400)


def _described(outcome: Outcome) -> str:
    if outcome.error:
        return f"the configuration is not reloaded, the old one stays in force:\n{outcome.error}"
    lines = [f"reloaded, changed: {', '.join(outcome.at_once) or 'nothing'}"]
    lines += [f"restart needed for {', '.join(outcome.with_restart)}"] if outcome.with_restart else []
    return "\n".join(lines)


def _asked(request: web.BaseRequest, body: bytes, name: str) -> str:
    """Return what the query or the body asks for: `level=debug`, or in a body the word alone."""
    text = body.decode("utf-8", "replace").strip()
    return request.query.get(name) or parse_qs(text).get(name, [text])[0]
