"""A topic for each symbol: what is counted and shown of topics is bounded by `metrics.topics`."""

from string import ascii_uppercase
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric

from exporter.config.schema import Config, InputConfig, MetricsConfig
from exporter.config.subscription import shown_as
from exporter.metrics.partitions import merged, partition_families
from exporter.metrics.sidecar import record_families
from exporter.model import Partition, Reason
from exporter.status import PartitionStatus
from exporter.tools.check import series
from exporter.tools.check.model import Cluster, Topic
from tests.support.kafka import Broker
from tests.support.pipeline import KEY, NOW_MS, START, pipeline, record, start, take, value
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

PATTERN = "^trades-.+"
ENTRIES = ("book-A", PATTERN, "^trades-[AB]$")
TOPICS = [f"trades-{letter}" for letter in "ABCDEFGH"]


def configured(topics: Literal["all", "pattern", "none"]) -> Config:
    """A configuration with many topics of one pattern."""
    return Config(input=InputConfig(topics=ENTRIES), metrics=MetricsConfig(topics=topics))


@pytest.mark.parametrize(
    ("topic", "by_pattern"),
    [("book-A", "book-A"), ("trades-A", PATTERN), ("trades-X", PATTERN), ("other", "other")],
)
def test_a_topic_is_shown_by_its_name_by_the_first_entry_that_means_it_or_not_at_all(
    topic: str, by_pattern: str
) -> None:
    assert shown_as(ENTRIES, "all")(topic) == topic
    assert shown_as(ENTRIES, "pattern")(topic) == by_pattern
    assert shown_as(ENTRIES, "none")(topic) == ""


@pytest.mark.parametrize(("topics", "expected"), [("all", len(TOPICS)), ("pattern", 1), ("none", 1)])
def test_topics_of_one_name_share_their_counts(topics: Literal["all", "pattern", "none"], expected: int) -> None:
    here = pipeline(shown_as=shown_as(ENTRIES, topics))
    for topic in TOPICS:
        partition = Partition(topic, 0)
        here.assign(partition, start(START, 2))
        take(here, record(0, partition=partition), record(1, b"no batch", partition))
    assert len(here.topics) == expected
    assert sum(topic.records for topic in here.topics.values()) == 2 * len(TOPICS)
    assert sum(topic.rejected[Reason.INVALID_JSON] for topic in here.topics.values()) == len(TOPICS)


def test_what_is_rejected_is_still_known_by_topic() -> None:
    here = pipeline(shown_as=shown_as(ENTRIES, "pattern"))
    for topic in TOPICS:
        partition = Partition(topic, 0)
        here.assign(partition, start(START, 1))
        take(here, record(0, b"no batch" if topic == TOPICS[0] else None, partition))
    assert [topic for topic, traffic in here.traffic(NOW_MS).items() if traffic.rejected_ratio] == [TOPICS[0]]


def test_the_place_of_a_rejected_record_names_its_own_topic() -> None:
    here = pipeline(shown_as=shown_as(ENTRIES, "pattern"))
    partition = Partition(TOPICS[3], 5)
    here.assign(partition, start(START, 1))
    take(here, record(0, b"no batch", partition))
    rejected = next(each for each in record_families(here.topics) if each.name == "marketdata_records_rejected")
    (sample,) = (each for each in rejected.samples if each.exemplar)
    assert sample.labels["topic"] == PATTERN
    assert sample.exemplar is not None
    assert sample.exemplar.labels == {"topic": TOPICS[3], "partition": "5", "offset": "0"}


# Partitions.


def status(topic: str, number: int, offset: int, end: int | None, last_ms: int = 0) -> PartitionStatus:
    """An assigned partition."""
    return PartitionStatus(Partition(topic, number), offset, end, last_ms)


STATUSES = st.lists(
    st.builds(
        status,
        st.sampled_from([*TOPICS, "book-A"]),
        st.integers(0, 2),
        st.integers(0, 100),
        st.none() | st.integers(0, 100),
        st.integers(0, 10**12),
    ),
    unique_by=lambda each: each.partition,
)


def total(families: list[Metric], name: str) -> float:
    """The sum of the samples of a family."""
    return sum(sample.value for family in families if family.name == name for sample in family.samples)


