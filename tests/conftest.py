"""Real parts for every test that asks for one, and a clean environment for all."""

import gc
import os
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from exporter.runtime import foreign_text, logs
from exporter.runtime.redaction import Redactor
from tests.support import one_broker
from tests.support.kafka import Broker, running
from tests.support.process import PROCESS, free_port
from tests.support.prometheus import PrometheusServer, scrape_config
from tests.support.redis import RedisServer
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")
# No deadline, for examples and for making them: a slow machine is no failure. In CI the same examples every time.
settings.register_profile(
    "marketdata", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("marketdata")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """The broker of all processes begins to start before them."""
    config.pluginmanager.register(one_broker.OneBroker())


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Each process of a parallel run begins with other files: what one has compiled, the others need not compile again.

    In a new clone that takes twice as long as all else of the collection.
    """
    report = yield
    if isinstance(collector, pytest.Package) and collector.path == Path(__file__).parent:
        first = len(report.result) * PROCESS // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        report.result = [*report.result[first:], *report.result[:first]]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start programs go first: towards the end of a parallel run, those that only compute fill the gaps."""
    starting = {item.path for item in items if "tmp_path_factory" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path not in starting, item.path))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests stay until the end: looking for what could go takes a quarter of the time to collect them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests configures nothing."""
    for name in list(os.environ):
        if name.startswith("MARKETDATA_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test calls a secret is a word to the others."""
    monkeypatch.setattr(foreign_text._Known, "redactor", Redactor())


@pytest.fixture(autouse=True)
def _no_lines_from_before() -> None:
    """A line that another test has caused is news again."""
    logs.forget()


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The Kafka of this run, which other processes use at the same time: nothing may depend on what else is in it.

    Tests that stop or kill one ask for `own_broker`, or make a `Broker`.
    """
    if shared := one_broker.of_this_run(pytestconfig):
        yield shared
        return
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def _own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    # It looks often at what retention lets it delete, as a test of it waits for that.
    with running(Broker(tmp_path_factory.mktemp("own"), {"log.retention.check.interval.ms": "200"})) as broker:
        yield broker


@pytest.fixture
def own_broker(_own_broker: Broker) -> Broker:
    """A broker of this process, for one test at a time, which may stop, kill and start it."""
    if not _own_broker.is_running:
        _own_broker.start()
    return _own_broker


@pytest.fixture
def topic(broker: Broker) -> Callable[..., str]:
    """Makes topics in `broker`: `topic("ticker-data.korea", partitions=3)` returns a name that no other test has."""

    def create(stem: str = "topic", partitions: int = 1, **config: str | int) -> str:
        return broker.create_topic(f"{stem}-{uuid.uuid4().hex[:8]}", partitions, **config)

    return create


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Iterator[Deployment]:
    """Topics in `broker` for input and output; no sidecar runs yet."""
    with Deployment(broker, tmp_path).create_outputs() as deployment:
        yield deployment


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """The Redis of this test session, empty. Tests that stop or kill one make a `RedisServer` of their own."""
    with _redis.client() as client:
        client.flushall()
    return _redis


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes of a Redis Cluster; the second has all slots, so the first redirects every key."""
    buses = {name: str(free_port()) for name in ("first", "second")}
    first, second = (
        RedisServer(tmp_path / name, "--cluster-enabled", "yes", "--cluster-port", bus) for name, bus in buses.items()
    )
    with ExitStack() as running:
        for node in (first, second):
            running.callback(node.start().kill)
        with first.client() as one, second.client() as other:
            one.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, buses["second"])
            other.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: one.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 20)
        yield first, second


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., PrometheusServer]]:
    """Starts a Prometheus: `prometheus(["127.0.0.1:8000"], rule_files=[...])`."""
    with ExitStack() as running:

        def start(targets: Sequence[str], rule_files: Sequence[Path] = ()) -> PrometheusServer:
            directory = tmp_path / f"prometheus-{len(list(tmp_path.iterdir()))}"
            server = PrometheusServer(directory, scrape_config(targets, rule_files)).start()
            running.callback(server.kill)
            return server

        yield start
