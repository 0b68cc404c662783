"""Headers of requests."""

from __future__ import annotations

from aiohttp import web

from exporter.web.negotiation import accepts_gzip


def header(request: web.BaseRequest, name: str) -> str:
    """Return all headers of this name, joined as HTTP has it."""
    return ",".join(request.headers.getall(name, []))


def wants_gzip(request: web.BaseRequest) -> bool:
    """Return whether the client of a request accepts gzip."""
    return accepts_gzip(header(request, "Accept-Encoding"))
