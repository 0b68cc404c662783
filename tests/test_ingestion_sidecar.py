"""Events of ingesting services, as a sidecar shows them; Kafka and the sidecars are real."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from exporter.ingestion import IngestionProducer
from exporter.ingestion.events import topic_of
from exporter.tools.simulate.services import Failure, ServiceSimulator, SimulatedService
from exporter.tools.simulate.simulator import Collectors
from tests.support.panels import panel_queries
from tests.support.prometheus import PrometheusServer
from tests.support.registry import RegistryServer
from tests.support.rounds import begun, completed, invalidation, rate
from tests.support.services import (
    BEGINNINGS,
    ROUNDS,
    SHOWN_SECONDS,
    Services,
    counts,
    currencies,
    events,
    eventually_counts,
    now_ms,
    owners,
    rejected,
    state,
)
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

GRAFANA = Path(__file__).parents[1] / "grafana"
RULES, DASHBOARD = GRAFANA / "rules" / "ingestion.yml", GRAFANA / "dashboards" / "ingestion.json"
CODES = ("USD", "EUR", "JPY", "GBP", "CNY", "CHF")


@pytest.fixture
def services(deployment: Deployment) -> Services:
    return Services(deployment)


def test_what_is_shown_is_what_was_sent(services: Services) -> None:
    sidecar = services.sidecar().start()
    for number in range(4):
        services.send(begun("api", f"round-{number}", now_ms(), 6))
        services.send(*(rate("api", code, now_ms()) for code in CODES))
        services.send(completed("api", f"round-{number}", now_ms(), 6 - (number == 2)))
    services.send(completed("api", "round-3", now_ms(), 6), begun("api", "last", now_ms(), 6))
    services.send(invalidation("exchange_rate_update", "rate:USD", "history:*", stamp_ms=now_ms()))
    services.write("new_data_received", b"no event")
    eventually_counts(sidecar, begun=5, completed=4, mismatched=1, open=1)
    sent = {"new_data_received": 5, "exchange_rate_updated": 24, "data_processing_completed": 5}
    topic = f"{services.prefix}new_data_received"
    eventually(lambda: rejected(sidecar, topic) == 1, SHOWN_SECONDS, "what is no event is not rejected")
    eventually(lambda: events(sidecar) == sent | {"cache_invalidation": 1}, SHOWN_SECONDS, "other numbers of events")
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_records_total", topic=topic) == 6
    assert scrape.total("marketdata_ingestion_rate_updates_total", source="api") == 24
    assert currencies(sidecar) == set(CODES)
    assert scrape.total("marketdata_ingestion_invalidated_keys_total", invalidation_type="exchange_rate_update") == 2
    (error,) = eventually(lambda: services.deployment.cluster.read_all(services.deployment.errors), SHOWN_SECONDS)
    assert error.headers["ce_id"].decode() == f"{topic}/0/5"
    metrics = f"http://127.0.0.1:{sidecar.port}/metrics"
    audit = sidecar.run("audit", "--metrics", metrics, "--group", services.deployment.group)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "24 exchange_rate_updated" in audit.stdout
    audit = sidecar.run("audit", "--metrics", metrics, "--from-offset", f"{topic}/0/1")
    assert audit.returncode == 1
    assert "marketdata_ingestion_events_total of new_data_received: is 5 instead of 4" in audit.stdout


def test_simulated_services_are_counted_as_they_send_and_the_round_that_stays_open_is_named(
    services: Services, prometheus: Callable[..., PrometheusServer]
) -> None:
    """And each panel of the dashboard shows data."""
    simulated = [
        SimulatedService(name, (code,), 2000, 1000, failure, 7000, services.prefix)
        for name, code, failure in (
            ("healthy", "USD", Failure.NONE),
            ("stopping", "EUR", Failure.STOPS),
            ("repeating", "JPY", Failure.REPEATS),
            ("clock", "GBP", Failure.CLOCK),
        )
    ]
    sidecar = services.sidecar().start()
    eventually(lambda: owners([sidecar], services, BEGINNINGS), SHOWN_SECONDS, "nothing is assigned")
    simulator = ServiceSimulator(1, simulated, now_ms())
    collectors = Collectors(simulator, {"bootstrap.servers": services.deployment.cluster.bootstrap})
    collectors.start()
    named = f"correlation_id=stopping-{simulator.start_ms}-4"
    eventually(lambda: named in sidecar.log, SHOWN_SECONDS, "the open round is not named")
    eventually(lambda: state(sidecar, "stopping") == "delayed", SHOWN_SECONDS, "its source is not delayed")
    eventually(lambda: state(sidecar, "healthy") == "ok", SHOWN_SECONDS, "another source is not ok")
    collectors.stop()
    eventually(lambda: events(sidecar) == simulator.events, SHOWN_SECONDS, "the counts are not those of what was sent")
    for each in simulated:
        rounds = counts(sidecar, each.source)
        found = {word: simulator.rounds[each.source, f"rounds {word}"] for word in ("begun", "completed")}
        assert found.items() <= rounds.items()
    server = prometheus([f"127.0.0.1:{sidecar.port}"], [RULES])
    for query in panel_queries(json.loads(DASHBOARD.read_text()), "5m"):
        eventually(partial(server.query, query.expr), SHOWN_SECONDS, f"nothing for {query.expr}")
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert sum(simulator.events.values()) == collectors.sent
    assert sidecar.scrape().total("marketdata_ingestion_events_repeated_total") > 0


def test_events_in_the_wire_format_of_confluent_are_read_once_the_registry_answers(services: Services) -> None:
    with RegistryServer() as registry:
        sidecar = services.sidecar(output__schema_registry=registry.url, output__encoding="avro").start()
        eventually(lambda: owners([sidecar], services, BEGINNINGS), SHOWN_SECONDS, "nothing is assigned")
        asyncio.run(_send_with_registry(services, registry.url))
        eventually_counts(sidecar, begun=1, completed=1)


async def _send_with_registry(services: Services, url: str) -> None:
    config = {"output.schema_registry": url}
    bootstrap = services.deployment.cluster.bootstrap
    async with IngestionProducer(bootstrap_servers=bootstrap, prefix=services.prefix, config=config) as producer:
        for event in (begun("api", "1", now_ms()), completed("api", "1", now_ms())):
            await producer.send(topic_of(event), msgspec.structs.asdict(event))


def test_topics_that_do_not_exist_yet_are_named_and_read_once_they_do(deployment: Deployment) -> None:
    services = Services(deployment, has_topics=False)
    sidecar = services.sidecar().start()

    def warns() -> bool:
        ready = sidecar.get("/-/ready")
        return ready.ok and "ingestion events are not read" in ready.text and BEGINNINGS in ready.text

    eventually(warns, SHOWN_SECONDS, "missing topics are not named")
    services.create_topics(BEGINNINGS, "exchange_rate_updated", "cache_invalidation")
    services.send(begun("api", "1", now_ms()))
    eventually_counts(sidecar, begun=1, open=1)
    eventually(lambda: not warns(), SHOWN_SECONDS, "the warning stays")

    def diagnosis() -> list[list[str]]:
        """Of each source; of none in a rebalance, which every topic that appears brings about."""
        sources = sidecar.get("/api/v1/ingestion").json()["data"]["sources"]
        return [[source["state"], source["reason"]] for source in sources]

    wanted = [["unknown", "data_processing_completed not read"]]
    eventually(lambda: diagnosis() == wanted, SHOWN_SECONDS, "the reason is another one")
    # Not in the rebalance for those before: what is created in one has been noticed late.
    eventually(lambda: f"{services.prefix}cache_invalidation" in sidecar.log, SHOWN_SECONDS, "not all are assigned")
    services.create_topics("data_processing_completed")
    services.send(completed("api", "1", now_ms()))
    eventually_counts(sidecar, completed=1, open=0)


def test_an_open_round_survives_a_killed_sidecar_and_each_event_is_counted_by_one_of_both(services: Services) -> None:
    first = services.sidecar("one").start()
    services.send(*(make("api", str(number), now_ms(), 6) for number in range(5) for make in (begun, completed)))
    services.send(begun("api", "open", now_ms(), 6))
    eventually_counts(first, begun=6, completed=5, open=1)
    eventually(lambda: services.committed("new_data_received") >= 6, SHOWN_SECONDS, "nothing is committed")
    services.send(begun("api", "unread", now_ms(), 6))
    first.kill()
    left = {name: services.committed(name) for name in ROUNDS}
    second = services.sidecar("one").start()
    eventually(lambda: counts(second)["open"] == 2, SHOWN_SECONDS, "the open round is forgotten")
    services.send(*(completed("api", name, now_ms(), 6) for name in ("open", "unread")))
    eventually_counts(second, completed=2, open=0)
    counted = events(second)
    assert {name: counted[name] + left[name] for name in ROUNDS} == dict.fromkeys(ROUNDS, 7)
    assert counts(second) == {"begun": 7 - left[BEGINNINGS], "completed": 2, "mismatched": 0, "open": 0, "unpaired": 0}
    eventually(lambda: state(second) == "ok", SHOWN_SECONDS, "the source is not ok")


def test_of_two_sidecars_one_reads_all_of_the_rounds_and_the_other_takes_over_when_it_is_killed(
    services: Services,
) -> None:
    sidecars = [services.sidecar(name).start() for name in ("one", "two")]

    def is_shared() -> bool:
        rates = owners(sidecars, services, "exchange_rate_updated")
        return len(rates) == 3 and len(set(rates)) == 2

    eventually(is_shared, SHOWN_SECONDS, "the partitions of rates are not shared")
    (owner,), (ends,) = (owners(sidecars, services, name) for name in ROUNDS)
    assert owner is ends
    (other,) = (each for each in sidecars if each is not owner)
    services.send(*(make("api", str(number), now_ms(), 6) for number in range(3) for make in (begun, completed)))
    services.send(begun("api", "open", now_ms(), 6), *(rate("api", code, now_ms()) for code in CODES))
    eventually_counts(owner, begun=4, completed=3, open=1)
    eventually(lambda: currencies(owner) | currencies(other) == set(CODES), SHOWN_SECONDS, "rates are missing")
    assert not currencies(owner) & currencies(other)
    assert not other.scrape().series("marketdata_ingestion_source_state")
    eventually(lambda: services.committed(BEGINNINGS) == 4, SHOWN_SECONDS, "nothing is committed")
    owner.kill()
    eventually_counts(other, open=1, begun=0)
    services.send(completed("api", "open", now_ms(), 6))
    eventually_counts(other, open=0, begun=0, completed=1)
    eventually(lambda: currencies(other) == set(CODES), SHOWN_SECONDS, "rates are not taken over")


def test_a_sidecar_that_reads_no_events_loads_nothing_of_them() -> None:
    code = (
        "import sys, exporter.app, exporter.config.schema as schema; exporter.app.App(schema.Config()); "
        "print([name for name in sys.modules if name.startswith('exporter.ingestion')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
