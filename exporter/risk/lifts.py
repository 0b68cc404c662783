"""Emergency stops that are lifted by hand, each until its event is committed."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future

from exporter.risk.outbox import Generation

COMMIT_POLL_SECONDS = 0.05

# Lifts the stop of a portfolio; returns with which assignment, None when no stop is in force here.
Attempt = Callable[[str], Generation | None]
# Returns whether the stop of a portfolio, lifted with an assignment, is lifted for good; None while that is not known.
IsLifted = Callable[[str, Generation], bool | None]


class Lifts:
    """Requests to lift stops. `ask` may be called from any thread, all else belongs to one."""

    def __init__(self, attempt: Attempt, is_lifted: IsLifted) -> None:
        self._attempt = attempt
        self._is_lifted = is_lifted
        self._asked: queue.SimpleQueue[tuple[str, Future[bool | None]]] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[Generation, list[Future[bool | None]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, portfolio: str) -> Future[bool | None]:
        """Lift a stop soon; see `RiskMonitor.lift`. Requests for one portfolio are merged while its event waits."""
        future: Future[bool | None] = Future()
        self._asked.put((portfolio, future))
        return future

    def advance(self) -> None:
        """Do all that is possible without waiting."""
        for portfolio, (generation, futures) in list(self._waiting.items()):
            self._advance(portfolio, futures, generation)
        while not self._asked.empty():
            portfolio, future = self._asked.get()
            if portfolio in self._waiting:
                self._waiting[portfolio][1].append(future)
            else:
                self._advance(portfolio, [future], None)

    def close(self) -> None:
        """Leave all requests without an answer."""
        for _, futures in self._waiting.values():
            _answer(futures, None)
        self._waiting.clear()
        while not self._asked.empty():
            _answer([self._asked.get()[1]], None)

    def _advance(self, portfolio: str, futures: list[Future[bool | None]], generation: Generation | None) -> None:
        """Lift a stop, again if that was lost with the assignment of `generation`."""
        try:
            is_lifted = False if generation is None else self._is_lifted(portfolio, generation)
            if is_lifted is None:
                return
            self._waiting.pop(portfolio, None)
            if not is_lifted and (with_generation := self._attempt(portfolio)) is not None:
                self._waiting[portfolio] = with_generation, futures
            else:
                _answer(futures, is_lifted)
        except Exception as error:  # it goes to the client of the request, and must not end the sidecar
            self._waiting.pop(portfolio, None)
            for future in futures:
                future.set_exception(error)


def _answer(futures: list[Future[bool | None]], is_lifted: bool | None) -> None:
    for future in futures:
        future.set_result(is_lifted)
