"""Metrics are pushed to a real Pushgateway, and written to files whose lines are whole, whatever kills the process."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.instrument import FileStorage, MetricsCollector, PushStorage, Storage, StorageError
from exporter.instrument.library.periodic import THREAD, PeriodicPush
from exporter.instrument.results import Success
from tests.support.process import free_port
from tests.support.pushgateway import PASSWORD, USER, Gateway, PushgatewayServer
from tests.support.waiting import eventually
from tests.support.webfile import WebFiles

GROUP = {"instance": "box/1", "region": ""}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushgatewayServer]:
    """A Pushgateway without users."""
    server = PushgatewayServer(tmp_path_factory.mktemp("pushgateway")).start()
    yield server
    server.kill()


def collector(storage: Storage) -> MetricsCollector:
    """A collector with one counter at 3."""
    made = MetricsCollector(storage, registry=CollectorRegistry())
    made.counter("jobs_total", "Jobs.", {"queue": "a"}).increment(3)
    return made


# Pushes.


def test_metrics_are_pushed_to_a_group_and_deleted_at_the_end(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "orders", grouping_key=GROUP))
    assert made.store().unwrap() == 1
    [sample] = [each for each in gateway.pushed("orders") if each.name == "jobs_total"]
    assert sample.value == 3.0
    assert sample.labels == {"job": "orders", "instance": "box/1", "queue": "a"} | (
        {"region": ""} if "region" in sample.labels else {}
    )
    made.close()
    assert gateway.pushed("orders") == []
    assert "closed" in str(made.store().unwrap_err())


def test_a_group_can_stay(gateway: PushgatewayServer) -> None:
    storage = PushStorage(gateway.url, "nightly", delete_at_end=False)
    with collector(storage) as made:
        assert made.store().is_success()
    assert {each.name for each in gateway.pushed("nightly")} >= {"jobs_total"}


def test_what_was_never_pushed_is_not_deleted(gateway: PushgatewayServer) -> None:
    collector(PushStorage(gateway.url, "replica", delete_at_end=False)).store().unwrap()
    collector(PushStorage(gateway.url, "replica")).close()
    assert gateway.pushed("replica")


def test_another_registry_can_be_pushed(gateway: PushgatewayServer) -> None:
    other = MetricsCollector(registry=CollectorRegistry())
    other.gauge("queue_length").set(5)
    made = collector(PushStorage(gateway.url, "other", registry=other.registry))
    assert made.store().unwrap() == 1
    assert {each.name for each in gateway.pushed("other")} == {"queue_length"}


def test_a_push_is_authorized_by_user_and_password(tmp_path: Path) -> None:
    server = PushgatewayServer(tmp_path, secured=True).start()
    try:
        assert "401" in str(collector(PushStorage(server.url, "a")).store().unwrap_err())
        collector(PushStorage(server.url, "a", username=USER, password=PASSWORD)).store().unwrap()
        with_user = server.url.replace("://", f"://{USER}:{PASSWORD}@")
        storage = PushStorage(with_user, "b")
        collector(storage).store().unwrap()
        assert PASSWORD not in storage.url
        assert server.pushed("a")
        assert server.pushed("b")
    finally:
        server.kill()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> WebFiles:
    """Certificates of a gateway and its clients."""
    return WebFiles(tmp_path_factory.mktemp("web"))


def test_a_push_trusts_an_authority_and_shows_a_certificate(web: WebFiles, tmp_path: Path) -> None:
    server = PushgatewayServer(tmp_path, web=web).start()
    ca_file, (cert_file, key_file) = str(web.authority.certificate), map(str, web.scraper)
    user: dict[str, Any] = {"username": USER, "password": PASSWORD, "attempts": 1}

    def error(job: str, **more: Any) -> str:
        return str(collector(PushStorage(server.url, job, **{**user, **more})).store().unwrap_err())

    try:
        assert "unable to get local issuer certificate" in error("a")
        assert error("a", ca_file=ca_file).startswith(f"{server.url}: ")  # how the server refuses it depends on OpenSSL
        files: dict[str, Any] = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        assert "401" in error("a", **files, username="nobody")
        made = collector(PushStorage(server.url, "a", **user, **files))
        made.store().unwrap()
        assert server.pushed("a")
        made.close()
        assert not server.pushed("a")
        both = str(web.scraper.in_one_file())
        collector(PushStorage(server.url, "b", **user, ca_file=ca_file, cert_file=both)).store().unwrap()
        assert server.pushed("b")
    finally:
        server.kill()


def test_a_certificate_may_be_renewed_between_pushes(web: WebFiles, tmp_path: Path) -> None:
    """A file that is gone meanwhile is a failure of that push."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(web.authority.certificate.read_bytes())
    storage = PushStorage(f"https://127.0.0.1:{free_port()}", "a", ca_file=str(ca_file), attempts=1)
    ca_file.unlink()
    assert f"ca_file {ca_file} cannot be used: no such file" in str(collector(storage).store().unwrap_err())
    ca_file.write_bytes(web.authority.certificate.read_bytes())
    assert "Connection refused" in str(collector(storage).store().unwrap_err())


