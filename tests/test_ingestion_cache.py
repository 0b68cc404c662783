"""`marketdata-exporter cache` in processes of its own, with a real broker and Redis."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from exporter import cli
from exporter.config.loader import load
from exporter.runtime.threads import start
from exporter.tools.cache.service import CacheService
from tests.support.caching import CachingStage
from tests.support.cluster import Record
from tests.support.ingesting import TOPIC
from tests.support.ingestion import EXAMPLES
from tests.support.kafka import Broker, running
from tests.support.panels import panel_queries
from tests.support.process import free_port
from tests.support.prometheus import PrometheusServer
from tests.support.publishing import CODES
from tests.support.sidecar import Sample, Sidecar
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, USER, WebFiles, users

ROOT = Path(__file__).parents[1]
DASHBOARD, RULES = ROOT / "grafana" / "dashboards" / "caches.json", ROOT / "grafana" / "rules" / "caches.yml"
EVENTS = "marketdata_cache_events_total"


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that tests kill."""
    with running(Broker(tmp_path_factory.mktemp("broker"))) as broker:
        yield broker


@pytest.fixture(scope="module")
def stage(own_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingStage]:
    """Publisher, two services, Redis and a reader."""
    with CachingStage(tmp_path_factory.mktemp("stage"), own_broker) as stage:
        eventually(stage.is_shared, 60, "the services do not share the partitions")
        stage.goes_on()
        yield stage


def both(stage: CachingStage, name: str, **labels: str) -> float:
    """The sum of a metric of both services."""
    return sum(service.scrape().total(name, **labels) for service in stage.services)


def series(stage: CachingStage, name: str) -> list[Sample]:
    """The series of a metric of both services."""
    return [each for service in stage.services for each in service.scrape().series(name)]


def send(stage: CachingStage, topic: str, value: bytes | None = None, **fields: object) -> None:
    """Write an event, or another record."""
    body = json.dumps(EXAMPLES[topic] | fields).encode() if value is None else value
    stage.broker.produce(stage.prefix + topic, [Record(body, None)])


def test_both_services_show_what_they_follow(stage: CachingStage) -> None:
    """Events, changed keys, rates, dead letters and partitions; the page has the same in words."""
    with stage.redis.client() as client:
        client.mset({"stats:a": "x", "session:b": "x"})
    send(stage, "data_processing_completed")
    send(stage, "cache_invalidation", cache_keys=["session:b"])
    send(stage, "cache_invalidation", b"no event")
    dropped = {"kind": "other", "change": "dropped"}
    eventually(lambda: both(stage, "marketdata_cache_keys_total", **dropped) == 1, 30)
    letters = {"topic": "cache_invalidation", "reason": "invalid_event"}
    eventually(lambda: both(stage, "marketdata_cache_dead_letters_total", **letters) == 1, 30)
    eventually(lambda: both(stage, "marketdata_cache_keys_total", kind="stats", change="dropped") == 1, 30)
    assert both(stage, EVENTS, topic="data_processing_completed", outcome="applied") == 1
    shown = series(stage, "marketdata_cache_rate_updated_timestamp_seconds")
    assert {each["currency_code"] for each in shown} == set(CODES)
    queued = series(stage, "marketdata_cache_queued_events")
    assert sorted((each["topic"], each["partition"]) for each in queued) == [
        ("cache_invalidation", "0"), ("data_processing_completed", "0"), *((TOPIC, str(n)) for n in range(3))
    ]  # fmt: skip
    pages = [service.get("/").text for service in stage.services]
    assert all(page.startswith("cache service: ready\n") for page in pages)
    assert all(any(f"  {stage.prefix}{TOPIC}/{number} lag " in page for page in pages) for number in range(3))


