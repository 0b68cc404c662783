"""`check` names what is wrong before `run` would meet it, and leaves no trace."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import admin as kafka_admin

from exporter.config.conflicts import INGESTION_TOPICS
from exporter.config.ingestion_schema import IngestionConfig
from exporter.config.risk_schema import PositionsConfig, RiskConfig
from exporter.config.schema import (
    Config,
    CreateTopics,
    ExpectedFeed,
    FeedsConfig,
    InputConfig,
    KafkaConfig,
    Limits,
    OutputConfig,
    RedisConfig,
    SymbolsConfig,
)
from exporter.config.web_schema import WebConfig
from exporter.metrics.feed_metrics import FEED_PARTS
from exporter.model import FeedKey, Partition
from exporter.tools.check import cluster as cluster_questions
from exporter.tools.check import command, findings, ingestion, schemas, series, services
from exporter.tools.check.model import Cluster, Finding, Group, Level, Progress, Refusal, Server, Topic
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.queries import site
from tests.support.redis import RedisServer

kafka: Any = kafka_admin  # its types leave much of it out

DEFAULT = InputConfig().topics[0]
ALL = frozenset({"READ", "WRITE", "DESCRIBE"})
OUTPUTS = {"monitoring.batch.performance": Topic(4, operations=ALL), "ws.error": Topic(4, operations=ALL)}
DENIED = Refusal("TOPIC_AUTHORIZATION_FAILED", "Broker: Topic authorization failed")
SILENT = Refusal("_TIMED_OUT", "no answer")
UNKNOWN = Refusal("UNKNOWN_TOPIC_OR_PART", "Broker: Unknown topic or partition")


def cluster(topics: Mapping[str, Topic | Refusal] = OUTPUTS, **facts: Any) -> Cluster:
    """A cluster of three brokers without an authorizer, in which everything is in order but what is said."""
    named = frozenset(name for name, topic in topics.items() if isinstance(topic, Topic))
    usual: dict[str, Any] = {
        "brokers": 3,
        "names": named,
        "topics": topics,
        "settings": {"authorizer.class.name": ""},
        "creation": {},
        "group": None,
        "transactional_acls": [],
    }
    return Cluster(**(usual | facts))


def group(**facts: Any) -> Group:
    """An empty group that has read nothing."""
    usual: dict[str, Any] = {
        "state": "empty",
        "kind": "classic",
        "assignor": "",
        "members": 0,
        "operations": ALL,
        "progress": {},
    }
    return Group(**(usual | facts))


def levels(found: Iterator[Finding], subject: str = "") -> list[str]:
    """How bad the findings are, those about one subject when it is named."""
    return [finding.level.value for finding in found if subject in ("", finding.subject)]


def trouble(found: Iterator[Finding]) -> str:
    """What is not ok, as it is printed."""
    return "\n".join(str(finding) for finding in found if finding.level is not Level.OK)


# Values.


def test_a_finding_is_one_line_without_secrets_and_ends_with_what_to_do() -> None:
    said = "first\nsecond http://me:sesame@host/ " + "x" * 1000
    line = str(Finding(Level.FAIL, "redis.url", said, "do this"))
    assert line.startswith("fail  redis.url: first second http://me:")
    assert line.endswith("\N{HORIZONTAL ELLIPSIS}; do this")
    assert "\n" not in line
    assert "sesame" not in line


@pytest.mark.parametrize(
    ("bootstrap", "expected"),
    [
        (["", ""], ["ok", "ok"]),
        (["", "Connection refused"], ["ok", "warn"]),
        (["Connection refused", "timed out"], ["fail", "fail"]),
    ],
)
def test_one_server_that_answers_is_enough(bootstrap: list[str], expected: list[str]) -> None:
    named = [Server(f"broker-{number}:9092", why) for number, why in enumerate(bootstrap)]
    assert levels(findings.servers(named, [])) == expected


def test_a_broker_that_is_advertised_by_an_address_that_does_not_answer_is_a_failure() -> None:
    """The sidecar would connect, learn that address and get no further."""
    found = trouble(findings.servers([Server("here:9092")], [Server("kafka:29092", "Failed to resolve 'kafka'")]))
    assert found.startswith("fail")
    assert "kafka:29092" in found
    assert "advertised.listeners" in found


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("SASL authentication error: Authentication failed", "sasl."),
        ("SSL handshake failed: certificate verify failed", "ssl."),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", "port"),
    ],
)
def test_the_advice_fits_why_a_server_does_not_answer(why: str, advice: str) -> None:
    assert advice in trouble(findings.servers([Server("broker:9092", why)], []))


def test_credentials_of_one_client_only_are_pointed_out() -> None:
    properties = KafkaConfig(producer_properties={"sasl.password": "sesame", "linger.ms": "5"})
    found = trouble(findings.split_connections(Config(kafka=properties)))
    assert "sasl.password" in found
    assert "linger.ms" not in found
    assert "sesame" not in found


def test_an_expression_tells_how_many_topics_and_partitions_it_means() -> None:
    topics = {f"ticker-data.{n}": Topic(3, operations=ALL) for n in range(5)} | {"other": Topic(1)}
    first, *_ = findings.input_topics(Config(), cluster(topics))
    assert first.level is Level.OK
    assert "5 topics with 15 partitions: ticker-data.0, ticker-data.1, ticker-data.2 and 2 more" in first.text


def test_an_exclusion_tells_what_it_leaves_out() -> None:
    topics = {f"ticker-data.{n}": Topic(3, operations=ALL) for n in range(5)}
    config = Config(input=InputConfig(exclude=("ticker-data.1", "^ticker-data[.]9")))
    first, left_out, nothing, *_ = findings.input_topics(config, cluster(topics))
    assert "4 topics with 12 partitions: ticker-data.0, ticker-data.2, ticker-data.3 and 1 more" in first.text
    assert (left_out.level, left_out.text) == (Level.OK, "ticker-data.1 leaves out 1 topic: ticker-data.1")
    assert nothing.level is Level.WARN


def test_an_expression_that_matches_nothing_is_a_warning() -> None:
    assert levels(findings.input_topics(Config(), cluster())) == ["warn"]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (DEFAULT, "ticker_data.korea"),
        (DEFAULT, "trade.data.korea"),
        ("^((ticker|trade)s?-)+data$", "trades_data"),
        (r"^ticker-data\.", "prod.ticker-data.korea"),
        (r"^tikcer-data\..+$", "ticker-data.korea"),
        ("^ticker-data[.]korea$", "Ticker-Data.Korea"),
        ("ticker-data.korea", "ticker-data.japan"),
    ],
)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_entry_without_topics_names_similar_ones(entry: str, name: str, protocol: str) -> None:
    kafka = KafkaConfig(consumer_properties={"group.protocol": protocol})
    there: dict[str, Topic | Refusal] = {name: Topic(1), "connect-offsets": Topic(1), "__consumer_offsets": Topic(50)}
    there[entry] = UNKNOWN
    found = list(findings.input_topics(Config(kafka=kafka, input=InputConfig(topics=(entry,))), cluster(there)))
    assert f"similar: {name}" in found[0].text
    assert "offsets" not in found[0].text


@pytest.mark.parametrize(("protocol", "told"), [("classic", []), ("consumer", ["warn"])])
def test_internal_topics_that_brokers_hand_out_are_a_warning(protocol: str, told: list[str]) -> None:
    kafka = KafkaConfig(consumer_properties={"group.protocol": protocol})
    config = Config(kafka=kafka, input=InputConfig(topics=("^.*",)), output=OutputConfig(enabled=False))
    facts = cluster({"ticker-data.korea": Topic(1, operations=ALL), "__consumer_offsets": Topic(50)})
    found = list(findings.input_topics(config, facts))
    assert [finding.level for finding in found if "__consumer_offsets" in finding.text] == told
    assert "1 topic with 1 partition: ticker-data.korea" in found[0].text


@pytest.mark.parametrize(("refusal", "said"), [(UNKNOWN, "does not exist"), (DENIED, "hidden"), (SILENT, "no answer")])
def test_a_topic_that_is_named_and_not_there_is_a_failure(refusal: Refusal, said: str) -> None:
    config = Config(input=InputConfig(topics=("ticker",)))
    found = list(findings.input_topics(config, cluster({"ticker": refusal})))
    assert [finding.level for finding in found] == [Level.FAIL]
    assert said in found[0].text


@pytest.mark.parametrize(
    ("topic", "subject", "level"),
    [
        (Topic(3, operations=frozenset({"DESCRIBE"})), "input.topics", "fail"),
        (Topic(3, leaderless=1, operations=ALL), "input.topics", "warn"),
        (Topic(3, operations=ALL, settings={"max.message.bytes": "10000000"}), "input.limits.record_bytes", "warn"),
    ],
)
def test_input_that_cannot_all_be_read_is_found(topic: Topic, subject: str, level: str) -> None:
    found = findings.input_topics(Config(), cluster({"ticker-data.korea": topic}))
    assert level in levels(found, subject)


def test_a_topic_that_is_there_and_not_described_is_a_failure() -> None:
    facts = cluster({"ticker-data.korea": SILENT}, names=frozenset({"ticker-data.korea"}))
    assert "no answer" in trouble(findings.input_topics(Config(), facts))


def test_the_default_of_brokers_for_large_messages_fits_our_default_limit() -> None:
    topic = Topic(3, operations=ALL, settings={"max.message.bytes": "1048588"})
    assert trouble(findings.input_topics(Config(), cluster({"ticker-data.korea": topic}))) == ""


def test_unknown_permissions_are_not_claimed() -> None:
    found = findings.input_topics(Config(), cluster({"ticker-data.korea": Topic(1)}))
    assert any("as far as the cluster reports" in finding.text for finding in found)


def test_output_that_is_in_order_is_ok() -> None:
    assert trouble(findings.outputs(Config(), cluster())) == ""


def test_without_output_nothing_is_asked_of_its_topics() -> None:
    assert levels(findings.outputs(Config(output=OutputConfig(enabled=False)), cluster({}))) == ["ok"]


@pytest.mark.parametrize(
    ("topic", "level", "said"),
    [
        (UNKNOWN, "fail", "--create-topics"),
        (DENIED, "fail", "allow WRITE"),
        (SILENT, "fail", "no answer"),
        (Topic(4, operations=frozenset({"READ"})), "fail", "allow WRITE"),
        (Topic(4, in_sync=1, operations=ALL, settings={"min.insync.replicas": "2"}), "fail", "min.insync.replicas"),
        (Topic(4, operations=ALL, settings={"cleanup.policy": "compact"}), "warn", "cleanup.policy"),
        (Topic(4, operations=ALL, settings={"max.message.bytes": "65536"}), "warn", "to 65536"),
    ],
)
def test_an_output_topic_that_would_not_do_is_found(topic: Topic | Refusal, level: str, said: str) -> None:
    found = trouble(findings.outputs(Config(), cluster(OUTPUTS | {"ws.error": topic})))
    assert found.startswith(f"{level:<4}  output.error_topic: ")
    assert said in found


def test_a_topic_that_the_broker_would_make_by_itself_is_a_warning() -> None:
    """Its partitions are not what somebody has chosen."""
    settings = {"authorizer.class.name": "", "auto.create.topics.enable": "true", "num.partitions": "1"}
    found = trouble(findings.outputs(Config(), cluster(OUTPUTS | {"ws.error": UNKNOWN}, settings=settings)))
    assert found.startswith("warn")
    assert "1 partition)" in found


@pytest.mark.parametrize(
    ("answer", "level"), [(None, "ok"), (Refusal("INVALID_REPLICATION_FACTOR", "only 1 broker"), "fail")]
)
def test_topics_to_be_created_are_ok_when_the_broker_would_create_them(answer: Refusal | None, level: str) -> None:
    config = Config(output=OutputConfig(create_topics=CreateTopics()))
    facts = cluster(OUTPUTS | {"ws.error": UNKNOWN}, creation={"ws.error": answer})
    assert levels(findings.outputs(config, facts), "output.error_topic") == [level]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"settings": {"authorizer.class.name": "", "transaction.state.log.replication.factor": "5"}}, "3 brokers"),
        ({"settings": {"authorizer.class.name": "", "transaction.max.timeout.ms": "1000"}}, "the brokers allow 1000"),
        (
            {"topics": OUTPUTS | {"__transaction_state": Topic(50, in_sync=1, settings={"min.insync.replicas": "2"})}},
            "__transaction_state has 1 replica in sync",
        ),
    ],
)
def test_transactions_that_could_not_begin_are_a_failure(facts: dict[str, Any], said: str) -> None:
    found = trouble(findings.outputs(Config(), cluster(**facts)))
    assert found.startswith("fail")
    assert said in found


def test_at_least_once_needs_no_transactions() -> None:
    settings = {"authorizer.class.name": "", "transaction.state.log.replication.factor": "5"}
    config = Config(output=OutputConfig(delivery="at_least_once"))
    assert trouble(findings.outputs(config, cluster(settings=settings))) == ""


@pytest.mark.parametrize(("acls", "level"), [([], "warn"), (["User:sidecar"], "ok")])
def test_the_right_to_a_transactional_id_is_told_as_far_as_it_is_known(acls: list[str], level: str) -> None:
    found = list(findings.outputs(Config(instance="one"), cluster(settings={}, transactional_acls=acls)))
    assert found[-1].level.value == level
    assert "marketdata-exporter-one" in found[-1].text


def test_a_cluster_without_an_authorizer_allows_everything() -> None:
    assert any("no authorizer" in finding.text for finding in findings.outputs(Config(), cluster()))


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (Refusal("GROUP_AUTHORIZATION_FAILED", "Group authorization failed"), "fail", "allow READ"),
        (group(operations=frozenset({"DESCRIBE"})), "fail", "allow READ"),
        (group(state="dead", operations=frozenset({"DESCRIBE"})), "fail", "allow READ"),
        (group(members=1, assignor="range"), "fail", "range"),
        (group(members=1, kind="consumer", assignor="uniform"), "warn", "consumer protocol"),
        (group(progress=Refusal("_TIMED_OUT", "no answer")), "warn", "no answer"),
        (group(progress={Partition("t", 0): Progress(5, first=10, end=20)}), "warn", "t/0"),
        (group(progress={Partition("t", 0): Progress(25, first=10, end=20)}), "warn", "t/0"),
    ],
)
def test_a_group_that_would_not_do_is_found(found: Group | Refusal, level: str, said: str) -> None:
    line = trouble(findings.group(Config(), cluster(group=found)))
    assert line.startswith(f"{level:<4}  input.group: ")
    assert said in line


def test_a_group_in_use_tells_its_lag() -> None:
    progress = {Partition("t", n): Progress(10, first=0, end=15) for n in range(3)}
    working = group(state="stable", members=2, assignor="cooperative-sticky", progress=progress)
    found = list(findings.group(Config(), cluster(group=working)))
    assert {finding.level for finding in found} == {Level.OK}
    assert "stable with 2 members" in found[0].text
    assert "offsets on 3 partitions, 15 records behind" in found[1].text


CLASSIC = {"group.min.session.timeout.ms": "6000", "group.max.session.timeout.ms": "1800000", "group.max.size": "2"}
NEW = {
    "group.coordinator.rebalance.protocols": "classic,consumer,streams",
    "group.consumer.assignors": "uniform,range",
    "group.consumer.max.size": "2",
}
CONSUMER = {"group.protocol": "consumer"}


@pytest.mark.parametrize(
    ("properties", "settings", "found", "said"),
    [
        ({"session.timeout.ms": "3000000"}, CLASSIC, None, "the brokers allow 6000 to 1800000"),
        ({"session.timeout.ms": "500"}, CLASSIC, None, "session.timeout.ms is 500"),
        ({}, CLASSIC | {"group.max.session.timeout.ms": "30000"}, None, "session.timeout.ms is 45000"),
        (CONSUMER, CLASSIC, None, "do not have group.protocol consumer"),
        (CONSUMER, NEW | {"group.coordinator.rebalance.protocols": "classic"}, None, "do not have group.protocol"),
        (CONSUMER | {"group.remote.assignor": "none"}, NEW, None, "no group.remote.assignor none, but uniform, range"),
        ({}, CLASSIC, group(members=2), "as many as the brokers allow (group.max.size)"),
        (CONSUMER, NEW, group(members=2, kind="consumer"), "as many as the brokers allow (group.consumer.max.size)"),
        ({"group.instance.id": "one"}, CLASSIC, group(members=1, instances=frozenset({"one"})), "one already"),
    ],
)
def test_what_the_brokers_would_refuse_at_the_join_is_found(
    properties: dict[str, str], settings: dict[str, str], found: Group | None, said: str
) -> None:
    config = Config(kafka=KafkaConfig(consumer_properties=properties))
    facts = cluster(group=found, settings={"authorizer.class.name": ""} | settings)
    assert said in trouble(findings.group(config, facts))


@pytest.mark.parametrize(
    ("properties", "settings", "found"),
    [
        ({}, CLASSIC, group(members=1)),
        (CONSUMER | {"group.remote.assignor": "uniform"}, NEW, group(members=1, kind="consumer")),
        (CONSUMER | {"group.remote.assignor": "own"}, NEW | {"group.consumer.assignors": "org.example.Own"}, None),
        (CONSUMER, {}, None),
        ({"session.timeout.ms": "3000000"}, {}, None),
        ({"group.instance.id": "one"}, CLASSIC, group(members=1, instances=frozenset({"two"}))),
    ],
)
def test_what_they_would_take_or_do_not_show_is_no_finding(
    properties: dict[str, str], settings: dict[str, str], found: Group | None
) -> None:
    """Settings that this user may not see refuse nothing here."""
    config = Config(kafka=KafkaConfig(consumer_properties=properties))
    hidden = {} if not settings else {"authorizer.class.name": ""}
    facts = cluster(group=found or group(), settings=hidden | settings)
    assert trouble(findings.group(config, facts)) == ""


def test_members_that_share_by_what_we_are_configured_for_are_no_strangers() -> None:
    config = Config(kafka=KafkaConfig(consumer_properties={"partition.assignment.strategy": "range,roundrobin"}))
    assert trouble(findings.group(config, cluster(group=group(members=1, assignor="range")))) == ""


def test_a_group_that_was_not_asked_about_is_only_in_doubt_where_somebody_may_forbid_it() -> None:
    assert trouble(findings.group(Config(), cluster())) == ""
    assert "READ" in trouble(findings.group(Config(), cluster(settings={})))


def test_offsets_could_not_be_kept_by_fewer_brokers_than_replicas() -> None:
    settings = {"authorizer.class.name": "", "offsets.topic.replication.factor": "4"}
    assert "__consumer_offsets" in trouble(findings.group(Config(), cluster(settings=settings)))


def test_the_cost_of_a_feed_is_that_of_its_families() -> None:
    """All of them: each costs something once the feed has sent."""
    cost = series.cost(Config())
    assert cost.feed > sum(len(part.rows) for part in FEED_PARTS)
    assert min(cost) > 0


def test_a_registry_and_redis_cost_series_of_their_own() -> None:
    plain = series.cost(Config())
    more = Config(redis=RedisConfig(url="redis://nowhere"), output=OutputConfig(schema_registry="http://nowhere"))
    assert series.cost(more).fixed > plain.fixed
    assert series.cost(more)[1:] == plain[1:]


@pytest.mark.parametrize(
    ("feeds", "expected"),
    [
        (FeedsConfig(expected=(ExpectedFeed(feed=FeedKey("korea", "upbit", "ticker")),)), 1),
        (FeedsConfig(include=("korea:upbit:ticker", "korea:bithumb:ticker")), 2),
        (FeedsConfig(include=("korea:*",)), 300),
    ],
)
def test_feeds_are_those_that_are_told_or_as_many_as_are_allowed(feeds: FeedsConfig, expected: int) -> None:
    config = Config(feeds=feeds, input=InputConfig(limits=Limits(feeds=300)))
    assert series.expected_feeds(config)[0] == expected


@pytest.mark.parametrize(
    ("symbols", "names"),
    [
        (SymbolsConfig(), 0),
        (SymbolsConfig(shown=("A", "B")), 2),
        (SymbolsConfig(stalest=3), 3),
        (SymbolsConfig(shown=("A", "B"), stalest=3), 5),
        pytest.param(SymbolsConfig(stalest=100), 10, id="as many as a feed may have"),
    ],
)
def test_symbols_that_are_shown_by_name_cost_two_series_each_and_the_rest_one(
    symbols: SymbolsConfig, names: int
) -> None:
    feeds = FeedsConfig(include=("a:b:c", "a:b:d"), symbols=symbols)
    config = Config(feeds=feeds, input=InputConfig(limits=Limits(symbols_per_feed=10)))
    cost = series.cost(config)
    of_feed = cost.feed + (1 + 2 * names if names else 0)
    text = next(series.series(config, None)).text
    assert text.startswith(f"about {cost.fixed + 2 * of_feed}: 2 feeds (feeds.include) with {of_feed} series")


def test_who_shows_too_many_symbols_is_told_so() -> None:
    feeds = FeedsConfig(include=("a:b:c",) * 100, symbols=SymbolsConfig(stalest=1000))
    (finding,) = series.series(Config(feeds=feeds), None)
    assert finding.level is Level.WARN
    assert "feeds.symbols" in finding.advice


@pytest.mark.parametrize(("feeds", "level"), [(100, Level.OK), (10_000, Level.WARN)])
def test_more_than_a_hundred_thousand_series_are_a_warning(feeds: int, level: Level) -> None:
    config = Config(input=InputConfig(limits=Limits(feeds=feeds)))
    assert [finding.level for finding in series.series(config, cluster())] == [level]


def test_topics_and_partitions_count_as_series() -> None:
    cost = series.cost(Config())
    facts = cluster({"ticker-data.korea": Topic(3), "ticker-data.asia": Topic(4), "other": Topic(9)})
    total = cost.fixed + 10_000 * cost.feed + 2 * cost.topic + 7 * cost.partition
    assert next(series.series(Config(), facts)).text.startswith(f"about {total}: ")


# Real parts.


class Checked:
    """A run of the program: its exit code, and the lines that it printed."""

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.lines = lines

    def about(self, subject: str) -> str:
        """The lines about a subject."""
        return "\n".join(line for line in self.lines if line[6:].startswith(f"{subject}: "))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[[Config], Checked]:
    """Runs `check`, which says nothing but its findings."""

    def checked(config: Config) -> Checked:
        code = command.main(config)
        out, err = capfd.readouterr()
        assert err == ""
        assert all(line[:6] in ("ok    ", "warn  ", "fail  ") for line in out.splitlines())
        return Checked(code, out.splitlines())

    return checked


def configured(bootstrap: str, **sections: Any) -> Config:
    """A configuration for that cluster with few feeds, which listens on a free port."""
    usual: dict[str, Any] = {
        "kafka": KafkaConfig(bootstrap_servers=bootstrap),
        "web": WebConfig(listen_address="127.0.0.1:0"),
        "input": InputConfig(group=f"group-{uuid.uuid4().hex[:8]}", limits=Limits(feeds=100)),
    }
    return Config(**(usual | sections))


@pytest.fixture
def sound(topic: Callable[..., str], broker: Broker) -> Config:
    """A configuration with which everything is in order."""
    names = (topic("ticker-data.korea", partitions=3), topic("trade-data.asia"))
    return configured(
        broker.bootstrap,
        input=InputConfig(topics=names, group=f"group-{uuid.uuid4().hex[:8]}", limits=Limits(feeds=100)),
        output=OutputConfig(topic=topic("events"), error_topic=topic("errors")),
    )


def _state(broker: Broker) -> tuple[dict[str, int], list[str]]:
    """All topics with their partitions, and all groups."""
    client: Any = kafka.AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    topics = {name: len(topic.partitions) for name, topic in client.list_topics(timeout=10).topics.items()}
    groups = client.list_consumer_groups(request_timeout=10).result().valid
    return topics, sorted(group.group_id for group in groups)


def test_everything_in_order_is_told_as_such(sound: Config, run: Callable[[Config], Checked]) -> None:
    checked = run(sound)
    assert [line for line in checked.lines if not line.startswith("ok")] == []
    assert checked.code == 0
    assert "1 topic with 3 partitions" in checked.about("input.topics")


def test_what_brokers_do_not_answer_in_the_time_of_all_questions_is_a_finding(
    sound: Config, run: Callable[[Config], Checked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each question by itself would have time."""
    monkeypatch.setattr(cluster_questions, "CLUSTER_SECONDS", 0.0)
    checked = run(sound)
    assert checked.code == 1
    assert "not all is answered within 0 s" in "\n".join(checked.lines)


