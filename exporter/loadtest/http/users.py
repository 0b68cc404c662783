"""The users of a load test over HTTP.

Locust loads this file in processes of its own: it replaces sockets and threads by those of gevent, so nothing else may
import it. A thread of this file is a greenlet, as each user is.
"""

from __future__ import annotations

import http.client
import signal
import ssl
from base64 import b64encode
from contextlib import closing
from itertools import count
from random import choices
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import locust
from locust import FastHttpUser, User, task
from locust.contrib.fasthttp import FastResponse
from locust.exception import CatchResponseError

from exporter.loadtest.http.channel import Channel
from exporter.loadtest.http.follower import Follower
from exporter.loadtest.http.pages import (
    METRICS,
    QUERIES,
    SCRAPES,
    SECONDS_BETWEEN_STREAMS,
    STREAM,
    STREAM_NAME,
    UPDATES,
    UPDATES_NAME,
    Page,
    fault,
)
from exporter.loadtest.http.plan import Step
from exporter.loadtest.http.recorder import Recorder
from exporter.loadtest.http.schedule import Schedule, phase

# The load test blocks signals, which a thread of it receives; its children inherit that.
signal.pthread_sigmask(signal.SIG_SETMASK, ())
# Without an answer for so many seconds a worker is given up, and 3 are no more than a busy machine, which is what load
# tests make.
locust.runners.HEARTBEAT_LIVENESS = 30
_channel = Channel.inherited()
_plan = _channel.plan()
_recorder = Recorder(_channel.send, is_stepped=_plan.is_stepped)
# Longer than any run; and until a user looks for another step.
_UNTIL_STOPPED, _STEP_SECONDS = 1e6, 0.05
_events: Any = locust.events  # their methods have no types


def _tls(**_: object) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_plan.ca_file)
    if _plan.cert_file is not None:
        context.load_cert_chain(_plan.cert_file, _plan.key_file)
    if _plan.server_name is not None:
        wrap, name = context.wrap_socket, _plan.server_name
        context.wrap_socket = lambda sock, **more: wrap(sock, **more | {"server_hostname": name})  # type: ignore[method-assign]
    return context


def _authorization() -> dict[str, str]:
    if _plan.username is None:
        return {}
    pair = f"{_plan.username}:{_plan.password or ''}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}


class _Paced(User):
    """A user whose requests are due at equal distances, and are measured from then."""

    abstract = True
    host = _plan.url  # Locust's page may replace it
    seconds_between = _plan.seconds_between

    def on_start(self) -> None:
        """See User."""
        self.schedule = Schedule(monotonic(), self.seconds_between)

    def on_stop(self) -> None:
        """See User."""
        _recorder.overdue(self.schedule.overdue(min(monotonic(), _recorder.until)))

    @property
    def is_due(self) -> bool:
        """Whether a request is due, of those that are to be sent."""
        return self.schedule.due < min(monotonic(), _recorder.until)

    def wait_time(self) -> float:
        """See User."""
        # A user that wakes while Locust ends it would be stopped amid a request.
        return self.schedule.wait(monotonic()) if self.schedule.due < _recorder.until else _UNTIL_STOPPED