def test_every_panel_about_caches_shows_data(stage: CachingStage, prometheus: Callable[..., PrometheusServer]) -> None:
    """Prometheus has an answer for what each panel asks, and can evaluate the rules."""
    server = prometheus([f"127.0.0.1:{service.port}" for service in stage.services], [RULES])
    for query in panel_queries(json.loads(DASHBOARD.read_text()), "5m"):
        eventually(partial(server.query, query.expr), 60, f"nothing for {query.expr}")
    health = {rule["health"] for group in server.get("rules")["groups"] for rule in group["rules"]}
    assert health <= {"ok", "unknown"}


def is_ready(service: Sidecar, wanted: bool) -> bool:
    """Whether a service says that it is, or is not, as wanted."""
    return service.get("/-/ready").ok is wanted


def test_a_service_is_not_ready_while_redis_takes_no_writes(stage: CachingStage) -> None:
    with stage.redis.client() as client:
        client.config_set("min-replicas-to-write", 1)
        for service in stage.services:
            eventually(partial(is_ready, service, False), 30)
            assert service.get("/-/healthy").ok
        assert stage.services[0].get("/-/ready").text.startswith("Redis: NOREPLICAS")
        assert stage.services[0].scrape().total("marketdata_cache_redis_up") == 0
        client.config_set("min-replicas-to-write", 0)
    for service in stage.services:
        eventually(partial(is_ready, service, True), 30)
    stage.goes_on()


def test_a_service_does_not_reload(stage: CachingStage) -> None:
    stage.services[0].signal(signal.SIGHUP)
    eventually(lambda: "does not reload its configuration" in stage.services[0].log, 30)


def test_an_address_in_use_ends_the_command_with_one_line(stage: CachingStage, tmp_path: Path) -> None:
    service = stage.services[0]
    other = type(service)(tmp_path, stage.broker.bootstrap, stage.redis.url, stage.prefix)
    other.port = service.port
    done = other.run("cache", f"--web.listen-address=127.0.0.1:{service.port}")
    assert done.returncode == cli.FATAL
    assert "Traceback" not in done.stderr


def test_caches_equal_the_last_event_of_each_currency_whatever_is_killed(stage: CachingStage) -> None:
    """And no reader sees an older rate after a newer one. A Redis that was killed comes back empty."""
    for part in stage.parts.values():
        stage.kill(part)
    stage.kill(stage.broker)
    stage.finish()


# Without a broker.


def test_a_service_without_redis_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache"]) == cli.USAGE
    assert "redis.url: got null, expected the URL of the Redis with the caches" in capsys.readouterr().err


def test_a_service_serves_http_as_configured_before_kafka_and_redis_answer(tmp_path: Path) -> None:
    """With the certificate and the passwords of `web.config_file`, and the chosen families."""
    files = WebFiles(tmp_path)
    file = files.write(tls_server_config=files.tls(), basic_auth_users=users())
    settings: dict[str, object] = {
        "kafka.bootstrap_servers": f"127.0.0.1:{free_port()}",
        "redis.url": f"redis://127.0.0.1:{free_port()}",
        "web.listen_address": "127.0.0.1:0",
        "web.config_file": str(file),
        "metrics.families.exclude": ["python_*"],
    }
    service = CacheService(load(None, {}, settings, hostname="box-1", read_file=str))
    started, ended = threading.Event(), list[bool]()
    thread = start("service", lambda: ended.append(service.run(started)))
    assert started.wait(30)
    get = partial(requests.get, auth=(USER, PASSWORD), timeout=10, verify=str(files.authority.certificate))
    url = f"https://127.0.0.1:{service.port}"
    assert get(f"{url}/metrics", auth=None).status_code == 401
    page = get(f"{url}/metrics").text
    assert "marketdata_cache_group_member 0.0" in page
    assert "python_" not in page
    reasons = "Kafka: not a member of the group yet\nRedis: Error 111 connecting"
    eventually(lambda: get(f"{url}/-/ready").text.startswith(reasons), 30)
    assert get(f"{url}/-/healthy").ok
    service.stop()
    thread.join(30)
    assert ended == [True]