def test_a_question_that_is_not_answered_takes_no_time_from_when_all_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what is answered by then counts."""
    monkeypatch.setattr(cluster_questions, "CLUSTER_SECONDS", 0.0)
    asking, answered = cluster_questions._Questions(None), Future[int]()
    answered.set_result(7)
    found = [asking.answer(future) for future in (*(Future[int]() for _ in range(1000)), answered)]
    assert {refusal.code for refusal in found[:-1]} == {"_TIMED_OUT"}
    assert found[-1] == 7


def test_a_cluster_is_the_same_before_and_after(tmp_path: Path, run: Callable[[Config], Checked]) -> None:
    """Even one that nobody has used: no topic of ours, and none in which Kafka keeps groups and transactions."""
    broker = Broker(tmp_path, {"auto.create.topics.enable": "true"}).start()
    try:
        broker.create_topic("ticker-data.korea")
        before = _state(broker)
        for create in (CreateTopics(), None):
            plain = InputConfig(topics=("^ticker-.+", "trade-data.none"), limits=Limits(feeds=100))
            config = configured(broker.bootstrap, input=plain, output=OutputConfig(create_topics=create))
            assert "trade-data.none does not exist" in run(config).about("input.topics")
        assert _state(broker) == before == ({"ticker-data.korea": 1}, [])
    finally:
        broker.kill()


def test_output_topics_that_are_missing_are_named(sound: Config, run: Callable[[Config], Checked]) -> None:
    config = configured(sound.kafka.bootstrap_servers, input=sound.input, output=OutputConfig(topic="events-missing"))
    checked = run(config)
    assert checked.code == 1
    assert checked.about("output.topic").startswith("fail  output.topic: events-missing does not exist")
    assert checked.about("output.error_topic").startswith("fail")


@pytest.mark.parametrize(("replication", "code"), [(None, 0), (3, 1)])
def test_the_broker_is_asked_whether_it_would_create_them(
    sound: Config, run: Callable[[Config], Checked], replication: int | None, code: int
) -> None:
    create = OutputConfig(
        topic="to-be-made", error_topic="to-be-made-too", create_topics=CreateTopics(replication=replication)
    )
    checked = run(configured(sound.kafka.bootstrap_servers, input=sound.input, output=create))
    assert checked.code == code
    assert ("INVALID_REPLICATION_FACTOR" in checked.about("output.topic")) is bool(code)


def test_a_group_is_shown_with_its_offsets(sound: Config, broker: Broker, run: Callable[[Config], Checked]) -> None:
    name = sound.input.topics[0]
    broker.produce(name, [b"value"] * 5)
    consumer: Any = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": sound.input.group})
    consumer.commit(offsets=[TopicPartition(name, number, 0) for number in range(3)], asynchronous=False)
    consumer.close()
    before = broker.committed(sound.input.group, name)
    assert "has offsets on 3 partitions, 5 records behind" in run(sound).about("input.group")
    assert broker.committed(sound.input.group, name) == before


def test_brokers_that_do_not_answer_are_named_and_hide_nothing_else(
    redis_server: RedisServer, run: Callable[[Config], Checked]
) -> None:
    port = free_port()
    checked = run(configured(f"127.0.0.1:{port},nohost.invalid:9092", redis=RedisConfig(url=redis_server.url)))
    assert checked.code == 1
    first, second = checked.about("kafka.bootstrap_servers").splitlines()
    assert first.startswith(f"fail  kafka.bootstrap_servers: 127.0.0.1:{port} does not answer: ")
    assert "Connection refused" in first
    assert "Failed to resolve" in second
    assert checked.about("redis.url").startswith("ok")


def test_one_dead_server_among_others_is_a_warning(sound: Config, run: Callable[[Config], Checked]) -> None:
    dead = f"127.0.0.1:{free_port()}"
    config = configured(f"{sound.kafka.bootstrap_servers},{dead}", input=sound.input, output=sound.output)
    checked = run(config)
    assert checked.code == 0
    assert f"warn  kafka.bootstrap_servers: {dead} does not answer" in checked.about("kafka.bootstrap_servers")


@pytest.mark.parametrize("section", ["properties", "consumer_properties", "producer_properties"])
def test_properties_that_librdkafka_does_not_know_are_a_failure(section: str, run: Callable[[Config], Checked]) -> None:
    unknown: Any = {section: {"no.such.property": "1"}}
    checked = run(configured("", kafka=KafkaConfig(**unknown)))
    assert checked.code == 1
    assert "librdkafka has no such property" in checked.about(f"kafka.{section}.no.such.property")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator["GuardedBroker"]:
    """A broker at which a user may do nothing but what it is allowed."""
    broker = GuardedBroker(tmp_path_factory.mktemp("guarded"))
    broker.start()
    yield broker
    broker.kill()


class GuardedBroker(Broker):
    """A broker with a second listener, at which only the user `sidecar` gets in, with the password `sesame`."""

    def __init__(self, directory: Path) -> None:
        users = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_sidecar="sesame";'
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT",
            "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.users.plain.sasl.jaas.config": users,
        }
        super().__init__(directory, properties)
        self.entrance = f"127.0.0.1:{free_port()}"
        for key in ("listeners", "advertised.listeners"):
            self._properties[key] += f",USERS://{self.entrance}"

    def allow(self, kind: str, name: str, *operations: str) -> None:
        """Allow the user something."""
        client: Any = kafka.AdminClient(self._client())
        what, exactly = kafka.ResourceType[kind], kafka.ResourcePatternType.LITERAL
        bindings = [
            kafka.AclBinding(
                what, name, exactly, "User:sidecar", "*", kafka.AclOperation[each], kafka.AclPermissionType.ALLOW
            )
            for each in operations
        ]
        for answer in client.create_acls(bindings).values():
            answer.result(10)

    def config(self, name: str, password: str) -> Config:
        """What to read and write: topics and a group of that name."""
        sasl = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "sidecar",
            "sasl.password": password,
        }
        return configured(
            self.entrance,
            kafka=KafkaConfig(bootstrap_servers=self.entrance, properties=sasl),
            input=InputConfig(topics=(f"{name}-input",), group=name, limits=Limits(feeds=100)),
            output=OutputConfig(topic=f"{name}-events", error_topic=f"{name}-errors"),
        )

    def create(self, name: str) -> None:
        """The topics of `config`."""
        for kind in ("input", "events", "errors"):
            self.create_topic(f"{name}-{kind}")


def test_a_wrong_password_is_told_as_such(guarded: GuardedBroker, run: Callable[[Config], Checked]) -> None:
    checked = run(guarded.config("none", "wrong-one"))
    assert checked.code == 1
    assert "Authentication failed" in checked.about("kafka.bootstrap_servers")
    assert "wrong-one" not in "".join(checked.lines)


def test_a_user_who_may_do_nothing_learns_what_to_allow(
    guarded: GuardedBroker, run: Callable[[Config], Checked]
) -> None:
    guarded.create("forbidden")
    checked = run(guarded.config("forbidden", "sesame"))
    assert checked.code == 1
    assert "hidden from this user; allow READ" in checked.about("input.topics")
    assert "hidden from this user; allow WRITE" in checked.about("output.topic")
    assert "READ on it must be allowed" in checked.about("input.group")
    assert "forbidden-" in checked.about("output.delivery")


def test_a_user_who_may_only_look_learns_what_to_allow(
    guarded: GuardedBroker, run: Callable[[Config], Checked]
) -> None:
    guarded.create("watched")
    for kind in ("input", "events", "errors"):
        guarded.allow("TOPIC", f"watched-{kind}", "DESCRIBE")
    checked = run(guarded.config("watched", "sesame"))
    assert "fail  input.topics: this user may not read watched-input" in checked.about("input.topics")
    assert checked.about("output.topic").startswith("fail  output.topic: this user may not write to watched-events")


def test_a_user_who_may_do_what_is_needed_passes(guarded: GuardedBroker, run: Callable[[Config], Checked]) -> None:
    guarded.create("allowed")
    guarded.allow("TOPIC", "allowed-input", "READ")
    guarded.allow("TOPIC", "allowed-events", "WRITE")
    guarded.allow("TOPIC", "allowed-errors", "WRITE")
    guarded.allow("GROUP", "allowed", "READ")
    checked = run(guarded.config("allowed", "sesame"))
    assert checked.code == 0
    assert "READ is allowed" in checked.about("input.topics")
    assert "WRITE is allowed" in checked.about("output.topic")


# Everything but Kafka.


@contextmanager
def registry(answers: Mapping[str, tuple[int, object]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers about subjects as a registry is documented to; yields its address, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(f"POST {self.path}")
            status, body = next((answers[part] for part in answers if part in self.path), (404, {"error_code": 40401}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_not_configured_is_not_mentioned() -> None:
    assert [*services.redis(Config()), *schemas.registry(Config())] == []


def test_an_address_is_free_or_a_sidecar_has_it_or_somebody_else() -> None:
    def found(port: int) -> list[str]:
        return levels(services.web(Config(web=WebConfig(listen_address=f"127.0.0.1:{port}"))))

    with site() as sidecar, registry({}) as (address, _):
        assert found(free_port()) == ["ok"]
        assert found(sidecar.port) == ["warn"]
        assert found(int(address.rpartition(":")[2])) == ["fail"]


def test_an_address_of_another_machine_is_a_failure() -> None:
    assert levels(services.web(Config(web=WebConfig(listen_address="192.0.2.1:8000")))) == ["fail"]


def test_topics_of_ingestion_events_that_are_missing_are_named() -> None:
    config = Config(ingestion=IngestionConfig(enabled=True, prefix="rates."))
    names = [f"rates.{name}" for name in INGESTION_TOPICS]
    (ok,) = ingestion.topics(config, cluster(dict.fromkeys(names, Topic(1, operations=ALL))))
    assert (ok.level, ok.text) == (Level.OK, "4 topics of events")
    (missing,) = ingestion.topics(config, cluster(dict.fromkeys(names[:3], Topic(1, operations=ALL))))
    assert missing.level is Level.WARN
    assert "rates.cache_invalidation cannot be seen" in missing.text
    assert list(ingestion.topics(Config(), cluster())) == []


# Risk.


@pytest.mark.parametrize(
    ("topic", "level", "said"),
    [
        (Topic(4, operations=ALL, settings={"cleanup.policy": "compact"}), "", ""),
        (Topic(4, operations=ALL, settings={"cleanup.policy": "delete"}), "warn", "is not compacted"),
        (UNKNOWN, "fail", "monitoring.risk does not exist"),
    ],
)
def test_the_topic_of_risk_is_compacted(topic: Topic | Refusal, level: str, said: str) -> None:
    risk = RiskConfig(enabled=True, positions=PositionsConfig(file="positions.yml"))
    facts = cluster(OUTPUTS | {"monitoring.risk": topic})
    found = trouble(findings.outputs(Config(risk=risk), facts))
    assert found.startswith(f"{level:<4}  risk.topic: " if level else "")
    assert said in found