def test_files_that_cannot_be_used_are_refused_with_their_name(web: WebFiles, tmp_path: Path) -> None:
    ca_file, (cert_file, key_file) = str(web.authority.certificate), map(str, web.scraper)
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    locked = web.authority.issue("locked", passphrase="sesame")
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca_file": "/none"}, "ca_file /none cannot be used: no such file or directory"),
        ({"ca_file": str(no_pem)}, f"ca_file {no_pem} cannot be used: no certificate or crl found"),
        ({"cert_file": ca_file}, f"cert_file {ca_file} cannot be used"),
        ({"cert_file": cert_file, "key_file": str(web.server.key)}, "cannot be used: key values mismatch"),
        ({"cert_file": str(locked.certificate), "key_file": str(locked.key)}, "cannot be used"),
        ({"key_file": key_file}, "cert_file is missing"),
    )
    for files, reason in wrong:
        with pytest.raises(ValueError, match=re.escape(reason)):
            PushStorage("https://gateway", "a", **files)
    with pytest.raises(ValueError, match="ca_file goes with a URL that begins with https"):
        PushStorage("gateway:9091", "a", ca_file=ca_file)


def test_a_password_is_sent_as_it_is() -> None:
    with Gateway() as gateway:
        url = gateway.url.replace("://", "://me:a%2Fb%40c@")
        collector(PushStorage(url, "orders")).store().unwrap()
        [request] = gateway.requests
    assert base64.b64decode(request.authorization.removeprefix("Basic ")) == b"me:a/b@c"


def test_a_temporary_failure_is_repeated_with_the_same_metrics() -> None:
    with Gateway((503, ""), (429, "")) as gateway:
        assert collector(PushStorage(gateway.url, "orders", backoff=0.001)).store().unwrap() == 1
        assert [each.method for each in gateway.requests] == ["PUT"] * 3
        assert len({each.body for each in gateway.requests}) == 1


def test_a_refusal_is_not_repeated_and_has_the_reason_of_the_gateway() -> None:
    with Gateway((400, "pushed metrics are invalid")) as gateway:
        error = collector(PushStorage(gateway.url, "orders")).store().unwrap_err()
        assert str(error) == f"{gateway.url} answers 400: pushed metrics are invalid"
        assert len(gateway.requests) == 1


def test_attempts_end() -> None:
    with Gateway(*[(500, "")] * 5) as gateway:
        error = collector(PushStorage(gateway.url, "orders", attempts=2, backoff=0.001)).store().unwrap_err()
        assert isinstance(error, StorageError)
        assert len(gateway.requests) == 2


def test_a_gateway_that_is_down_is_a_result() -> None:
    url = f"127.0.0.1:{free_port()}"
    result = asyncio.run(collector(PushStorage(url, "orders", backoff=0.001)).collect_and_store())
    assert "Connection refused" in str(result.unwrap_err())


def test_a_gateway_that_never_answers_costs_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = collector(PushStorage(url, "orders", timeout=0.1, attempts=1)).store().unwrap_err()
    assert "timed out" in str(error)


def test_closing_ends_a_pause_between_attempts() -> None:
    with Gateway(*[(503, "")] * 5) as gateway:
        made = collector(PushStorage(gateway.url, "orders", backoff=1e6))
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(made.store()))
        thread.start()
        eventually(lambda: gateway.requests)
        made.close()
        thread.join()
        assert results[0].is_failure()


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("ftp://gateway", {}),
        ("http://", {}),
        ("", {}),
        ("gateway:9091", {"job_name": ""}),
        ("gateway:9091", {"attempts": 0}),
        ("gateway:9091", {"timeout": 0}),
        ("gateway:9091", {"backoff": -1}),
    ],
)
def test_arguments_without_sense_are_refused(url: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"push_gateway_url|job_name|attempts"):
        PushStorage(url, **{"job_name": "orders", **more})


