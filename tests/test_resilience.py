"""Circuit breakers and retries around functions, coroutine functions and blocks, with an invented clock."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import CircuitBreaker, CircuitOpenError, CircuitState, retry_with_backoff

Call: TypeAlias = Callable[[Callable[[], object]], object]


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of this test's own."""
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def collector(registry: CollectorRegistry) -> MetricsCollector:
    """A collector that takes no name against the conventions."""
    return MetricsCollector(registry=registry, strict=True)


@pytest.fixture
def breaker(clock: Clock, collector: MetricsCollector) -> CircuitBreaker:
    """A breaker that opens after two failures, for 10 s."""
    return CircuitBreaker(2, 10, name="server", collector=collector, clock=clock)


def fails() -> None:
    raise OSError("no")


def through_function(breaker: CircuitBreaker, action: Callable[[], object]) -> object:
    return breaker(lambda: action())()


def through_coroutine(breaker: CircuitBreaker, action: Callable[[], object]) -> object:
    @breaker
    async def called() -> object:
        return action()

    return asyncio.run(called())


def through_block(breaker: CircuitBreaker, action: Callable[[], object]) -> object:
    with breaker:
        return action()


def through_async_block(breaker: CircuitBreaker, action: Callable[[], object]) -> object:
    async def called() -> object:
        async with breaker:
            return action()

    return asyncio.run(called())


@pytest.fixture(params=[through_function, through_coroutine, through_block, through_async_block])
def call(request: pytest.FixtureRequest, breaker: CircuitBreaker) -> Call:
    """Calls something through the breaker, in each way there is."""
    return lambda action: request.param(breaker, action)


def fail(call: Call, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match="no"):
            call(fails)


def test_a_circuit_opens_after_failures_in_a_row_and_refuses_calls(call: Call, breaker: CircuitBreaker) -> None:
    fail(call)
    assert call(lambda: 7) == 7
    fail(call, 2)
    assert breaker.state is CircuitState.OPEN
    with pytest.raises(CircuitOpenError, match="the circuit server is open, next attempt in 10 s"):
        call(lambda: pytest.fail("it was called"))


def test_a_trial_that_succeeds_closes_the_circuit(call: Call, breaker: CircuitBreaker, clock: Clock) -> None:
    fail(call, 2)
    clock.now = 10
    assert call(lambda: breaker.state) is CircuitState.HALF_OPEN
    assert breaker.state is CircuitState.CLOSED


def test_a_trial_that_fails_opens_it_again(call: Call, breaker: CircuitBreaker, clock: Clock) -> None:
    fail(call, 2)
    clock.now = 10
    fail(call)
    with pytest.raises(CircuitOpenError):
        call(lambda: None)


def test_other_exceptions_are_answers(clock: Clock, collector: MetricsCollector) -> None:
    breaker = CircuitBreaker(1, name="server", exceptions=OSError, clock=clock, collector=collector)
    with pytest.raises(KeyError), breaker:
        raise KeyError
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interrupted_trial_is_no_failure_and_makes_room_for_another(
    breaker: CircuitBreaker, clock: Clock, interrupt: type[BaseException]
) -> None:
    fail(lambda action: through_block(breaker, action), 2)
    clock.now = 10
    with pytest.raises(interrupt), breaker:
        raise interrupt
    with breaker:
        pass
    assert breaker.state is CircuitState.CLOSED