@given(STATUSES)
def test_by_pattern_the_lag_is_the_sum_of_the_lags(statuses: list[PartitionStatus]) -> None:
    single, shared = (
        list(partition_families(statuses)),
        list(partition_families(merged(statuses, shown_as(ENTRIES, "pattern")))),
    )
    for name in ("marketdata_consumer_lag_records", "marketdata_consumer_position_offset"):
        assert total(single, name) == total(shared, name)
    assert {sample.labels["topic"] for family in shared for sample in family.samples} <= {PATTERN, "book-A"}


@given(STATUSES)
def test_by_name_partitions_stay_as_they_are(statuses: list[PartitionStatus]) -> None:
    assert merged(statuses, shown_as(ENTRIES, "all")) == statuses


def test_the_last_record_of_several_partitions_is_the_newest() -> None:
    statuses = [status("trades-A", 0, 5, None, NOW_MS), status("trades-B", 0, 7, 9, NOW_MS - 5)]
    assert merged(statuses, shown_as(ENTRIES, "pattern")) == [status(PATTERN, 0, 12, 14, NOW_MS)]


# A running sidecar.


def test_a_feed_is_put_together_from_all_of_its_topics(deployment: Deployment, broker: Broker) -> None:
    names = [broker.create_topic(f"{deployment.topic}-{letter}") for letter in ascii_uppercase]
    for name in names:
        broker.produce(name, [value(KEY, name[-1])] * 2)
    pattern = f"^{deployment.topic}-.+".replace(".", r"\.", 1)
    sidecar = deployment.sidecar(input__topics=[pattern], metrics__topics="pattern").start()
    eventually(lambda: sidecar.batches() == 2 * len(names), 20)
    eventually(lambda: sidecar.scrape().series("marketdata_consumer_lag_records"))
    scrape = sidecar.scrape()
    assert [series["topic"] for series in scrape.series("marketdata_records_total")] == [pattern]
    assert scrape.total("marketdata_records_total") == 2 * len(names)
    assert len(scrape.series("marketdata_consumer_position_offset")) == 1
    assert scrape.total("marketdata_consumer_lag_records") == 0

    def is_put_together() -> bool:
        (feed,) = sidecar.get("/api/v1/feeds").json()["data"]
        return (feed["exchange"], len(feed["partitions"]), feed["state"]) == (KEY.exchange, len(names), "ok")

    eventually(is_put_together)


def test_a_topic_of_which_all_records_are_rejected_is_a_warning_though_no_feed_is_known(
    deployment: Deployment, broker: Broker
) -> None:
    sidecar = deployment.sidecar().start()
    eventually(lambda: sidecar.get("/-/ready").ok)
    broker.produce(deployment.topic, [b'{"code": "KRW-BTC", "trade_price": 1}'] * 20)
    warning = f"all records of {deployment.topic} are rejected: missing_field, for example {deployment.topic}/"
    eventually(lambda: warning in sidecar.get("/-/ready").text)
    assert sidecar.get("/-/ready").text.startswith("ready; warning: ")
    assert sidecar.get("/-/ready").ok
    assert warning in sidecar.snapshot()
    assert eventually(lambda: sidecar.log.count('"a record is rejected"')) == 1


# What a sidecar shows, and `check` expects.


@pytest.mark.parametrize("topics", ["all", "pattern"])
def test_a_topic_that_is_shown_has_its_series(topics: Literal["all", "pattern"]) -> None:
    cost = series.cost(configured(topics))
    assert cost.topic > 0
    assert cost.partition > 0


def test_what_is_off_is_not_made() -> None:
    cost = series.cost(configured("none"))
    assert (cost.topic, cost.partition) == (0, 0)


@pytest.mark.parametrize(
    ("topics", "shown"), [("all", "18 partitions with 4, 9 topics"), ("pattern", "4 partitions with 4, 2 topics")]
)
def test_check_counts_series_of_topics_as_they_are_shown(topics: Literal["all", "pattern"], shown: str) -> None:
    names = {name: Topic(2) for name in ("book-A", *TOPICS)}
    cluster = Cluster(1, frozenset(names), names, {}, {}, None, [])
    (finding,) = series.series(configured(topics), cluster)
    assert shown in finding.text
