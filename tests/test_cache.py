"""The cache in memory: one suite for its methods for threads and for tasks, and what waiters of one load share."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import CacheManager
from exporter.performance.cache.distrust import MOST, Distrust
from exporter.performance.cache.entries import NotFaithful, is_same, packed, unpacked
from exporter.performance.cache.tuning import Window, advise
from tests.support.caches import KINDS, Calls, Clock, ThreadCalls


def made(clock: Clock | None = None, **options: Any) -> CacheManager:
    """A cache with a registry of its own, and names that follow the conventions."""
    collector = MetricsCollector(registry=CollectorRegistry(), strict=True)
    return CacheManager("quotes", collector=collector, clock=clock or Clock(), **options)


@pytest.fixture
def clock() -> Clock:
    """A clock of this test's own."""
    return Clock()


@pytest.fixture(params=KINDS)
def calls(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Calls]:
    """A cache of three entries for 60 s, and for 10 s where there is nothing."""
    found = request.param(made(clock, capacity=3, ttl=60, negative_ttl=10))
    yield found
    found.close()


class Loader:
    """A loader that remembers what it was asked for."""

    def __init__(self, answer: Callable[[str], Any] = str.upper) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, key: str) -> Any:
        self.asked.append(key)
        return self.answer(key)


def test_a_value_is_loaded_once_and_then_kept(calls: Calls) -> None:
    loader = Loader()
    assert [calls.call("get", "a", loader) for _ in range(3)] == ["A"] * 3
    assert loader.asked == ["a"]


def test_a_value_ends_with_its_time(calls: Calls, clock: Clock) -> None:
    loader = Loader()
    for clock.now in (1000, 1059.9, 1060):
        calls.call("get", "a", loader)
    assert loader.asked == ["a", "a"]


def test_a_call_may_have_a_time_of_its_own(calls: Calls, clock: Clock) -> None:
    loader = Loader()
    calls.call("get", "a", loader, ttl=5)
    clock.now += 5
    calls.call("get", "a", loader)
    assert loader.asked == ["a", "a"]


def test_a_negative_answer_is_kept_for_its_own_time(calls: Calls, clock: Clock) -> None:
    loader = Loader(lambda key: None)
    for clock.now in (1000, 1009.9, 1010):
        assert calls.call("get", "a", loader) is None
    assert loader.asked == ["a", "a"]
    assert calls.cache.get_cache_statistics()["tiers"]["memory"]["negative"] == 1


def test_values_that_are_false_are_values(calls: Calls, clock: Clock) -> None:
    for number, value in enumerate([0, "", False]):
        loader = Loader(lambda key, value=value: value)  # type: ignore[misc]
        calls.call("get", str(number), loader)
        clock.now += 20
        assert calls.call("get", str(number), loader) == value
        assert len(loader.asked) == 1


def test_without_a_loader_nothing_is_found_and_nothing_kept(calls: Calls) -> None:
    assert calls.call("get", "a") is None
    assert calls.call("get", "a", Loader()) == "A"


def test_an_exception_is_raised_and_not_kept(calls: Calls) -> None:
    def fails(key: str) -> None:
        raise OSError(key)

    with pytest.raises(OSError, match="a"):
        calls.call("get", "a", fails)
    assert calls.call("get", "a", Loader()) == "A"
    assert calls.cache.get_cache_statistics()["tiers"]["loader"] == {
        "hits": 1, "misses": 0, "errors": 1, "negative": 0, "hit_rate": 0.5
    }  # fmt: skip


def test_the_least_recently_used_entry_goes_first(calls: Calls) -> None:
    loader = Loader()
    for key in "abcad":
        calls.call("get", key, loader)
    for key in "acdb":
        calls.call("get", key, loader)
    assert loader.asked == [*"abcd", "b"]
    assert calls.cache.get_cache_statistics()["evictions"] == 2


def test_a_set_value_is_read(calls: Calls, clock: Clock) -> None:
    calls.call("set", "a", 1)
    calls.call("set", "b", 2, ttl=5)
    clock.now += 5
    assert [calls.call("get", key) for key in "ab"] == [1, None]


def test_a_set_negative_answer_needs_no_loader(calls: Calls) -> None:
    calls.call("set", "a", None)
    assert calls.call("get", "a", Loader()) is None


def test_keys_are_invalidated(calls: Calls) -> None:
    for key in ("a", "b", "c"):
        calls.call("set", key, key)
    calls.call("invalidate", "a", "b", "other")
    assert [calls.call("get", key) for key in "abc"] == [None, None, "c"]


