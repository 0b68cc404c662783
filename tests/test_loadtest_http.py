"""Load over HTTP: requests are measured from when they were due, and nothing of Locust is left behind."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from exporter.config.web_schema import WebClientConfig
from exporter.loadtest.http.pages import (
    METRICS,
    QUERIES,
    SCRAPES,
    STREAM_NAME,
    Page,
    error_kind,
    fault,
    wanted_per_second,
    watchers,
)
from exporter.loadtest.http.plan import Done, Kind, Ready, Report, decode
from exporter.loadtest.http.recorder import Recorder
from exporter.loadtest.http.schedule import Schedule
from exporter.loadtest.http.target import HttpTarget
from exporter.loadtest.http.totals import Totals
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.schedule import Schedule as LoadSchedule
from exporter.loadtest.settings import Settings
from exporter.loadtest.target import TargetError
from tests.support.browser import chromium
from tests.support.loadtest import configured
from tests.support.process import free_port
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, USER, WebFiles, users

USERS, RATE = 6, 20.0
SECONDS = 60.0
NO_BROKER: Mapping[str, object] = {"kafka.bootstrap_servers": "127.0.0.1:1", "output.enabled": False}
Begin = Callable[..., HttpTarget]
NAMES = {page.name for page in (*SCRAPES, *QUERIES)} | {STREAM_NAME}


def settings(port: int, scheme: str = "http", **more: object) -> Settings:
    given: dict[str, object] = {"users": USERS, "spawn_rate": 50.0, "user_rate": RATE, "seconds": 60.0, **more}
    url = f"{scheme}://127.0.0.1:{port}"
    return Settings(**{"profile": "smoke", "targets": ("http",), "url": url, **given})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar without a broker: its server works all the same."""
    sidecar = Sidecar(tmp_path_factory.mktemp("loadtest"), NO_BROKER).start()
    yield sidecar
    sidecar.kill()


def group(target: HttpTarget) -> list[psutil.Process]:
    """All processes of Locust."""
    first = psutil.Process(target.pids()["Locust"])
    return [first, *first.children(recursive=True)]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a load test whose Locust, with all its workers, has answers: `begin(port, workers=2)`."""
    with ExitStack() as running:

        def start(port: int, scheme: str = "http", **more: object) -> HttpTarget:
            target = HttpTarget(settings(port, scheme, **more))
            running.callback(target.stop)
            target.prepare(threading.Event())
            target.start(time.monotonic())
            workers = int(str(more.get("workers", 1)))
            processes = workers + 1 if workers > 1 else 1
            answers = -1 if more.get("profile") == "stress" else 20
            eventually(lambda: target.counts().answered > answers and len(target.pids()) == processes, SECONDS)
            return target

        yield start


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def blocked_signals(process: psutil.Process) -> int:
    """The mask of signals that do not reach a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)


def assert_each_request_is_accounted_for(result: TargetResult) -> None:
    assert result.sent == result.answered + result.failed + result.unanswered
    assert result.answered == sum(part.answered for part in result.parts)
    assert result.latency is not None
    assert result.latency.count == result.answered == sum(each.count for each in result.timeline)


def pause(sidecar: Sidecar, seconds: float) -> None:
    """Freeze the sidecar, and return when it has been frozen for so long."""
    sidecar.freeze()
    frozen = time.monotonic()
    eventually(lambda: time.monotonic() > frozen + seconds)


def test_a_stall_is_in_the_latencies_of_all_requests_that_were_due_in_it(sidecar: Sidecar, begin: Begin) -> None:
    target = begin(sidecar.port, workers=2)
    processes = group(target)
    pause(sidecar, 1.0)
    sidecar.resume()
    answered = target.counts().answered
    eventually(lambda: target.counts().answered > answered + 200, SECONDS)
    pause(sidecar, 0.5)
    try:
        result = target.stop()
    finally:
        sidecar.resume()
    assert_each_request_is_accounted_for(result)
    assert result.errors == {}
    assert {part.name for part in result.parts} == NAMES
    late = sum(bucket.count for bucket in result.latency.buckets if bucket.upper_ms > 300) if result.latency else 0
    # Users that waited for an answer before the next request would have met it once each.
    assert late > 3 * USERS
    # Nothing is answered at the end: neither what was sent, nor what became due meanwhile.
    assert result.unanswered > 3 * USERS
    assert "were due and not sent" in result.notes[0]
    assert target.lag.count > 0
    assert all(has_ended(process) for process in processes)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 1.5), (2, 60.0)])
