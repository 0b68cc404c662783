"""Which topics are read: what `Subscription` tells, librdkafka and the broker do, in groups of both protocols."""

import argparse
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer

from exporter.config.subscription import Subscription
from exporter.tools.audit import command
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

CLASSIC, CONSUMER = "classic", "consumer"
POSITION = "marketdata_consumer_position_offset"
both = pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER])

SUFFIXES = "x -data.korea -data. -data -dataXkorea 1 12 123 -b _c .b b bb B".split()  # noqa: SIM905 - one line
# Each after a stem that no other topic has.
PATTERNS = [
    r"^{}-data\.", r"^{}-data\..+$", "^{}[[:digit:]]+$", "^{}[0-9]{{2}}", "^{}(-|[.])b$", "^{}[^-]", "^{}b{{1,2}}$",
    "^{}.?$", "^{}(b|-data[.].*)$", "^{}[A-z]$", "^{}(-[a-z]+)*$", "^{}[[:upper:]b]", "^{}([.-]?[a-z]+)+$",
    r"^{}\-[^d]",
]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "name", "is_meant"),
    [
        ("ticker", "ticker", True),
        ("ticker", "ticker-data", False),
        ("^ticker", "ticker-data", True),
        ("^ticker$", "ticker-data", False),
        ("^data", "ticker-data", False),
        (".icker", "ticker", False),
        ("^.*", "__consumer_offsets", False),
        ("^_", "__anything", False),
        ("^_", "_schemas", True),
    ],
)
def test_names_are_names_patterns_begin_with_a_caret_and_internal_topics_are_never_meant(
    entry: str, name: str, is_meant: bool
) -> None:
    assert Subscription(["other", entry, "^nothing$"]).means(name) is is_meant


@pytest.mark.parametrize(
    ("name", "is_meant"),
    [
        ("ticker-data.korea", True),
        ("ticker-data.test", False),
        ("ticker-data.test1", True),
        ("ticker-data.xx1", False),
        ("other", True),
    ],
)
def test_what_is_excluded_is_not_meant(name: str, is_meant: bool) -> None:
    excluded = ["ticker-data.test", "^ticker-data[.]xx?1"]
    assert Subscription(["other", "^ticker"], excluded).means(name) is is_meant


@contextmanager
def member(broker: Broker, subscribed: list[str], protocol: str) -> Iterator[Callable[[], set[str]]]:
    """A consumer in a group of its own; tells the topics that it has."""
    settings = {"partition.assignment.strategy": "cooperative-sticky"} if protocol == CLASSIC else {}
    common = {"bootstrap.servers": broker.bootstrap, "group.id": uuid.uuid4().hex, "group.protocol": protocol}
    consumer: Any = Consumer({**common, **settings, "log_level": 0})
    consumer.subscribe(subscribed)

    def topics() -> set[str]:
        consumer.poll(0.1)
        return {partition.topic for partition in consumer.assignment()}

    try:
        yield topics
    finally:
        consumer.close()


@both
def test_client_and_broker_find_the_topics_that_the_subscription_tells(broker: Broker, protocol: str) -> None:
    stem = f"s{uuid.uuid4().hex[:8]}"
    names = [broker.create_topic(stem + suffix) for suffix in ("", *SUFFIXES)]

    def assert_found(pattern: str) -> None:
        subscription = Subscription([pattern])
        wanted = set(subscription.among(names))
        with member(broker, subscription.subscribed, protocol) as topics:
            # A member that joins before it knows all of the topics is given the rest when it does.
            eventually(lambda: topics() == wanted, 20, f"{pattern} does not mean {wanted}")

    patterns = [pattern.format(stem) for pattern in PATTERNS]
    with ThreadPoolExecutor(len(patterns)) as pool:
        list(pool.map(assert_found, patterns))


def sidecar(deployment: Deployment, protocol: str, name: str = "one", **settings: Any) -> Sidecar:
    """A sidecar in a group of that protocol."""
    usual = deployment.sidecar().settings["kafka.consumer_properties"]
    properties = {"group.protocol": CONSUMER, "fetch.wait.max.ms": "20"} if protocol == CONSUMER else usual
    return deployment.sidecar(name, kafka__consumer_properties=properties, **settings)


@both
def test_new_group_begins_at_the_end_of_what_a_pattern_covers(deployment: Deployment, protocol: str) -> None:
    """A class by name, and a name that goes on: all that exists before is known, so only what comes later is read."""
    deployment.traffic.write(90)
    topics = [f"^[[:lower:]]+-data[.]{deployment.topic.partition('.')[2][:-2]}"]
    running = sidecar(deployment, protocol, input__start="latest", input__topics=topics).start()
    eventually(lambda: running.get("/-/ready").ok, 30, "not ready")
    deployment.traffic.write(50)
    eventually(lambda: len(deployment.told().batches) >= 50, 30, "too few events")
    assert sorted(deployment.told().batches) == sorted(deployment.traffic.batches[90:])


