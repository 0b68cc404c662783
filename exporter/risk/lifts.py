"""Emergency stops that are lifted by hand, each until its event is committed."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal, NamedTuple, Protocol

from exporter.risk.outbox import Generation

COMMIT_POLL_SECONDS = 0.05
# For a lift that cannot be made now: the states are not known, or the prices are lost for a moment.
RETRY_SECONDS = 60.0


class Attempt(Protocol):
    """Lifts the stop of a portfolio."""

    def __call__(self, portfolio: str, /, *, is_repeated: bool) -> Generation | Literal[False] | None:
        """Return with which assignment it was lifted, False when none is in force here, None to be called again.

        `is_repeated`: it was lifted before, and that was lost with the assignment.
        """


# Returns whether the stop of a portfolio, lifted with an assignment, is lifted for good; None while that is not known.
IsLifted = Callable[[str, Generation], bool | None]


class _Request(NamedTuple):
    """The futures that wait for a lift, until when it is repeated, and with which assignment it was made."""

    futures: list[Future[bool | None]]
    until: float
    generation: Generation | None = None
    is_repeated: bool = False


class Lifts:
    """Requests to lift stops. `ask` may be called from any thread, all else belongs to one."""

    def __init__(self, attempt: Attempt, is_lifted: IsLifted, clock: Callable[[], float]) -> None:
        self._attempt = attempt
        self._is_lifted = is_lifted
        self._clock = clock
        self._asked: queue.SimpleQueue[tuple[str, Future[bool | None]]] = queue.SimpleQueue()
        self._waiting: dict[str, _Request] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, portfolio: str) -> Future[bool | None]:
        """Lift a stop soon; see `RiskMonitor.lift`. Requests for one portfolio are merged while its event waits."""
        future: Future[bool | None] = Future()
        self._asked.put((portfolio, future))
        return future

    def advance(self) -> None:
        """Do all that is possible without waiting."""
        for portfolio, request in list(self._waiting.items()):
            self._advance(portfolio, request)
        while not self._asked.empty():
            portfolio, future = self._asked.get()
            if portfolio in self._waiting:
                self._waiting[portfolio].futures.append(future)
            else:
                self._advance(portfolio, _Request([future], self._clock() + RETRY_SECONDS))

    def close(self) -> None:
        """Leave all requests without an answer."""
        for portfolio in list(self._waiting):
            self._answer(portfolio, self._waiting[portfolio], None)
        while not self._asked.empty():
            self._asked.get()[1].set_result(None)

    def _advance(self, portfolio: str, request: _Request) -> None:
        try:
            self._step(portfolio, request)
        except Exception as error:  # it goes to the client of the request, and must not end the sidecar
            self._waiting.pop(portfolio, None)
            for future in request.futures:
                future.set_exception(error)

    def _step(self, portfolio: str, request: _Request) -> None:
        """Lift a stop, or again if that was lost with its assignment; answer when that is committed."""
        if request.generation is not None:
            is_lifted = self._is_lifted(portfolio, request.generation)
            if is_lifted:
                self._answer(portfolio, request, True)
            if is_lifted is not False:
                return
            request = request._replace(generation=None, is_repeated=True)
        taken = self._attempt(portfolio, is_repeated=request.is_repeated)
        if taken is False or (taken is None and self._clock() >= request.until):
            self._answer(portfolio, request, taken)
        else:
            self._waiting[portfolio] = request._replace(generation=taken)

    def _answer(self, portfolio: str, request: _Request, is_lifted: bool | None) -> None:
        self._waiting.pop(portfolio, None)
        for future in request.futures:
            future.set_result(is_lifted)