class _Answer(FastResponse):
    """An answer whose head has come."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.head_at = monotonic()


class _Reader(_Paced, FastHttpUser):
    """A user that requests pages, each by its weight."""

    abstract = True
    network_timeout = connection_timeout = _plan.timeout_seconds
    insecure = False
    ssl_context_factory = staticmethod(_tls)
    default_headers = _authorization()
    pages: tuple[Page, ...] = ()

    def on_start(self) -> None:
        """See User."""
        super().on_start()
        self.client.client.response_type = _Answer  # type: ignore[misc]  # its class variable is the default

    @task
    def read(self) -> None:
        """Request the pages that are due, also those that became so meanwhile: a run that ends waits for a task."""
        while self.is_due:
            self._request()

    def _request(self) -> None:
        (page,) = choices(self.pages, [each.weight for each in self.pages])  # noqa: S311
        path, sent = _plan.metrics_path if page.path == METRICS else page.path, monotonic()
        _recorder.sent(self.schedule.sent(sent))
        with self.client.get(path, name=page.name, headers=page.headers, catch_response=True) as answer:
            meta, now = answer.request_meta, monotonic()
            meta["response_time"] = self.schedule.answered(now) * 1000
            if answer.status_code:
                _recorder.served((now - sent) * 1000, (now - answer.head_at) * 1000)
                found = fault(page, answer.status_code, answer.headers, meta["response_length"])
                meta["response_length"] = int(answer.headers.get("content-length") or 0)  # before it was decompressed
                answer.failure(found) if found else answer.success()


class Scraper(_Reader):
    """Prometheus: `/metrics` in the formats and encodings that there are."""

    abstract = _plan.is_stepped
    weight = 3
    pages = SCRAPES


class PageReader(_Reader):
    """A reader of the live page and of the JSON behind it."""

    abstract = _plan.is_stepped
    weight = 2
    pages = QUERIES


class SteppedScraper(_Reader):
    """A scraper that has an equal share of the requests of each step."""

    abstract = not _plan.is_stepped
    pages = SCRAPES
    numbers = count()

    def on_start(self) -> None:
        """See User."""
        super().on_start()
        self.number = next(self.numbers)
        self.step: Step | None = None

    def on_stop(self) -> None:
        """See User; what is not sent of a step is not missed."""

    @property
    def is_due(self) -> bool:
        """See _Paced."""
        step = self._current_step()
        return step is not None and self.schedule.due < min(monotonic(), step.end) and monotonic() < step.end

    def wait_time(self) -> float:
        """See User: until the next request, or until there may be another step."""
        step = self._current_step()
        is_over = step is None or max(self.schedule.due, monotonic()) >= step.end
        return _STEP_SECONDS if is_over else self.schedule.wait(monotonic())

    def _current_step(self) -> Step | None:
        if (step := _recorder.step) is not self.step and step is not None:
            between = _plan.users / step.rate
            begin = step.begin + phase(_recorder.worker + self.number * _plan.workers) * between
            self.step, self.schedule = step, Schedule(begin, between)
        return self.step


class Watcher(_Paced):
    """A reader of the stream: waits for the first message, then for some updates, and comes again."""

    abstract = not _plan.watchers
    fixed_count = _plan.watchers
    seconds_between = SECONDS_BETWEEN_STREAMS

    @task
    def watch(self) -> None:
        """Read the stream for some seconds."""
        _recorder.sent(self.schedule.sent(monotonic()))
        try:
            with closing(_connection(self.host or _plan.url)) as connection:
                connection.request("GET", STREAM, headers={"Accept": "text/event-stream", **_authorization()})
                answer = connection.getresponse()
                if answer.status != 200:
                    raise CatchResponseError(f"status {answer.status}")
                self._first_message(_read_message(answer))
                self._updates(answer)
        except (OSError, http.client.HTTPException, CatchResponseError) as error:
            self._first_message(0, error)

    def _first_message(self, size: int, error: Exception | None = None) -> None:
        ms = self.schedule.answered(monotonic()) * 1000
        _report_answer(STREAM_NAME, ms, size, error)

    def _updates(self, answer: http.client.HTTPResponse) -> None:
        try:
            for _ in range(UPDATES):
                _read_message(answer)
        except (OSError, http.client.HTTPException) as error:
            _recorder.sent(0.0)
            _report_answer(UPDATES_NAME, 0.0, 0, error)


def _report_answer(name: str, ms: float, size: int, error: Exception | None) -> None:
    _events.request.fire(
        request_type="GET", name=name, response_time=ms, response_length=size, exception=error, context={}
    )


def _connection(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    if place.scheme == "https":
        return http.client.HTTPSConnection(place.netloc, timeout=_plan.timeout_seconds, context=_tls())
    return http.client.HTTPConnection(place.netloc, timeout=_plan.timeout_seconds)


def _read_message(answer: http.client.HTTPResponse) -> int:
    """Read a message, which ends with an empty line, and return its bytes; raise `OSError` at the end of the stream."""
    size = 0
    while line := answer.readline():
        size += len(line)
        if line == b"\n" and size > 1:
            return size
    raise ConnectionResetError


Follower(_channel, _recorder, is_stepped=_plan.is_stepped).listen(_events)