def test_a_prefix_is_invalidated(calls: Calls) -> None:
    for key in ("upbit:BTC", "upbit:ETH", "okx:BTC"):
        calls.call("set", key, key)
    calls.call("invalidate_prefix", "upbit:")
    assert [calls.call("get", key) for key in ("upbit:BTC", "upbit:ETH", "okx:BTC")] == [None, None, "okx:BTC"]


def test_all_is_invalidated(calls: Calls) -> None:
    calls.call("set", "a", 1)
    calls.call("invalidate_all")
    assert calls.call("get", "a") is None


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_a_key_is_text(calls: Calls, key: Any) -> None:
    with pytest.raises(TypeError, match="is text"):
        calls.call("get", key)


def test_a_loader_that_asks_for_its_own_key_fails(calls: Calls) -> None:
    def loader(key: str) -> Any:
        return calls.cache.get(key, loader)

    with pytest.raises(RuntimeError, match="asks for the same key"):
        calls.call("get", "a", loader)


def test_a_loader_may_ask_for_other_keys(calls: Calls) -> None:
    assert calls.call("get", "a", lambda key: calls.cache.get("b", Loader()) + key) == "Ba"


def test_the_statistics_are_those_of_each_tier(calls: Calls) -> None:
    for key in "aab":
        calls.call("get", key, Loader())
    found = calls.cache.get_cache_statistics()
    assert (found["requests"], found["hits"], found["hit_rate"]) == (3, 1, 1 / 3)
    assert (found["entries"], found["capacity"], found["evictions"]) == (2, 3, 0)
    assert found["tiers"]["memory"] == {"hits": 1, "misses": 2, "errors": 0, "negative": 0, "hit_rate": 1 / 3}
    assert found["tiers"].keys() == {"memory", "loader"}


def test_the_metrics_are_those_of_each_tier() -> None:
    registry = CollectorRegistry()
    cache = CacheManager("quotes", capacity=3, collector=MetricsCollector(registry=registry, strict=True))
    for key in "aab":
        cache.get(key, Loader())

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"program_cache_{name}", {"cache": "quotes", **labels})

    assert value("requests_total", tier="memory", result="hit") == 1
    assert value("requests_total", tier="memory", result="miss") == 2
    assert value("requests_total", tier="loader", result="hit") == 2
    assert value("requests_total", tier="redis", result="error") == 0
    assert (value("entries"), value("capacity"), value("load_duration_seconds_count")) == (2, 3, 2)


def test_memory_is_given_back(clock: Clock) -> None:
    cache = made(clock, ttl=60)
    for number in range(8):
        cache.set(str(number), number, ttl=5 if number < 2 else 60)
    clock.now += 5
    assert cache.clear_expired() == 2
    assert cache.shrink() == 3
    assert [cache.get(str(number)) for number in range(8)] == [None] * 5 + [5, 6, 7]
    assert cache.clear_memory() == 3
    assert cache.get_cache_statistics()["entries"] == 0


# Waiters.