def test_of_many_tasks_one_is_the_trial(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(lambda action: through_block(breaker, action), 2)
    clock.now = 10

    async def main() -> list[object]:
        answered = asyncio.Event()

        @breaker
        async def waiting() -> bool:
            return await answered.wait()

        calls = [asyncio.create_task(waiting()) for _ in range(20)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 19:
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        answered.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(main())
    assert found.count(True) == 1
    assert sum(isinstance(each, CircuitOpenError) for each in found) == 19


def test_of_many_threads_one_is_the_trial(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(lambda action: through_block(breaker, action), 2)
    clock.now = 10
    barrier, refused, answered = threading.Barrier(8), threading.Semaphore(0), threading.Event()
    called = []

    def run() -> None:
        barrier.wait()
        try:
            with breaker:
                called.append(1)
                answered.wait()
        except CircuitOpenError:
            refused.release()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(7):
        refused.acquire()
    answered.set()
    for thread in threads:
        thread.join()
    assert called == [1]


def test_an_answer_to_a_call_of_before_it_opened_does_not_close_it(breaker: CircuitBreaker) -> None:
    with breaker:
        for _ in range(2):
            with pytest.raises(OSError, match="no"), breaker:
                fails()
    assert breaker.state is CircuitState.OPEN


def test_state_and_transitions_are_metrics(breaker: CircuitBreaker, registry: CollectorRegistry, clock: Clock) -> None:
    seen = [registry.get_sample_value("program_breaker_state", {"breaker": "server"})]
    for time in (0, 10):
        clock.now = time
        fail(lambda action: through_block(breaker, action), 2 - (time > 0))
        seen.append(registry.get_sample_value("program_breaker_state", {"breaker": "server"}))
    clock.now = 20
    with breaker:
        seen.append(registry.get_sample_value("program_breaker_state", {"breaker": "server"}))
    assert seen == [0, 2, 2, 1]
    counted = {
        state: registry.get_sample_value("program_breaker_transitions_total", {"breaker": "server", "state": state})
        for state in ("open", "half_open", "closed")
    }
    assert counted == {"open": 2, "half_open": 2, "closed": 1}


def test_a_breaker_has_the_name_of_its_function(collector: MetricsCollector) -> None:
    breaker = CircuitBreaker(collector=collector)
    breaker(fails)
    assert breaker.name == "fails"


def test_the_refusal_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(CircuitOpenError("server", 2.5)))  # noqa: S301, made here
    assert (error.name, error.retry_in) == ("server", 2.5)


class BreakerModel(RuleBasedStateMachine):
    """Overlapping calls beside a model: the calls of a turn decide, and in a half-open turn there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        registry = CollectorRegistry()
        collector = MetricsCollector(registry=registry)
        self.breaker = CircuitBreaker(2, 10, name="server", collector=collector, clock=self.clock)
        self.state, self.failures, self.retry_at, self.turn = "closed", 0, 0.0, 0
        self.running: list[tuple[Any, int]] = []

    @rule(seconds=st.sampled_from([1, 5, 10]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        if self.state != "closed" and self.clock.now < self.retry_at:
            with pytest.raises(CircuitOpenError):
                self.breaker._begin()
            return
        if self.state != "closed":
            self.enter("half_open")
        self.running.append((self.breaker._begin(), self.turn))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), error=st.sampled_from([None, OSError(), KeyboardInterrupt()]))
    def end(self, data: st.DataObject, error: BaseException | None) -> None:
        token, turn = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.breaker._end(token, error)
        if turn != self.turn:
            return
        if error is None:
            self.failures = 0
            if self.state == "half_open":
                self.enter("closed")
        elif isinstance(error, OSError):
            self.failures += 1
            if self.failures >= 2:
                self.enter("open")
        elif self.state == "half_open":
            self.enter("half_open")
            self.retry_at = self.clock.now

    @invariant()
    def the_states_agree(self) -> None:
        assert self.breaker.state == self.state

    def enter(self, state: str) -> None:
        self.state, self.retry_at, self.turn = state, self.clock.now + 10, self.turn + 1


TestBreakerModel = BreakerModel.TestCase


# Retries.


class Flaky:
    """A call that fails so many times before it answers; `pauses` are those between its attempts."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.error = error or OSError("no")
        self.attempts = 0
        self.pauses: list[float] = []

    def __call__(self) -> int:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise self.error
        return self.attempts


def retried_function(flaky: Flaky, *args: Any, **kwargs: Any) -> int:
    @retry_with_backoff(*args, sleep=flaky.pauses.append, operation="work", **kwargs)
    def called() -> int:
        return flaky()

    return called()


def retried_coroutine(flaky: Flaky, *args: Any, **kwargs: Any) -> int:
    async def sleep(seconds: float) -> None:
        flaky.pauses.append(seconds)

    @retry_with_backoff(*args, sleep=sleep, operation="work", **kwargs)
    async def called() -> int:
        return flaky()

    return asyncio.run(called())


retried = pytest.mark.parametrize("retry", [retried_function, retried_coroutine])
Retry: TypeAlias = Callable[..., int]


@retried
def test_a_call_is_repeated_until_it_succeeds(retry: Retry, collector: MetricsCollector) -> None:
    flaky = Flaky(2)
    assert retry(flaky, jitter=False, collector=collector) == 3
    assert flaky.pauses == [1, 2]


@retried
def test_pauses_grow_by_the_factor_up_to_the_longest_and_the_last_exception_is_raised(
    retry: Retry, collector: MetricsCollector
) -> None:
    flaky = Flaky(99)
    with pytest.raises(OSError, match="no") as raised:
        retry(flaky, 5, 0.5, 10, 3.0, jitter=False, collector=collector)
    assert raised.value is flaky.error
    assert flaky.pauses == [0.5, 1.5, 4.5, 10, 10]


@given(st.integers(0, 8), st.floats(0.001, 5), st.floats(1, 4))
def test_a_random_pause_is_at_most_the_exact_one(retries: int, base: float, factor: float) -> None:
    flaky = Flaky(99)
    with pytest.raises(OSError, match="no"):
        retried_function(flaky, retries, base, 60, factor, collector=MetricsCollector(registry=CollectorRegistry()))
    assert len(flaky.pauses) == retries
    for number, pause in enumerate(flaky.pauses):
        assert 0 <= pause <= min(60, base * factor**number) * (1 + 1e-9)


@retried
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), KeyError(), CircuitOpenError("server", 1.0)]
)
def test_what_is_not_to_be_repeated_is_raised_at_once(
    retry: Retry, error: BaseException, collector: MetricsCollector
) -> None:
    flaky = Flaky(99, error)
    with pytest.raises(type(error)):
        retry(flaky, exceptions=(OSError, CircuitOpenError), collector=collector)
    assert flaky.attempts == 1