def test_the_end_of_a_run_in_time_or_before_leaves_no_request_without_an_answer(
    sidecar: Sidecar, begin: Begin, workers: int, seconds: float
) -> None:
    target = begin(sidecar.port, workers=workers, seconds=seconds)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 1.5)
    result = target.stop()
    assert_each_request_is_accounted_for(result)
    assert (result.unanswered, result.notes) == (0, ())


class SecureSidecar(Sidecar):
    """A sidecar that requires a certificate and a password, without a broker."""

    def __init__(self, directory: Path) -> None:
        self.files = WebFiles(directory)
        self.files.write(tls_server_config=self.files.mutual(), basic_auth_users=users())
        super().__init__(directory / "sidecar", {**NO_BROKER, "web.config_file": str(self.files.path)})

    def ready(self) -> bool:
        """See Part."""
        return "serving HTTP" in self.log

    def client(self, password: str = PASSWORD) -> WebClientConfig:
        """What its clients need."""
        files = self.files
        return configured(
            "127.0.0.1:1",
            web__client__ca_file=str(files.authority.certificate),
            web__client__cert_file=str(files.scraper.certificate),
            web__client__key_file=str(files.scraper.key),
            web__client__username=USER,
            web__client__password=password,
        ).web.client


def test_users_have_certificates_and_passwords_and_are_shown_on_the_page_of_locust(
    tmp_path: Path, begin: Begin
) -> None:
    page, sidecar = free_port(), SecureSidecar(tmp_path)
    sidecar.start()
    try:
        wrong = settings(sidecar.port, "https", client=sidecar.client("another"))
        with pytest.raises(TargetError, match="answers 401"):
            HttpTarget(wrong).prepare(threading.Event())
        target = begin(sidecar.port, "https", client=sidecar.client(), web=True, web_port=page)
        with chromium() as browser:
            tab = browser.new_page()
            tab.goto(f"http://127.0.0.1:{page}")
            tab.get_by_text("/metrics OpenMetrics, gzip").first.wait_for()
            assert tab.get_by_text(f"https://127.0.0.1:{sidecar.port}").first.is_visible()
        result = target.stop()
    finally:
        sidecar.kill()
    assert result.errors == {}
    assert_each_request_is_accounted_for(result)


def test_a_locust_that_is_killed_ends_the_run_and_its_workers(sidecar: Sidecar, begin: Begin) -> None:
    # As a command does, which waits for signals in a thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        target = begin(sidecar.port, workers=2)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    first, *workers = group(target)
    assert [blocked_signals(process) for process in (first, *workers)] == [0, 0, 0]
    assert target.failure() is None
    first.kill()
    failure = eventually(target.failure)
    assert failure is not None
    assert (failure.ended, failure.because[:16]) == (Ended.FAILED, "Locust has ended")
    assert_each_request_is_accounted_for(target.stop())
    assert len(workers) == 2
    eventually(lambda: all(has_ended(process) for process in (first, *workers)))


OWNER = """
import sys, threading, time
from exporter.loadtest.http.target import HttpTarget
from exporter.loadtest.settings import Settings
port = int(sys.argv[1])
given = {"users": 2, "spawn_rate": 9.0, "seconds": 60.0, "url": f"http://127.0.0.1:{port}", "workers": 2}
target = HttpTarget(Settings(profile="smoke", targets=("http",), **given))
target.prepare(threading.Event())
target.start(time.monotonic())
print(target.pids()["Locust"], flush=True)
time.sleep(600)
"""


