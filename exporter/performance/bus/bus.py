"""The event bus of a program."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.library.functions import check_function, is_async, name_of
from exporter.performance.bus.figures import HandlerFigures
from exporter.performance.bus.worker import Handler, HandlerOptions, WhenFull, Worker, running_loop
from exporter.performance.notices import log

# A publisher that never waits for anything leaves the handlers a turn after so many events.
TURN_EVENTS = 64
# Time limits are checked this often; a tenth of the shortest, if that is more often.
CHECK_SECONDS = 1.0
SHORTEST_CHECK_SECONDS = 0.01
LAST_SECONDS = 0.1


class EventBus:
    """Bus from publishers to async handlers, each with a bounded queue and a worker of its own.

    A handler that hangs, fails or is slow delays none of the others, as long as it does not block the event loop. One
    handler handles its events in order. Events that are published before `start` wait in the queues. It is a context
    manager of `async with`. Metrics have the label `bus`: give each bus of a program a `name` of its own.
    """

    def __init__(self, name: str = "bus", *, collector: MetricsCollector | None = None) -> None:
        self.name = name
        self._collector = collector or get_metrics_collector()
        self._workers: dict[str, Worker] = {}
        self._subscribed: dict[str, tuple[Worker, ...]] = {}
        self._tasks: dict[Worker, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False
        self._published = 0
        self._unhandled = 0

    def subscribe(
        self,
        event: str,
        handler: Handler,
        *,
        name: str | None = None,
        queue_capacity: int = 1000,
        time_limit: float = 5.0,
        max_retries: int = 0,
        retry_delay: float = 0.1,
        when_full: WhenFull = "drop",
    ) -> None:
        """Call a coroutine function with the payload of each event of that name.

        An attempt is cancelled after `time_limit` seconds. One that failed or was cancelled is repeated up to
        `max_retries` times, after `retry_delay` seconds that double each time; the events behind it wait. When its
        queue is full, events are dropped, or `publish` waits (`when_full`). A handler of several events has one queue.
        Raises `TypeError` for what is no coroutine function, `ValueError` for a name that another handler has.
        """
        check_function(handler, "a handler is called")
        if not is_async(handler):
            raise TypeError(
                f"{name_of(handler)} is no coroutine function: use asyncio.to_thread in one for what blocks"
            )
        options = HandlerOptions(queue_capacity, time_limit, max_retries, retry_delay, when_full)
        options.check()
        worker = self._worker(name or name_of(handler), handler, options)
        if worker not in self._subscribed.get(event, ()):
            worker.figures.add_event(event)
            self._subscribed[event] = (*self._subscribed.get(event, ()), worker)

    async def publish(self, event: str, payload: Any = None) -> int:
        """Queue an event for its handlers; return how many took it. Waits for room only where that was chosen."""
        refused = self._offer(event, payload)
        taken = len(self._subscribed.get(event, ())) - len(refused)
        for worker in refused:
            if worker.options.when_full == "wait" and await worker.put(event, payload):
                taken += 1
            else:
                worker.refuse(event)
        if self._published % TURN_EVENTS == 0:
            await asyncio.sleep(0)
        return taken

    def publish_nowait(self, event: str, payload: Any = None) -> int:
        """Queue an event for its handlers, from any thread; return how many took it. It is dropped for the others."""
        refused = self._offer(event, payload)
        for worker in refused:
            worker.refuse(event)
        return len(self._subscribed.get(event, ())) - len(refused)

    async def start(self) -> None:
        """Begin to handle events, in the running event loop; after an event loop that was closed, in the next.

        Raises `RuntimeError` after the end, and where the bus works in another event loop.
        """
        if self._is_stopped:
            raise RuntimeError(f"the bus {self.name} was stopped")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop) and not self._loop.is_closed():
            raise RuntimeError(f"the bus {self.name} works in another event loop")
        if self._loop is not loop:
            self._loop = loop
            for worker in self._workers.values():
                self._tasks[worker] = worker.start()
            self._check(loop)

    async def stop(self, limit: float = 10.0) -> int:
        """Take no more events, and wait up to `limit` seconds until all are handled; return how many were not.

        Handlers that have not ended then are cancelled, and what they did not handle is counted as dropped.
        """
        self._is_stopped = True
        for worker in self._workers.values():
            worker.close()
        loop = asyncio.get_running_loop()
        # Those of an event loop that was closed cannot end.
        tasks = {worker: task for worker, task in self._tasks.items() if task.get_loop() is loop}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=limit)
        rest = sum([worker.drop_queue() for worker in self._workers.values()])
        rest += sum([worker.drop_current() for worker in self._workers.values() if worker not in tasks])
        late = {task: worker for worker, task in tasks.items() if not task.done()}
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LAST_SECONDS)
        for task, worker in late.items():
            rest += worker.drop_current()
            if not task.done():
                log.warning("handler %s does not end when it is cancelled", worker.figures.name)
        self._show_queues()
        if self._timer is not None:
            self._timer.cancel()
        return rest

    def get_statistics(self) -> dict[str, Any]:
        """Return counts since the start: `published` and `unhandled` events, and `handlers` by name.

        Each handler has `handled`, `failed`, `timed_out`, `dropped` with `dropped_by_reason`, `retried`,
        `queue_length`, `queue_capacity`, and `seconds`, the statistics of its calls in the last 10 minutes.
        """
        handlers = {name: worker.figures.shown(len(worker)) for name, worker in list(self._workers.items())}
        return {
            "name": self.name,
            "published": self._published,
            "unhandled": self._unhandled,
            "handlers": handlers,
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def _worker(self, name: str, handler: Handler, options: HandlerOptions) -> Worker:
        worker = self._workers.get(name)
        if worker is None:
            is_working = self._loop is not None and not self._loop.is_closed()
            if is_working and self._loop is not running_loop():
                raise RuntimeError(f"subscribe in the event loop that the bus {self.name} works in")
            figures = HandlerFigures(self.name, name, options.queue_capacity, self._collector)
            worker = self._workers[name] = Worker(handler, options, figures)
            if is_working:
                self._tasks[worker] = worker.start()
        elif worker.handler != handler or worker.options != options:
            raise ValueError(f"a handler {name} is subscribed already, with another function or other options")
        return worker

    def _offer(self, event: str, payload: Any) -> list[Worker]:
        """Queue an event; return the workers that did not take it."""
        self._published += 1
        workers = self._subscribed.get(event)
        if workers is None:
            self._unhandled += 1
            return []
        return [worker for worker in workers if not worker.offer(event, payload)]

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel attempts that are beyond their time limit, now and again later."""
        now = time.monotonic()
        for worker in self._workers.values():
            worker.check_time(now)
        self._show_queues()
        shortest = min([worker.options.time_limit for worker in self._workers.values()], default=CHECK_SECONDS)
        pause = min(CHECK_SECONDS, max(SHORTEST_CHECK_SECONDS, shortest / 10))
        self._timer = loop.call_later(pause, self._check, loop)

    def _show_queues(self) -> None:
        for worker in self._workers.values():
            worker.figures.queue.set(len(worker))


EventDrivenArchitecture = EventBus