def test_topic_that_a_broker_finds_later_begins_at_its_start(deployment: Deployment) -> None:
    """In a group of the consumer protocol the broker looks for new topics."""
    running = sidecar(deployment, CONSUMER, input__start="latest", input__topics=[f"^{deployment.topic}"]).start()
    eventually(lambda: running.get("/-/ready").ok, 30, "not ready")
    later = Traffic(deployment.cluster, deployment.cluster.create_topic(f"{deployment.topic}-later"), 1)
    later.write(90)
    eventually(lambda: len(deployment.told().batches) >= 90, 30, "too few events")
    assert sorted(deployment.told().batches) == sorted(later.batches)


def test_excluded_topics_are_not_read_by_any_replica(deployment: Deployment) -> None:
    """Names and patterns."""
    cluster, stem = deployment.cluster, deployment.topic
    others = [Traffic(cluster, cluster.create_topic(f"{stem}{suffix}"), 1) for suffix in (".test", ".xx1", "-e.g")]
    for traffic in (deployment.traffic, *others):
        traffic.write(90)
    settings = {"input__topics": [f"^{stem}"], "input__exclude": [f"{stem}.test", f"^{stem}[.]xx?1", f"^{stem}-e"]}
    first, second = (sidecar(deployment, CLASSIC, name, **settings).start() for name in ("one", "two"))
    eventually(lambda: first.batches() + second.batches() == 90, 30, "not all was read")
    for traffic in (deployment.traffic, *others):
        traffic.write(90)
    deployment.eventually_committed()
    eventually(lambda: first.get("/-/ready").ok and second.get("/-/ready").ok, 30, "not ready")
    assert first.batches() + second.batches() == 180
    read = {sample["topic"] for each in (first, second) for sample in each.scrape().series(POSITION)}
    assert read == {stem}


@both
def test_internal_topics_are_never_read(deployment: Deployment, protocol: str) -> None:
    """Though a broker hands them out when a pattern covers them."""
    deployment.traffic.write(90)
    name = deployment.topic.replace(".", "[.]")
    pattern = f"^(__consumer_offsets|{name})"
    first, second = (sidecar(deployment, protocol, name, input__topics=[pattern]).start() for name in ("one", "two"))
    eventually(lambda: first.batches() + second.batches() == 90, 30, "not all was read")
    deployment.traffic.write(90)
    eventually(lambda: first.batches() + second.batches() == 180, 30, "not all was read")
    second.stop()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    topics = {sample["topic"] for sample in first.scrape().series(POSITION)}
    assert topics == {deployment.topic}
    assert first.scrape().total("marketdata_records_total", topic="__consumer_offsets") == 0
    first.stop()
    deployment.assert_told_once()


def test_sidecars_that_read_what_the_other_publishes_answer_nothing(deployment: Deployment) -> None:
    """What a sidecar published is known by its headers, so no error event is about another, whatever the names."""
    others = f"other-{uuid.uuid4().hex[:8]}"
    for kind in ("events", "errors"):
        deployment.cluster.create_topic(f"{others}-{kind}")
    outputs = {"output__topic": f"{others}-events", "output__error_topic": f"{others}-errors"}
    ours = f"^(events|errors)-{deployment.topic.partition('.')[2]}"
    first = deployment.sidecar("one", input__topics=[deployment.topic, f"^{others}"])
    second = deployment.sidecar("two", input__topics=[deployment.topic, ours], input__group=others, **outputs)
    deployment.traffic.write(90)
    deployment.cluster.produce(deployment.topic, [b"no batch"] * 5)
    sidecars = [first.start(), second.start()]
    eventually(lambda: all(one.scrape().total("marketdata_records_filtered_total") >= 95 for one in sidecars), 30)
    for one in sidecars:
        assert one.scrape().total("marketdata_records_rejected_total") == 5
        one.stop()
    for errors in (deployment.errors, f"{others}-errors"):
        assert len(deployment.cluster.read_all(errors)) == 5


def test_an_audit_counts_what_sidecars_published_as_the_sidecar_does(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.traffic.write(90)
    event = Record(b"?", headers={"ce_type": b"marketdata.monitoring.error"})
    deployment.cluster.produce(deployment.topic, [event] * 5)
    running = deployment.sidecar().start()
    eventually(lambda: running.scrape().total("marketdata_records_total") == 95, 30, "not all was read")
    running.stop()
    options = ["--topic", f"^{deployment.topic}$", "--event-topic", deployment.events]
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.main(parser.parse_args(["--bootstrap-servers", deployment.cluster.bootstrap, *options])) == 0
    assert "95 records, 0 of them rejected, 5 filtered" in capsys.readouterr().out