END = """
import sys
from exporter.instrument import MetricsCollector, PushStorage
collector = MetricsCollector(PushStorage(sys.argv[1], "ends"))
collector.counter("jobs_total").increment()
print(collector.store().unwrap())
"""


def test_a_group_is_deleted_when_its_program_ends() -> None:
    with Gateway() as gateway:
        subprocess.run([sys.executable, "-c", END, gateway.url], check=True, capture_output=True)
        assert [each.method for each in gateway.requests] == ["PUT", "DELETE"]


# Periodic pushes.


def test_a_thread_pushes_periodically_and_at_its_end(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "thread", delete_at_end=False))
    with made.push_every(0.01) as push:
        eventually(lambda: gateway.pushed("thread"))
        assert THREAD in {thread.name for thread in threading.enumerate()}
        made.counter("jobs_total", labels={"queue": "b"}).increment()
    assert THREAD not in {thread.name for thread in threading.enumerate()}
    assert push.last is not None
    assert push.last.unwrap() == 2
    assert {each.labels.get("queue") for each in gateway.pushed("thread")} >= {"a", "b"}


def test_a_task_pushes_periodically_and_at_its_end(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "task", delete_at_end=False))

    async def program() -> None:
        async with made.push_every(0.01):
            assert THREAD in {task.get_name() for task in asyncio.all_tasks()}
            await asyncio.to_thread(eventually, lambda: gateway.pushed("task"))
            made.counter("jobs_total", labels={"queue": "b"}).increment()
        assert THREAD not in {task.get_name() for task in asyncio.all_tasks()}
        await made.aclose()

    asyncio.run(program())
    assert {each.labels.get("queue") for each in gateway.pushed("task")} >= {"a", "b"}


def test_the_last_push_begins_when_the_one_before_has_ended() -> None:
    """It has more, and would be replaced by it."""
    began, go_on, steps = threading.Event(), threading.Event(), list[str]()

    def store() -> Success[int]:
        steps.append("begins")
        began.set()
        assert go_on.wait(10)
        steps.append("ends")
        return Success(1)

    async def program() -> None:
        push = PeriodicPush(store, 0.001)
        await asyncio.to_thread(began.wait, 10)
        closing = asyncio.create_task(push.aclose())
        while not push._stopped.is_set() or (push._task is not None and not push._task.cancelling()):
            await asyncio.sleep(0)
        for _ in range(10):  # the last push has begun meanwhile, if it does not wait
            await asyncio.to_thread(began.wait, 10)
        go_on.set()
        await closing

    asyncio.run(program())
    assert steps == ["begins", "ends"] * (len(steps) // 2)
    assert len(steps) >= 4


def test_a_task_pushes_at_the_end_of_its_loop(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "loop", delete_at_end=False))

    async def program() -> None:
        made.push_every(3600)
        await asyncio.sleep(0)

    asyncio.run(program())
    assert gateway.pushed("loop")


def test_closing_the_collector_ends_its_pushes(gateway: PushgatewayServer) -> None:
    with collector(PushStorage(gateway.url, "closed")) as made:
        push = made.push_every(3600)
    assert push.last is not None
    assert push.last.is_success()
    assert gateway.pushed("closed") == []


def test_a_failure_that_lasts_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    with Gateway(*[(400, "no")] * 4) as gateway, caplog.at_level(logging.INFO, "exporter.instrument"):
        made = collector(PushStorage(gateway.url, "orders"))
        with made.push_every(0.01):
            eventually(lambda: len(gateway.requests) > 5)
        made.close()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"metrics cannot be stored, retrying: {gateway.url} answers 400: no"),
        ("INFO", "metrics are stored again"),
    ]


def test_a_task_of_an_event_loop_that_was_closed_pushes_once_more(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "lost", delete_at_end=False))

    async def start() -> None:
        made.push_every(3600)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    (task,) = asyncio.all_tasks(loop)
    loop.close()
    assert gateway.pushed("lost") == []
    made.close()
    assert gateway.pushed("lost")
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what this test is about


