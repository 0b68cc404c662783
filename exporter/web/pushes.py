"""The paths to which other programs push, as they would to a Pushgateway: `/metrics/job/…`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from aiohttp import web

from exporter.pushes.bodies import ENCODINGS, BodyType, check_type, read_body
from exporter.pushes.family import STATUSES, Refused, Result
from exporter.pushes.grouping import grouping
from exporter.pushes.groups import PushedGroups
from exporter.runtime.foreign_text import printable
from exporter.web.hosts import Access
from exporter.web.parameters import is_foreign
from exporter.web.push_paths import PushPaths
from exporter.web.request_bodies import read_body as receive
from exporter.web.responses import CompleteResponse, Response, complete, error_response, text_response

# Characters of a reason, which may have names and labels that were pushed.
REASON_MAX = 500
# Bodies that are being received or wait for their turn may take so many times the limit of one.
BODIES = 2


class PushRoutes(PushPaths):
    """Responds to pushes, in the thread of the event loop; a thread of its own takes them in, one after another."""

    def __init__(self, groups: PushedGroups, telemetry_path: str) -> None:
        super().__init__(telemetry_path)
        self._groups = groups
        self._worker = ThreadPoolExecutor(1, "web-push")
        self._bytes = 0

    async def respond(self, request: web.BaseRequest, access: Access) -> CompleteResponse:
        """See PushPaths."""
        if is_foreign(request.headers) or access.is_rebound(request.host, request.headers):
            return text_response("requests from pages of other sites are refused", 403)
        try:
            result = await self._result(request)
        except Refused as error:
            return self._refusal(error)
        except TimeoutError:
            return text_response("the request was not received in time", 408)
        except Exception as error:
            # Without the names that a client chose.
            return error_response(f"{self.telemetry_path}/job", error)
        self._groups.count(result)
        return complete(Response((), status=STATUSES[result]))

    def close(self) -> None:
        """See PushPaths."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _refusal(self, error: Refused) -> CompleteResponse:
        self._groups.count(error.result)
        more = {"Accept-Encoding": ", ".join(ENCODINGS)} if error.result is Result.UNSUPPORTED else {}
        return text_response(printable(str(error), REASON_MAX), STATUSES[error.result], **more)

    async def _result(self, request: web.BaseRequest) -> Result:
        labels = grouping(request.rel_url.raw_path, self.telemetry_path)
        if request.method == "DELETE":
            await self._run(partial(self._groups.delete, labels))
            return Result.DELETED
        body_type = BodyType(request.headers.get("Content-Type", ""), request.headers.get("Content-Encoding", ""))
        check_type(body_type)
        limits, replaces = self._groups.body_limits, request.method == "PUT"
        with self._memory(BODIES * limits.bytes) as take:
            body = await receive(request, limits.bytes, take, may_wait=True)
            read = partial(read_body, body, body_type, limits)
            await self._run(partial(self._groups.push, labels, read, replaces=replaces))
        return Result.ACCEPTED

    @contextmanager
    def _memory(self, bytes_max: int) -> Iterator[Callable[[int], None]]:
        """Context of holding a body, whose parts are counted by the function that this yields."""
        held = 0

        def take(length: int) -> None:
            nonlocal held
            if self._bytes + length > bytes_max:
                raise Refused(Result.BUSY, "too many pushes are being received, retry later")
            held += length
            self._bytes += length

        try:
            yield take
        finally:
            self._bytes -= held

    async def _run(self, change: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, change)
