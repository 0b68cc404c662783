"""What a process of Locust does beside its users: it reports what they see, and follows the load test.

Only the file of the users may import it, as importing Locust replaces sockets and threads by those of gevent.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from locust.exception import CatchResponseError
from locust.runners import MasterRunner, WorkerRunner
from msgspec.structs import asdict

from exporter.loadtest.http.channel import Channel
from exporter.loadtest.http.pages import error_kind
from exporter.loadtest.http.plan import Step
from exporter.loadtest.http.recorder import Recorder

# Messages to workers, with the end of the run and with a step.
_UNTIL, _STEP = "until", "step"
_POLL_SECONDS = 0.05


class Follower:
    """Listeners to the events of Locust, and greenlets that report until the load test has ended."""

    def __init__(self, channel: Channel, recorder: Recorder, *, is_stepped: bool) -> None:
        self._channel, self._recorder, self._is_stepped = channel, recorder, is_stepped

    def listen(self, events: Any) -> None:
        """Begin with the events of Locust."""
        recorder = self._recorder
        events.init.add_listener(lambda **given: self._begin(events, **given))
        events.test_start.add_listener(lambda **_: recorder.begin())
        events.test_stopping.add_listener(lambda **_: recorder.end())
        events.quit.add_listener(lambda **_: recorder.flush())

    def _begin(self, events: Any, environment: Any, runner: Any, **_: Any) -> None:
        """Begin to report in a process with users; in the one that directs others, wait for these."""
        recorder = self._recorder
        if isinstance(runner, MasterRunner):
            while len(runner.clients.ready) < environment.parsed_options.expect_workers:
                sleep(_POLL_SECONDS)
        else:
            events.request.add_listener(self._record)
            _repeat(lambda: sleep(1.0 - monotonic() % 1.0), recorder.flush)
            if self._is_stepped:
                _repeat(lambda: sleep(_POLL_SECONDS), recorder.report_step)
        if isinstance(runner, WorkerRunner):
            runner.register_message(_UNTIL, lambda msg, **_: recorder.end_at(msg.data[_UNTIL]))
            runner.register_message(_STEP, lambda msg, **_: recorder.take(Step(**msg.data), runner.worker_index))
        if not environment.parsed_options.worker:
            self._wait_for_start(runner)

    def _wait_for_start(self, runner: Any) -> None:
        until = self._channel.ready().until
        self._recorder.end_at(until)
        if isinstance(runner, MasterRunner):
            runner.send_message(_UNTIL, {_UNTIL: until})
        threading.Thread(target=self._follow, args=(runner,), daemon=True).start()

    def _record(self, name: str, response_time: float, response_length: int, exception: Any, **_: Any) -> None:
        if exception is None:
            self._recorder.answered(name, response_time, response_length)
        else:
            is_known = isinstance(exception, CatchResponseError)
            self._recorder.failed(name, str(exception) if is_known else error_kind(exception))

    def _follow(self, runner: Any) -> None:
        """Pass on steps, and end the process when the load test is gone; those it directs notice when they report."""
        with suppress(OSError):
            for step in self._channel.steps():
                self._recorder.take(step)
                if isinstance(runner, MasterRunner):
                    runner.send_message(_STEP, asdict(step))
        _exit()


def _repeat(wait: Callable[[], None], report: Callable[[], None]) -> None:
    """Report again and again in a greenlet, and end the process when there is no load test to report to."""

    def run() -> None:
        with suppress(OSError):
            while True:
                wait()
                report()
        _exit()

    threading.Thread(target=run, daemon=True).start()


def _exit() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
