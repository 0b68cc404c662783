"""Which paths are for pushes of other programs, and the response while they are not enabled."""

from __future__ import annotations

from aiohttp import web

from exporter.web.hosts import Access
from exporter.web.responses import CompleteResponse, text_response


class PushPaths:
    """The paths of groups below that of the metrics, as a Pushgateway has them, without pushes."""

    methods = ("DELETE", "POST", "PUT")

    def __init__(self, telemetry_path: str) -> None:
        self.telemetry_path = telemetry_path
        self._starts = f"{telemetry_path}/job/", f"{telemetry_path}/job@base64/"

    def takes(self, path: str) -> bool:
        """Return whether a decoded path is one of these."""
        return path.startswith(self._starts)

    async def respond(self, request: web.BaseRequest, access: Access) -> CompleteResponse:
        """Return the response to a request with one of the `methods`."""
        return text_response("pushes are not enabled, see web.push.enabled", 403)

    def close(self) -> None:
        """Take in nothing more."""
