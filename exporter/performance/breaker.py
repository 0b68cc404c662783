"""A circuit breaker for functions and blocks, sync and async, in threads and tasks.

None of the libraries for it is enough: circuitbreaker lets every call through while half-open, pybreaker has no
asyncio of its own and holds a lock during calls, aiobreaker and purgatory are for one of the two worlds each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from typing import Any, Self, TypeVar

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.library.functions import check_function, is_async, name_of
from exporter.performance.circuit import Circuit, CircuitState

F = TypeVar("F", bound=Callable[..., Any])
Exceptions = type[Exception] | tuple[type[Exception], ...]
STATE = "program_breaker_state"
STATE_HELP = "State of a circuit breaker: 0 closed, 1 half-open, 2 open."
TRANSITIONS = "program_breaker_transitions_total"
TRANSITIONS_HELP = "How often a circuit breaker came into a state."
_SHOWN = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class CircuitOpenError(Exception):
    """A call that was not made because the circuit is open; `retry_in` are the seconds until one will be."""

    def __init__(self, name: str, retry_in: float) -> None:
        super().__init__(f"the circuit {name} is open, next attempt in {retry_in:.3g} s")
        self.name = name
        self.retry_in = retry_in

    def __reduce__(self) -> tuple[type[Self], tuple[str, float]]:
        return type(self), (self.name, self.retry_in)


def check_number(decorator: str, name: str, value: object) -> None:
    """Raise `TypeError` unless the first argument of a decorator is a whole number."""
    if not isinstance(value, int):
        hint = f": write @{decorator}()" if callable(value) else ""
        raise TypeError(f"{name} is a whole number, not {value!r}{hint}")


def check_exceptions(exceptions: object, why: str) -> None:
    """Raise `TypeError` for what is neither a class of exceptions nor a tuple of them, or for no `Exception`."""
    for each in exceptions if isinstance(exceptions, tuple) else (exceptions,):
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise TypeError(f"exceptions is a class of exceptions or a tuple of them, not {exceptions!r}")
        if not issubclass(each, Exception):
            raise TypeError(f"{each!r} is no Exception: {why}")


class CircuitBreaker:
    """Decorator and context manager that refuses calls with `CircuitOpenError` while what they call fails.

    After `failure_threshold` failures in a row it is open for `timeout` seconds; then one call is the trial, and the
    others are refused until it ends, or for another `timeout`. Failures are `exceptions`; any others are answers.
    Calls that were cancelled or interrupted count as neither. For functions, coroutine functions and methods; `with`
    and `async with` are the same. The name is that of the first decorated function by default.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        timeout: float = 60.0,
        *,
        name: str | None = None,
        exceptions: Exceptions = Exception,
        collector: MetricsCollector | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_number("CircuitBreaker", "failure_threshold", failure_threshold)
        check_exceptions(exceptions, "cancellations and interrupts are no failures")
        if failure_threshold < 1 or not timeout > 0:
            raise ValueError(f"failure_threshold is at least 1 and timeout above 0, not {failure_threshold}, {timeout}")
        self.name = name or "unnamed"
        self._is_named = name is not None
        self._exceptions = exceptions
        self._clock = clock
        self._collector = collector
        self._lock = Lock()
        self._circuit = Circuit(failure_threshold, timeout)
        self._shown: CircuitState | None = None
        # Of each task and thread: blocks of one breaker overlap, and one may be within another.
        self._entered: ContextVar[tuple[int, ...]] = ContextVar("entered", default=())
        if self._is_named:
            self._show()

    @property
    def state(self) -> CircuitState:
        """The present state; an open circuit becomes half-open with the next call."""
        return self._circuit.state

    def __call__(self, function: F) -> F:
        """Return a function of the same kind that is refused while the circuit is open.

        Raises `TypeError` for generators, classes and what `classmethod`, `staticmethod` and `property` return.
        """
        check_function(function, "it fails where it is read, not where it is called")
        if not self._is_named:
            self.name, self._is_named = name_of(function), True
        with self._lock:
            self._show()
        guarded: Any = self._async(function) if is_async(function) else self._sync(function)
        return guarded  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        self._entered.set((*self._entered.get(), self._begin()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        *outer, turn = self._entered.get()
        self._entered.set(tuple(outer))
        self._end(turn, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.__exit__(kind, error, trace)

    def _sync(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            turn, error = self._begin(), None
            try:
                return function(*args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._end(turn, error)

        return guarded

    def _async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            turn, error = self._begin(), None
            try:
                return await function(*args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._end(turn, error)

        return guarded

    def _begin(self) -> int:
        """Return the turn of an attempt; raise `CircuitOpenError` if none may be made."""
        with self._lock:
            now = self._clock()
            if not self._circuit.allows(now):
                raise CircuitOpenError(self.name, self._circuit.retry_in(now))
            self._show()
            return self._circuit.turn

    def _end(self, turn: int, error: BaseException | None) -> None:
        with self._lock:
            if turn != self._circuit.turn:
                return  # of before the circuit opened
            if error is None:
                self._circuit.succeeded()
            elif isinstance(error, self._exceptions):
                self._circuit.failed(self._clock())
            elif isinstance(error, Exception):
                self._circuit.succeeded()
            else:
                self._circuit.abandoned()
            self._show()

    def _show(self) -> None:
        """Record a state that is new."""
        state, before = self._circuit.state, self._shown
        if state is before:
            return
        collector = self._collector or get_metrics_collector()
        self._shown = state
        collector.gauge(STATE, STATE_HELP).set(_SHOWN[state], {"breaker": self.name})
        if before is not None:
            labels = {"breaker": self.name, "state": str(state)}
            collector.counter(TRANSITIONS, TRANSITIONS_HELP).increment(1, labels)