@retried
def test_repetitions_and_their_ends_are_counted(
    retry: Retry, collector: MetricsCollector, registry: CollectorRegistry
) -> None:
    retry(Flaky(0), collector=collector)
    retry(Flaky(2), collector=collector)
    with pytest.raises(OSError, match="no"):
        retry(Flaky(9), 1, collector=collector)
    counted = [
        registry.get_sample_value("program_retries_total", {"operation": "work", "result": result})
        for result in ("retried", "succeeded", "gave_up")
    ]
    assert counted == [3, 1, 1]


def test_tasks_repeat_apart_from_each_other(collector: MetricsCollector) -> None:
    attempts: dict[int, int] = {}

    @retry_with_backoff(3, 0, collector=collector)
    async def called(number: int) -> int:
        attempts[number] = attempts.get(number, 0) + 1
        await asyncio.sleep(0)
        if attempts[number] <= number % 4:
            raise OSError
        return attempts[number]

    async def main() -> list[int]:
        return await asyncio.gather(*map(called, range(40)))

    assert asyncio.run(main()) == [number % 4 + 1 for number in range(40)]


def test_a_cancelled_call_ends_in_its_pause(collector: MetricsCollector) -> None:
    paused = asyncio.Event()

    async def sleep(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    @retry_with_backoff(sleep=sleep, collector=collector)
    async def called() -> None:
        raise OSError

    async def main() -> None:
        task = asyncio.create_task(called())
        await paused.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("decorate", [retry_with_backoff(), CircuitBreaker()])
@pytest.mark.parametrize("wrong", [generator, async_generator, Flaky, staticmethod(fails), 7])
def test_what_is_no_function_is_refused(decorate: Callable[[Any], Any], wrong: object) -> None:
    with pytest.raises(TypeError):
        decorate(wrong)


def test_methods_are_repeated(collector: MetricsCollector) -> None:
    class Service:
        attempts = 0

        @retry_with_backoff(1, 0, collector=collector)
        def call(self) -> int:
            self.attempts += 1
            return self.attempts if self.attempts > 1 else fails()  # type: ignore[return-value, func-returns-value]

    assert Service().call() == 2


@pytest.mark.parametrize(
    "arguments", [{"max_retries": -1}, {"base_delay": -1}, {"max_delay": -1}, {"backoff_factor": 0.5}]
)
def test_impossible_numbers_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        retry_with_backoff(**arguments)


@pytest.mark.parametrize("exceptions", [BaseException, (OSError, KeyboardInterrupt)])
def test_interrupts_cannot_be_repeated(exceptions: Any) -> None:
    with pytest.raises(TypeError, match="no Exception"):
        retry_with_backoff(exceptions=exceptions)


@pytest.mark.parametrize(("failures", "timeout"), [(0, 1), (1, 0), (1, -1)])
def test_an_impossible_breaker_is_refused(failures: int, timeout: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CircuitBreaker(failures, timeout)


@pytest.mark.parametrize("decorator", [retry_with_backoff, CircuitBreaker])
def test_a_decorator_without_parentheses_says_what_to_write(decorator: Any) -> None:
    with pytest.raises(TypeError, match=rf"write @{decorator.__name__}\(\)"):
        decorator(lambda: None)


@pytest.mark.parametrize("decorator", [retry_with_backoff, CircuitBreaker])
@pytest.mark.parametrize("exceptions", [[OSError], "OSError", BaseException, (OSError, KeyboardInterrupt)])
def test_exceptions_are_a_class_or_a_tuple(decorator: Any, exceptions: object) -> None:
    with pytest.raises(TypeError, match=r"Exception|exceptions"):
        decorator(exceptions=exceptions)