def test_a_task_is_ended_by_another_thread_and_by_another_event_loop(gateway: PushgatewayServer) -> None:
    made = collector(PushStorage(gateway.url, "elsewhere", delete_at_end=False))

    async def program() -> None:
        asyncio.get_running_loop().set_debug(True)  # calls of other threads raise
        await asyncio.to_thread(made.push_every(3600).stop)
        await asyncio.to_thread(asyncio.run, made.push_every(3600).aclose())
        assert len(asyncio.all_tasks()) <= 2  # this one, and that which stop ends soon

    asyncio.run(program())
    assert gateway.pushed("elsewhere")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_period_without_sense_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        collector(FileStorage(tmp_path / "metrics.jsonl")).push_every(seconds)


# Files.


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, each of them whole."""
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_has_one_sample_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    made = collector(FileStorage(path))
    for _ in range(2):
        assert asyncio.run(made.collect_and_store()).unwrap() == 1
    first, second = lines(path)
    assert first == second | {"timestamp": first["timestamp"]}
    assert first | {"timestamp": 0} == {
        "name": "jobs_total",
        "metric_type": "counter",
        "value": 3.0,
        "labels": {"queue": "a"},
        "timestamp": 0,
        "description": "Jobs.",
    }


def test_a_file_is_rotated_by_size(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    made = collector(FileStorage(path, max_bytes=400, backups=2))
    for number in range(20):
        made.counter("jobs_total", labels={"queue": f"q{number}"}).increment()
    for _ in range(3):
        assert made.store().unwrap() == 21
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["metrics.jsonl", "metrics.jsonl.1", "metrics.jsonl.2"]
    assert all(file.stat().st_size <= 400 for file in files)
    assert [each["labels"]["queue"] for file in reversed(files) for each in lines(file)][-1] == "q19"


def test_a_line_that_is_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    made = collector(FileStorage(path, max_bytes=10, backups=5))
    made.store().unwrap()
    made.store().unwrap()
    assert [len(lines(file)) for file in sorted(tmp_path.iterdir())] == [1, 1]


@pytest.mark.parametrize("torn", [b'{"name": "jobs', b"x" * 10_000, b""])
def test_a_broken_last_line_is_removed(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    made = collector(FileStorage(path))
    made.store().unwrap()
    with path.open("ab") as file:
        file.write(torn)
    made.store().unwrap()
    assert len(lines(path)) == 2


def test_a_file_of_a_broken_line_alone_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"name"')
    collector(FileStorage(path)).store().unwrap()
    assert len(lines(path)) == 1


def test_a_file_that_cannot_be_written_is_a_result(tmp_path: Path) -> None:
    error = collector(FileStorage(tmp_path / "absent" / "metrics.jsonl")).store().unwrap_err()
    assert "No such file" in str(error)
    error = collector(FileStorage("/dev/full")).store().unwrap_err()
    assert "No space" in str(error)


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"backups": 0}])
def test_limits_of_files_without_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_bytes and backups"):
        FileStorage("metrics.jsonl", **wrong)


WRITER = """
import sys
from exporter.instrument import FileStorage, MetricsCollector
collector = MetricsCollector(FileStorage(sys.argv[1], max_bytes=100_000, backups=3))
for number in range(200):
    collector.gauge("queue_length").set(number, {"queue": f"{sys.argv[2]}-{number}"})
print("writing", flush=True)
while True:
    collector.store().unwrap()
"""


def writers_in(folder: Path) -> set[bytes]:
    """The names of the processes with lines in the files of a folder."""
    found: set[bytes] = set()
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # it is renamed just now
            found.update(re.findall(rb'"queue": "([ab])-', file.read_bytes()))
    return found


def test_killed_processes_that_share_a_file_leave_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(path)]
        writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE) for name in "ab"]
        for writer in writers:
            with writer.stdout or open(os.devnull) as output:
                output.readline()
        eventually(lambda: path.with_name("metrics.jsonl.3").exists() and writers_in(tmp_path) == {b"a", b"b"})
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
        collector(FileStorage(path)).store().unwrap()  # removes a line that the kernel has broken
        assert all(lines(file) for file in tmp_path.iterdir())
        for file in tmp_path.iterdir():
            file.unlink()