def test_threads_and_tasks_wait_for_one_load() -> None:
    cache, begun, go = made(), threading.Event(), threading.Event()
    loads: list[str] = []

    def loader(key: str) -> str:
        loads.append(key)
        begun.set()
        go.wait()
        return key.upper()

    async def tasks() -> list[Any]:
        waiting = [asyncio.create_task(cache.aget("a", loader)) for _ in range(10)]
        await asyncio.sleep(0)
        waiters.release()
        return await asyncio.gather(*waiting)

    found: list[Any] = []
    waiters = threading.Semaphore(0)
    threads = [threading.Thread(target=lambda: found.append(cache.get("a", loader))) for _ in range(10)]
    threads += [threading.Thread(target=lambda: found.extend(asyncio.run(tasks()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    for _ in range(3):
        waiters.acquire()
    go.set()
    for thread in threads:
        thread.join()
    assert found == ["A"] * 40
    assert loads == ["a"]


def test_a_waiter_that_is_cancelled_ends_the_load_for_no_other() -> None:
    cache = made()

    async def main() -> Any:
        go, loads = asyncio.Event(), []

        async def loader(key: str) -> str:
            loads.append(key)
            await go.wait()
            return key.upper()

        tasks = [asyncio.create_task(cache.aget("a", loader)) for _ in range(5)]
        while not loads:
            await asyncio.sleep(0)
        for task in (tasks[0], tasks[3]):  # the first has begun the load
            task.cancel()
        await asyncio.wait([tasks[0], tasks[3]])
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True), loads

    found, loads = asyncio.run(main())
    assert [each for each in found if each == "A"] == ["A"] * 3
    assert loads == ["a"]


def test_what_a_loader_raises_is_raised_in_all_its_waiters() -> None:
    cache = made()

    async def main() -> list[Any]:
        loads = []

        async def loader(key: str) -> str:
            loads.append(key)
            await asyncio.sleep(0)
            raise OSError(key)

        found = await asyncio.gather(*[cache.aget("a", loader) for _ in range(50)], return_exceptions=True)
        assert loads == ["a"]
        return found

    assert [type(each) for each in asyncio.run(main())] == [OSError] * 50


def test_a_load_of_an_event_loop_that_ends_is_taken_over_by_a_waiter() -> None:
    cache, begun = made(), threading.Event()

    async def never(key: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def leave() -> None:
        waiter = asyncio.create_task(cache.aget("a", never))
        while not begun.is_set():
            await asyncio.sleep(0)
        joined.wait()
        waiter.cancel()

    found: list[Any] = []
    joined = threading.Event()
    loop = threading.Thread(target=lambda: asyncio.run(leave()))
    loop.start()
    begun.wait()
    waiter = threading.Thread(target=lambda: found.append(cache.get("a", Loader())))
    waiter.start()
    joined.set()
    waiter.join()
    loop.join()
    assert found == ["A"]


def test_a_blocking_call_in_the_event_loop_of_the_load_does_not_wait_for_it() -> None:
    cache = made()

    async def main() -> Any:
        go = asyncio.Event()

        async def loader(key: str) -> str:
            await go.wait()
            return "late"

        task = asyncio.create_task(cache.aget("a", loader))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now = cache.get("a", Loader())
        go.set()
        return now, await task

    assert asyncio.run(main()) == ("A", "late")


@pytest.mark.parametrize("action", ["invalidate", "invalidate_prefix", "invalidate_all", "set"])
def test_a_load_of_before_an_invalidation_does_not_come_back(action: str) -> None:
    cache = made()
    arguments = {"invalidate_all": (), "set": ("a", "new")}.get(action, ("a",))

    async def main() -> tuple[Any, Any]:
        begun, go = asyncio.Event(), asyncio.Event()

        async def loader(key: str) -> str:
            begun.set()
            await go.wait()
            return "old"

        before = asyncio.create_task(cache.aget("a", loader))
        await begun.wait()
        getattr(cache, action)(*arguments)
        after = await cache.aget("a", lambda key: "new")
        go.set()
        return await before, after

    assert asyncio.run(main()) == ("old", "new")
    assert cache.get("a") == "new"


def test_a_coroutine_function_is_no_loader_for_threads() -> None:
    async def loader(key: str) -> str:
        return key

    for each in (loader, lambda key: loader(key)):
        with pytest.raises(TypeError, match="use aget"):
            made().get("a", each)
    assert asyncio.run(made().aget("a", lambda key: loader(key))) == "a"


# The model: what a cache may answer, by what was set and loaded.


class CacheModel(RuleBasedStateMachine):
    """A cache beside a dict with times: it may forget, and never answers with what it must have forgotten."""

    keys = st.sampled_from(["a:1", "a:2", "b:1", "b:2"])

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.cache = made(self.clock, capacity=3, max_capacity=3, ttl=60, negative_ttl=10)
        self.kept: dict[str, tuple[int | None, float]] = {}
        self.source: dict[str, int] = {}
        self.number = 0

    @rule(key=keys)
    def get(self, key: str) -> None:
        loads: list[str] = []

        def loader(asked: str) -> int | None:
            loads.append(asked)
            return self.source.get(asked)

        value, until = self.kept.get(key, (None, 0.0))
        found = self.cache.get(key, loader)
        if loads:
            assert found == self.source.get(key)
            self.kept[key] = found, self.clock.now + (10 if found is None else 60)
        else:
            assert until > self.clock.now
            assert found == value

    @rule(key=keys, ttl=st.sampled_from([1, 30, 100]))
    def set(self, key: str, ttl: int) -> None:
        self.number += 1
        self.cache.set(key, self.number, ttl=ttl)
        self.kept[key] = self.number, self.clock.now + ttl

    @rule(key=keys)
    def change(self, key: str) -> None:
        self.number += 1
        self.source[key] = self.number
        self.cache.invalidate(key)
        self.kept.pop(key, None)

    @rule(prefix=st.sampled_from(["a:", "b:", ""]))
    def invalidate_prefix(self, prefix: str) -> None:
        self.cache.invalidate_prefix(prefix)
        self.kept = {key: kept for key, kept in self.kept.items() if not key.startswith(prefix)}

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def give_memory_back(self) -> None:
        self.cache.clear_expired()
        self.cache.shrink()

    @invariant()
    def it_has_no_more_entries_than_its_capacity(self) -> None:
        assert self.cache.get_cache_statistics()["entries"] <= 3


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=50, stateful_step_count=30)


# Capacity.


def test_the_capacity_doubles_when_evicted_keys_are_asked_for_again() -> None:
    cache = made(capacity=50, max_capacity=150)
    told = []
    for _ in range(4):
        for _ in range(20):
            for number in range(80):
                cache.get(str(number), Loader())
        told.append(cache.optimize_cache())
    assert [each["capacity"] for each in told] == [100, 100, 100, 100]
    assert told[0]["text"].startswith("raise the capacity to 100: hit rate 0.0%, ")
    assert told[-1]["hit_rate"] == 1.0


def test_the_capacity_stays_when_more_would_not_help() -> None:
    cache = made(capacity=50, max_capacity=150)
    for number in range(2000):
        cache.get(str(number), Loader())
    assert cache.optimize_cache()["text"].startswith("no change: hit rate 0.0%, 0.0% of requests")


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 99), st.integers(0, 99))
def test_advice_is_bounded_and_needs_evidence(hits: int, misses: int, near: int, capacity: int, more: int) -> None:
    window = Window(hits + misses, hits, min(near, misses))
    found = advise(window, capacity, capacity + more)
    assert capacity <= found.capacity <= min(2 * capacity, capacity + more)
    if found.capacity > capacity:
        assert window.requests >= 1000
        assert window.near_misses >= window.requests / 100


@pytest.mark.parametrize(("capacity", "most"), [(0, 10), (11, 10)])
def test_an_impossible_capacity_is_refused(capacity: int, most: int) -> None:
    with pytest.raises(ValueError, match="capacity is from 1 to max_capacity"):
        made(capacity=capacity, max_capacity=most)


# Values in Redis, and keys that are not read there.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@given(JSON.filter(lambda value: value is not None))
def test_a_value_of_json_comes_back_from_redis(value: Any) -> None:
    try:
        payload = packed(value, orjson.dumps, orjson.loads)
    except (NotFaithful, TypeError):  # lone surrogates are no JSON
        return
    assert is_same(unpacked(payload, orjson.loads), value)


@pytest.mark.parametrize("value", [(1, 2), [1, (2,)], float("nan"), {"a": float("inf")}, {1: 2}, {1}, object()])
def test_a_value_that_json_would_change_is_not_written(value: Any) -> None:
    with pytest.raises((NotFaithful, TypeError)):
        packed(value, orjson.dumps, orjson.loads)


@pytest.mark.parametrize("payload", [b"", b"x", b"-1", b"1", b"\x80\x04"])
def test_bytes_of_another_program_are_no_entry(payload: bytes) -> None:
    with pytest.raises(ValueError, match="no entry of a cache"):
        unpacked(payload, orjson.loads)


def test_a_key_is_distrusted_until_its_own_mark_ends() -> None:
    distrust = Distrust()
    first = distrust.add("a", is_prefix=False, until=10)
    second = distrust.add("a", is_prefix=False, until=20)
    assert not distrust.remove(first)
    assert distrust.of("a", 0) == [second]
    assert distrust.of("ab", 0) == []
    assert distrust.remove(second)
    assert distrust.of("a", 0) == []


def test_a_prefix_is_distrusted_with_all_its_keys_until_its_time() -> None:
    distrust = Distrust()
    mark = distrust.add("up", is_prefix=True, until=10)
    assert [distrust.of(key, 5) for key in ("upbit", "okx")] == [[mark], []]
    assert distrust.of("upbit", 10) == []


def test_too_many_marks_become_one_of_all_keys() -> None:
    distrust = Distrust()
    for number in range(MOST + 1):
        distrust.add(str(number), is_prefix=False, until=number)
    (mark,) = distrust.of("any other", 0)
    assert (mark.text, mark.is_prefix, mark.until) == ("", True, MOST)


def test_threads_read_while_others_invalidate() -> None:
    """No exception, and no value of before the invalidation that the reader's own thread has made."""
    calls, errors = ThreadCalls(made()), []
    numbers = dict.fromkeys("abcd", 0)

    def run(key: str) -> None:
        try:
            for number in range(300):
                numbers[key] = number
                calls.cache.invalidate(key)
                assert calls.call("get", key, lambda asked: numbers[asked]) == number
                calls.call("get", "shared", Loader())
                calls.cache.invalidate_prefix("sh")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run, args=(key,)) for key in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("option", ["ttl", "negative_ttl", "redis_timeout"])
@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_times_below_zero_are_refused(option: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=option):
        CacheManager(**{option: seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["name", "loader"])
def test_options_of_another_type_are_refused(option: str) -> None:
    with pytest.raises(TypeError, match=option):
        CacheManager(**{option: 5})  # type: ignore[arg-type]