def test_locust_ends_with_a_load_test_that_is_killed(sidecar: Sidecar) -> None:
    command = [sys.executable, "-c", OWNER, str(sidecar.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        first = psutil.Process(int(owner.stdout.readline()))
        processes = [first, *first.children()]
        owner.kill()
    assert len(processes) == 3
    eventually(lambda: all(has_ended(process) for process in processes), SECONDS)


def test_what_cannot_be_tested_is_told_before_anything_starts(sidecar: Sidecar) -> None:
    with pytest.raises(TargetError, match=r"http://127\.0\.0\.1:\d+/metrics does not answer: .*refused"):
        HttpTarget(settings(free_port())).prepare(threading.Event())
    missing = settings(sidecar.port, metrics_path="/other")
    with pytest.raises(TargetError, match="/other answers 404"):
        HttpTarget(missing).prepare(threading.Event())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TargetError, match=f"cannot listen on port {port}: Address already in use"):
            HttpTarget(settings(sidecar.port, web=True, web_port=port)).prepare(threading.Event())


@pytest.mark.parametrize("workers", [1, 2])
def test_users_of_a_stress_test_send_the_rate_of_each_step_and_no_more(
    sidecar: Sidecar, begin: Begin, workers: int
) -> None:
    target = begin(sidecar.port, profile="stress", workers=workers)
    target.trace.is_kept = target.lag_trace.is_kept = True
    for number, rate in enumerate((40.0, 80.0), start=1):
        target.trace.clear()
        target.lag_trace.clear()
        begun = time.monotonic() - target.started + 0.2
        target.send(LoadSchedule(rate), begun, 2.0)
        eventually(lambda: not target.is_sending, SECONDS)
        assert target.drain()
        # Of each user the last requests may be due within the answer to the one before.
        within = USERS + rate * max(target.trace.ms) / 1000
        assert 2 * rate - within <= len(target.trace.due) == len(target.lag_trace.due) <= 2 * rate + USERS
        assert all(begun <= due < begun + 2.0 for due in target.trace.due)
        assert len(target.figures) == number
    result = target.stop()
    assert_each_request_is_accounted_for(result)
    assert {part.name for part in result.parts} <= {page.name for page in SCRAPES}
    assert (result.unanswered, result.wanted_per_second, result.connections) == (0, None, USERS)
    assert target.figures[-1].cores is not None


def test_a_stop_while_locust_starts_ends_it(sidecar: Sidecar) -> None:
    stopping, target = threading.Event(), HttpTarget(settings(sidecar.port))
    stopping.set()
    target.prepare(stopping)
    (locust,) = group(target)
    result = target.stop()
    assert has_ended(locust)
    assert (result.sent, result.latency, result.timeline) == (0, None, ())


def test_a_report_is_no_sign_that_all_workers_are_ready() -> None:
    assert decode(encode(Report(at=1.0, pid=7))) == Report(at=1.0, pid=7)
    assert decode(encode(Ready())) == Ready()


@pytest.mark.parametrize("page", [*SCRAPES, *QUERIES], ids=lambda page: page.name)
def test_the_sidecar_answers_each_page_as_it_is_asked(sidecar: Sidecar, page: Page) -> None:
    path = "/metrics" if page.path == METRICS else page.path
    answer = sidecar.get(path, **page.headers)
    assert fault(page, answer.status_code, answer.headers, len(answer.content)) is None
    if page in SCRAPES:
        assert answer.headers.get("content-encoding", "identity") == page.encoding


def test_an_answer_of_another_kind_is_an_error() -> None:
    page = SCRAPES[0]
    assert fault(page, 200, {"content-type": "text/html"}, 5) == "another content type"
    assert fault(page, 200, {"content-type": "text/plain"}, 0) == "an empty answer"
    assert fault(page, 503, {}, 5) == "status 503"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "127.0.0.1:8000"), "connection refused"),
        (ConnectionResetError(104, "reset"), "connection closed"),
        (BrokenPipeError(), "connection closed"),
        (TimeoutError("10 s"), "timed out"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "certificate refused"),
        (ValueError("x"), "ValueError"),
    ],
)
def test_errors_have_a_few_kinds_without_addresses(error: Exception, kind: str) -> None:
    assert error_kind(error) == kind


