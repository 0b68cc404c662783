"""A reload changes what it is declared to change, names the rest, and leaves everything as it was when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.app import App
from exporter.config.cache_schema import CacheLifetimes
from exporter.config.changes import changes
from exporter.config.conflicts import conflicts
from exporter.config.loader import keys, load
from exporter.config.schema import Config
from exporter.config.web_schema import WebClientConfig
from exporter.kafka import clients
from exporter.loop import Loop
from exporter.reload import Outcome, Reloader
from exporter.runtime import logs
from tests.fakes import ManualClock
from tests.support.facts import facts, of_the_start

# What the sidecar runs with in these tests: so that each key below has an effect.
RUNNING: dict[str, object] = {
    "input.topics": ["ticker-data.korea"],
    "feeds.expected": ["korea:upbit:ticker"],
    "feeds.symbols.shown": ["KRW-BTC"],
    "output.create_topics": {},
    "web.push.enabled": True,
    "ingestion.enabled": True,
    "risk.enabled": True,
    "risk.positions.file": "/etc/portfolios.yml",
}
# Another value for each key.
CHANGED: dict[str, object] = {
    "instance": "two",
    "kafka.bootstrap_servers": "kafka:9092",
    "kafka.properties": {"client.rack": "a"},
    "kafka.consumer_properties": {"fetch.min.bytes": "2"},
    "kafka.producer_properties": {"linger.ms": "2"},
    "kafka.msk_iam_region": "eu-west-1",
    "input.topics": ["ticker-data.korea", "trade-data.korea"],
    "input.exclude": ["ticker-data.test"],
    "input.group": "another",
    "input.start": "earliest",
    "input.symbol_field": "code",
    "input.formats": ["cryptofeed"],
    "input.core": "python",
    "input.on_unreadable": "stop",
    "input.warm_start": 5,
    "input.live_age": "30s",
    "input.limits.record_bytes": "2MiB",
    "input.limits.messages": 50,
    "input.limits.depth": 64,
    "input.limits.feeds": 50,
    "input.limits.symbols_per_feed": 50,
    "input.limits.symbols": 50,
    "input.limits.name_length": 20,
    "feeds.include": ["korea:*"],
    "feeds.exclude": ["test:*"],
    "feeds.expected": [{"feed": "korea:upbit:ticker", "symbols": ["KRW-ETH"]}, "korea:upbit:trade"],
    "feeds.thresholds": [{"silent": "20s", "frozen": "1m", "coverage": 0.5, "ignore_anomalies": ["no_prices"]}],
    "feeds.calendar": [{"feeds": ["korea:*"], "maintenance": ["sun 02:00-06:00"]}],
    "feeds.symbols.shown": ["KRW-BTC", "KRW-ETH"],
    "feeds.symbols.stalest": 3,
    "feeds.pairs": [r"(?P<quote>KRW)-(?P<base>\w+)"],
    "feeds.find_duplicates": True,
    "risk.enabled": False,
    "risk.interval": "5s",
    "risk.samples": 100,
    "risk.decay": 0.9,
    "risk.price_age": "30s",
    "risk.feeds": ["korea:*"],
    "risk.plausibility.deviations": 5,
    "risk.plausibility.least": 0.05,
    "risk.plausibility.confirmations": 3,
    "risk.plausibility.wait": "20s",
    "risk.timezone": "Asia/Seoul",
    "risk.positions.file": "/etc/positions.yml",
    "risk.positions.topic": "positions",
    "risk.limits": [{"total": 5}],
    "risk.safety.daily_loss": 5,
    "risk.safety.drawdown": 0.5,
    "risk.safety.value_at_risk": 5,
    "risk.safety.uncertainty": 5,
    "risk.safety.confidence": 0.5,
    "risk.safety.hysteresis": 0.2,
    "risk.safety.recovery": "manual",
    "risk.safety.calm": "1m",
    "risk.emergency_stop.limits": ["leverage"],
    "risk.emergency_stop.safety": ["drawdown"],
    "risk.emergency_stop.lift": "automatic",
    "risk.emergency_stop.calm": "1m",
    "risk.scenarios": [{"name": "own"}],
    "risk.topic": "risk",
    "risk.report_interval": "5s",
    "output.enabled": False,
    "output.topic": "events",
    "output.error_topic": "errors",
    "output.delivery": "at_least_once",
    "output.encoding": "json",
    "output.schema_registry": "http://registry:8081",
    "output.schema_registry_username": "user",
    "output.schema_registry_password": "password",
    "output.schema_registry_token": "token",
    "output.schema_registry_token_file": "/run/secrets/token",
    "output.schema_registry_subjects": "record",
    "output.schema_registry_register": False,
    "output.schema_registry_tls.ca_file": "/etc/ca.pem",
    "output.schema_registry_tls.cert_file": "/etc/cert.pem",
    "output.schema_registry_tls.key_file": "/etc/key.pem",
    "output.batch_events": False,
    "output.summary_interval": "10s",
    "output.commit_interval": "1s",
    "output.backlog.events": 50,
    "output.backlog.bytes": "1MiB",
    "output.backlog.age": "5s",
    "output.create_topics.partitions": 7,
    "output.create_topics.replication": 3,
    "output.create_topics.retention": "1d",
    "ingestion.enabled": False,
    "ingestion.prefix": "test.",
    "ingestion.rate_age": "10m",
    "ingestion.limits.sources": 7,
    "ingestion.limits.rounds": 7,
    "ingestion.limits.currencies": 7,
    "redis.url": "redis://redis:6379/0",
    "redis.username": "user",
    "redis.password": "password",
    "redis.tls.ca_file": "/etc/ca.pem",
    "redis.tls.cert_file": "/etc/cert.pem",
    "redis.tls.key_file": "/etc/key.pem",
    "redis.sentinel.master": "mymaster",
    "redis.sentinel.username": "user",
    "redis.sentinel.password": "password",
    "redis.cluster": True,
    "redis.prefix": "other",
    "redis.window": "2h",
    "redis.ttl": "2d",
    "redis.queue": 7,
    "web.listen_address": "127.0.0.1:8001",
    "web.telemetry_path": "/telemetry",
    "web.allowed_hosts": ["metrics.example.com"],
    "web.config_page": "off",
    "web.history": "5m",
    "web.config_file": "/etc/web.yml",
    "web.enable_lifecycle": True,
    "web.push.enabled": False,
    "web.push.ttl": "1m",
    "web.push.max_groups": 7,
    "web.push.max_series": 70,
    "web.push.max_bytes": "70KiB",
    "metrics.topics": "none",
    "metrics.families.include": ["marketdata_*"],
    "metrics.families.exclude": ["marketdata_clock_skew*"],
    "metrics.histograms": "off",
    "log.level": "debug",
    "log.format": "json",
}
# What commands use, and no sidecar.
OF_COMMANDS = {f"web.client.{name}" for name in WebClientConfig.__struct_fields__} | {
    *("cache.group", "cache.currencies"),
    *(f"cache.ttl.{name}" for name in CacheLifetimes.__struct_fields__),
}
# What goes with a key, as it is a mistake otherwise.
REGISTRY: dict[str, object] = {
    "output.schema_registry": "https://registry:8081",
    "output.schema_registry_tls.cert_file": "/etc/cert.pem",
}
REDIS: dict[str, object] = {"redis.url": "rediss://redis", "redis.tls.cert_file": "/etc/cert.pem"}
WITH: dict[str, dict[str, object]] = {
    "output.enabled": {"output.create_topics": None},
    "risk.positions.topic": {"risk.positions.file": None},
    **{f"output.schema_registry_tls.{name}_file": REGISTRY for name in ("ca", "cert", "key")},
}
WITH |= {f"redis.tls.{name}_file": REDIS for name in ("ca", "cert", "key")}
WITH |= {f"redis.sentinel.{name}": {"redis.sentinel.master": "mymaster"} for name in ("username", "password")}


def leaves() -> list[str]:
    paths = keys()
    return [path for path in paths if not any(other.startswith(f"{path}.") for other in paths)]


def configured(settings: Mapping[str, object]) -> Config:
    return load(None, {}, settings, hostname="one", read_file=str)


def with_change(key: str) -> Config:
    return configured({**RUNNING, key: CHANGED[key], **WITH.get(key, {})})


class Running:
    """A sidecar whose loop does nothing but what it is handed."""

    def __init__(self, config: Config) -> None:
        self.wanted: Callable[[], Config] = lambda: config
        logs.reconfigure(config.log.level, config.log.format)
        self.app = App(config, load=lambda: self.wanted())
        self._loops: list[Loop[Any]] = [self.app.loop, *([self.app.ingestion] if self.app.ingestion else [])]

    def reload(self, wanted: Callable[[], Config]) -> Outcome:
        self.wanted = wanted
        future: Future[Outcome] = self.app.reloader.request()
        while not future.done():
            for loop in self._loops:
                loop.handover.take()
        if self.app.risk is not None:
            self.app.risk.take_requests()
        return future.result()

    def close(self) -> None:
        for loop in self._loops:
            loop.publisher.close(1.0)

    def facts(self) -> dict[str, str]:
        log = {"log.level": str(logging.getLogger().level)}
        return facts(self.app) | log | {f"log.{path}": fact for path, fact in facts(logs._configured).items()}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Config], Running]]:
    """What makes a sidecar; at the end the lines of the process are logged as before."""
    level = logging.getLogger().level
    monkeypatch.setattr(logs, "_configured", [logs._ToWriter("logfmt")])
    made: list[Running] = []

    def make(config: Config) -> Running:
        made.append(Running(config))
        return made[-1]

    yield make
    logging.getLogger().setLevel(level)
    for each in made:
        each.close()


def test_every_key_has_another_value_here() -> None:
    assert CHANGED.keys() | OF_COMMANDS == set(leaves())


@pytest.mark.parametrize("key", CHANGED)
def test_a_change_of_a_key_is_in_force_as_after_a_start_or_is_named(key: str, run: Callable[[Config], Running]) -> None:
    wanted = with_change(key)
    running = run(configured(RUNNING))
    before = running.facts()
    outcome = running.reload(lambda: wanted)
    assert not outcome.error
    if outcome.with_restart:
        assert all(path == key or path.startswith(f"{key}.") or path in WITH[key] for path in outcome.with_restart)
        assert not outcome.at_once
        assert running.app.status.ready().warnings == (f"restart needed for {', '.join(outcome.with_restart)}",)
        assert without_names(running.facts()) == without_names(before)
    else:
        assert outcome.at_once == (key,)
        reloaded = running.facts()
        assert reloaded == run(wanted).facts()
        assert without_configuration(reloaded) != without_configuration(before)


def without_names(found: dict[str, str]) -> dict[str, str]:
    """The facts but for what is said about a restart."""
    return {path: fact for path, fact in found.items() if "with_restart" not in path}


def without_configuration(found: dict[str, str]) -> dict[str, str]:
    """The facts but for the configuration as it is shown."""
    return {path: fact for path, fact in found.items() if path not in (".queries._config", ".reloader.config")}


LIBRARIES = (
    clients.consumer_properties,
    clients.isolated_properties,
    clients.producer_properties,
    clients.stuck_seconds,
)
# In force for events at once. Offsets that the consumer commits by itself, without transactions, keep the first value.
ALSO_OF_THE_CONSUMER = {"output.commit_interval"}


@pytest.mark.parametrize("key", sorted(CHANGED.keys() - ALSO_OF_THE_CONSUMER))
def test_no_client_of_kafka_is_made_from_a_key_that_needs_no_restart(key: str) -> None:
    """They are made at the start, and again after failures."""
    running = configured(RUNNING)
    found = changes(running, with_change(key))
    for properties in LIBRARIES:
        assert properties(found.config) == properties(running)


# These do not go with each of the others.
ALONE = {"output.encoding", "output.schema_registry_token", "output.schema_registry_token_file", "redis.cluster"}
changed_keys = st.sets(st.sampled_from(sorted(CHANGED.keys() - WITH.keys() - ALONE)))


def with_changes(names: Iterable[str]) -> Config:
    return configured({**RUNNING, **{name: CHANGED[name] for name in names}})


@settings(max_examples=30)
@given(changed_keys, changed_keys)
def test_what_is_named_and_what_is_in_force_add_up_to_all_that_differs(before: set[str], after: set[str]) -> None:
    running, wanted = with_changes(before), with_changes(after)
    found = changes(running, wanted)
    assert changes(running, running) == (running, (), ())
    assert changes(found.config, wanted) == (found.config, (), found.with_restart)
    assert {owner(path) for path in (*found.at_once, *found.with_restart)} == before ^ after
    assert of_the_start(found.config) == of_the_start(running)
    assert list(conflicts(found.config)) == []


def owner(path: str) -> str:
    """The key of `CHANGED` to which a path belongs."""
    return next(key for key in CHANGED if path == key or path.startswith(f"{key}."))


def test_a_part_of_the_configuration_that_needs_a_restart_is_named_until_it_is_taken_back(
    run: Callable[[Config], Running],
) -> None:
    running = run(configured(RUNNING))
    both = configured({**RUNNING, "kafka.properties": {"sasl.password": "p", "client.rack": "a"}, "input.group": "b"})
    for _ in range(2):
        outcome = running.reload(lambda: both)
        named = ("kafka.properties.client.rack", "kafka.properties.sasl.password", "input.group")
        assert outcome == Outcome("", (), named)
    assert running.app.status.reload.with_restart == named
    assert running.reload(lambda: configured(RUNNING)) == Outcome("")
    assert running.app.status.ready().warnings == ()


def refuse() -> Config:
    return configured({"log.level": "loud", "feeds.exclude": [1], "nothing": 1})


def break_down() -> Config:
    raise ZeroDivisionError("hunter2")


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (refuse, ("log.level: got", "feeds.exclude[0]: got", "nothing: unknown key")),
        (break_down, ("ZeroDivisionError",)),
    ],
)
def test_a_reload_that_fails_changes_nothing_and_tells_all_mistakes(
    load: Callable[[], Config], words: tuple[str, ...], run: Callable[[Config], Running]
) -> None:
    running = run(configured(RUNNING))
    before, reloaded = running.facts(), running.app.status.reload
    outcome = running.reload(load)
    assert all(word in outcome.error for word in words)
    assert "hunter2" not in outcome.error
    assert {path for path, fact in running.facts().items() if before[path] != fact} <= {
        ".reloader._state.error",
        ".status.reload.error",
    }
    assert running.app.status.reload == reloaded._replace(error=outcome.error)
    (warning,) = running.app.status.ready().warnings
    assert all(word in warning for word in words)
    assert not running.reload(lambda: configured(RUNNING)).error
    assert running.app.status.ready().warnings == ()


def test_requests_are_merged_while_one_waits_and_the_last_reads_what_is_there(run: Callable[[Config], Running]) -> None:
    running = run(configured(RUNNING))
    reads: list[Config] = []
    reading, go_on = threading.Event(), threading.Event()

    def load() -> Config:
        reading.set()
        assert go_on.wait(10)
        reads.append(configured(RUNNING))
        return reads[-1]

    running.wanted = load
    first = running.app.reloader.request()
    assert reading.wait(10)
    others = {id(running.app.reloader.request()) for _ in range(1000)}
    last = running.app.reloader.request()
    go_on.set()
    assert first.result(10) == last.result(10) == Outcome("")
    assert others == {id(last)}
    assert len(reads) == 2


@pytest.mark.parametrize(("took", "rest"), [(0.01, 0.04), (0.25, 1.0), (20.0, 1.0)])
def test_after_a_reload_the_next_one_waits_for_a_multiple_of_its_duration(took: float, rest: float) -> None:
    clock, begun = ManualClock(), list[float]()

    def load() -> Config:
        begun.append(clock.monotonic())
        clock.sleep(took)
        return configured(RUNNING)

    reloader = Reloader(configured(RUNNING), load, [], lambda _: None, clock)
    for _ in range(3):
        assert reloader.request().result(10) == Outcome("")
    assert [later - earlier for earlier, later in pairwise(begun)] == pytest.approx([took + rest] * 2)


def test_a_reload_while_the_loop_ends_is_refused_and_changes_nothing(run: Callable[[Config], Running]) -> None:
    running = run(configured(RUNNING))
    before = running.facts()
    running.wanted = lambda: with_change("feeds.exclude")
    asked = running.app.reloader.request()
    running.app.loop.handover.close()
    assert asked.result(10).error == "the loop stops, or does not turn"
    assert running.app.reloader.request().result(10).error == "the loop stops, or does not turn"
    assert running.app.reloader.config == configured(RUNNING)
    differing = {path for path, fact in running.facts().items() if before[path] != fact}
    assert differing <= {".loop.handover._is_closed", ".reloader._state.error", ".status.reload.error"}


def test_a_log_level_that_was_set_holds_until_the_next_reload(run: Callable[[Config], Running]) -> None:
    running = run(configured(RUNNING))
    running.app.reloader.set_level("error").result(10)
    assert logging.getLogger().level == logging.ERROR
    assert running.app.queries.config()["log"] == {"level": "error", "format": "logfmt"}
    assert running.reload(lambda: configured(RUNNING)).at_once == ("log.level",)
    assert logging.getLogger().level == logging.INFO
