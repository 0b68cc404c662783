"""Repeats calls that fail, with growing pauses, on tenacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.library.functions import check_function, is_async, name_of
from exporter.performance.breaker import CircuitOpenError, Exceptions, check_exceptions, check_number
from exporter.performance.extras import require

F = TypeVar("F", bound=Callable[..., Any])
RETRIES = "program_retries_total"
RETRIES_HELP = "Repeated calls (retried), and how calls that were repeated ended."


def retry_with_backoff(
    max_retries: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 60.0,
    backoff_factor: float = 2.0,
    *,
    exceptions: Exceptions = Exception,
    jitter: bool = True,
    operation: str | None = None,
    sleep: Callable[[float], Any] | None = None,
    collector: MetricsCollector | None = None,
) -> Callable[[F], F]:
    """Return a decorator that repeats a call up to `max_retries` times when it raises one of `exceptions`.

    The pause before the n-th repetition is `base_delay * backoff_factor ** (n - 1)` seconds, at most `max_delay`; with
    `jitter` a random part of it, so that many callers do not come at once. Then the last exception is raised. Not
    repeated: `CircuitOpenError`, and what is no `Exception`, as a cancellation or Ctrl-C. `operation` is the label of
    the metric, the name of the function by default. `sleep` waits so many seconds, and may be a coroutine function for
    an async function. Raises `TypeError` for generators, classes, and exceptions that are no `Exception`.
    """
    _check(max_retries, base_delay, max_delay, backoff_factor, exceptions)
    require("tenacity", "retry_with_backoff", "performance")

    def decorate(function: F) -> F:
        check_function(function, "what it has yielded cannot be taken back")
        counted = _Counted(operation or name_of(function), collector or get_metrics_collector())
        options = _policy(max_retries, base_delay, max_delay, backoff_factor, exceptions, jitter)
        if sleep is not None:
            options["sleep"] = sleep
        retried: Any = (_async if is_async(function) else _sync)(function, options, counted)
        return retried  # type: ignore[no-any-return]

    return decorate


def _check(max_retries: int, base_delay: float, max_delay: float, factor: float, exceptions: Exceptions) -> None:
    check_number("retry_with_backoff", "max_retries", max_retries)
    if max_retries < 0 or not base_delay >= 0 or not max_delay >= 0 or not factor >= 1:
        raise ValueError("max_retries, base_delay and max_delay are at least 0, and backoff_factor at least 1")
    check_exceptions(exceptions, "cancellations and interrupts are not repeated")


def _policy(
    max_retries: int, base_delay: float, max_delay: float, factor: float, exceptions: Exceptions, jitter: bool
) -> dict[str, Any]:
    """Return the arguments for tenacity."""
    from tenacity import retry_if_exception, stop_after_attempt, wait_exponential, wait_random_exponential

    wait = wait_random_exponential if jitter else wait_exponential
    return {
        "stop": stop_after_attempt(max_retries + 1),
        "wait": wait(multiplier=base_delay, max=max_delay, exp_base=factor),
        "retry": retry_if_exception(lambda e: isinstance(e, exceptions) and not isinstance(e, CircuitOpenError)),
        "reraise": True,
    }


class _Counted:
    """What tenacity calls back: the counter of one operation."""

    def __init__(self, operation: str, collector: MetricsCollector) -> None:
        self._counters = {
            result: collector.counter(RETRIES, RETRIES_HELP, {"operation": operation, "result": result})
            for result in ("retried", "succeeded", "gave_up")
        }

    def before_sleep(self, state: Any) -> None:
        """Count a repetition."""
        self._counters["retried"].increment()

    def gave_up(self, state: Any) -> None:
        """Count a call that failed at last, and raise its exception."""
        self._counters["gave_up"].increment()
        raise state.outcome.exception()

    def ended(self, attempts: int) -> None:
        """Count a call that succeeded after a repetition."""
        if attempts > 1:
            self._counters["succeeded"].increment()


def _sync(function: Callable[..., Any], options: dict[str, Any], counted: _Counted) -> Callable[..., Any]:
    from tenacity import Retrying

    @wraps(function)
    def retried(*args: Any, **kwargs: Any) -> Any:
        retrying = Retrying(**options, before_sleep=counted.before_sleep, retry_error_callback=counted.gave_up)
        returned: Any = retrying(function, *args, **kwargs)
        counted.ended(retrying.statistics["attempt_number"])
        return returned

    return retried


def _async(function: Callable[..., Any], options: dict[str, Any], counted: _Counted) -> Callable[..., Awaitable[Any]]:
    from tenacity import AsyncRetrying

    @wraps(function)
    async def retried(*args: Any, **kwargs: Any) -> Any:
        # Of each call its own: tenacity keeps the state of a call in the object, and tasks overlap.
        retrying = AsyncRetrying(**options, before_sleep=counted.before_sleep, retry_error_callback=counted.gave_up)
        returned: Any = await retrying(function, *args, **kwargs)
        counted.ended(retrying.statistics["attempt_number"])
        return returned

    return retried