@given(st.floats(0.01, 2.0), st.lists(st.floats(0.0, 10.0), min_size=1, max_size=30))
def test_requests_are_due_at_equal_distances_however_long_answers_take(between: float, answers: list[float]) -> None:
    schedule, now = Schedule(100.0, between), 100.0
    for number, seconds in enumerate(answers):
        assert schedule.due == pytest.approx(100.0 + number * between)
        now += schedule.wait(now)
        assert schedule.overdue(now) == 0  # a user that is free is about to send it
        assert schedule.sent(now) == pytest.approx(0.0, abs=1e-6)
        now += seconds
        overdue = schedule.overdue(now)
        assert overdue == pytest.approx(max(0.0, (now - schedule.due) / between - 0.5), abs=0.51)
        assert schedule.answered(now) == pytest.approx(now - 100.0 - number * between)


def test_a_request_that_is_sent_late_by_the_user_itself_has_a_lag() -> None:
    schedule = Schedule(10.0, 1.0)
    schedule.answered(10.5)
    assert schedule.sent(11.2) == pytest.approx(0.2)
    schedule.answered(14.0)
    assert schedule.sent(14.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("users_", "expected"), [(1, 0), (2, 0), (3, 1), (12, 2), (100, 17), (1000, 24)])
def test_a_sixth_of_the_users_reads_the_stream_and_leaves_some_to_people(users_: int, expected: int) -> None:
    assert watchers(users_) == expected


def test_a_report_of_a_second_is_about_that_second_however_late_it_is_sent() -> None:
    sent: list[Report | Done] = []
    recorder = Recorder(sent.append)
    begun = int(time.monotonic())

    def answered() -> bool:
        recorder.answered("/", 1.0, 1)
        return time.monotonic() >= begun + 2

    eventually(answered)
    recorder.flush()
    moments = [report.at for report in sent if isinstance(report, Report)]
    assert len(moments) >= 2
    assert moments == [moments[0] + number for number in range(len(moments))]
    assert moments[0] % 1 == 0.5


@pytest.mark.parametrize("started", [0.0, 0.3, 0.5, 0.9])
def test_each_second_has_the_answers_of_one_report(started: float) -> None:
    totals = Totals()
    totals.start(started)
    for second in range(1, 6):
        report = Report(at=second + 0.5, pid=1, sent=3, kinds={"/": Kind(latencies=[1.0, 2.0, 3.0])})
        totals.add(report)
    counts = [each.count for each in totals.result(6.0, 3.0, 1).timeline]
    assert [count for count in counts if count] == [3] * 5
    assert counts.count(0) <= 1


def test_fewer_requests_are_wanted_while_users_begin() -> None:
    assert wanted_per_second(2, 10.0, 60.0, 0.0) == 20.0
    assert wanted_per_second(2, 10.0, 60.0, 6.0) == pytest.approx(19.0)
    assert wanted_per_second(2, 10.0, 6.0, 6.0) == pytest.approx(10.0)
    assert wanted_per_second(2, 10.0, 3.0, 6.0) == pytest.approx(5.0)  # it was interrupted then
    assert wanted_per_second(12, 10.0, 60.0, 0.0) == pytest.approx(100.4)


def test_a_sidecar_that_only_refuses_connections_for_seconds_has_died() -> None:
    totals = Totals()
    refused = Kind(errors={"connection refused": 3})
    totals.add(Report(at=1.0, pid=1, sent=3, kinds={"/": Kind(latencies=[1.0, 2.0, 3.0])}))
    totals.add(Report(at=2.0, pid=1, sent=3, kinds={"/": refused}))
    totals.add(Report(at=7.0, pid=1, sent=3, kinds={"/": refused}))
    away = totals.away_since, totals.last
    assert away == (2.0, 7.0)
    totals.add(Report(at=8.0, pid=2, sent=1, overdue=4, kinds={"/": Kind(latencies=[1.0])}))
    assert totals.away_since is None
    result = totals.result(8.0, 10.0, 1)
    assert (result.sent, result.answered, result.errors) == (14, 4, {"connection refused": 6})
    assert result.unanswered == 4
    assert result.notes == ("4 of the requests without an answer were due and not sent: their users still waited",)
