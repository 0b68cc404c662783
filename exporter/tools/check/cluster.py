"""Requests of `check` to Kafka, without side effects: nothing is joined, committed, created or produced.

A request about a group makes a new cluster create its topic of groups, and a consumer makes such requests by itself. So
there is no consumer here, and only groups that are known to exist are described.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection
from confluent_kafka import admin as kafka_admin
from msgspec.structs import replace

from exporter.config.addresses import authority
from exporter.config.schema import Config
from exporter.config.subscription import Subscription, is_pattern
from exporter.kafka import clients
from exporter.kafka.connection_errors import ConnectionFault, diagnose, error_text, parse_fault
from exporter.kafka.msk import login
from exporter.model import Partition
from exporter.runtime.worker import in_thread
from exporter.tools.check.findings import GROUP_LOG, TRANSACTION_LOG
from exporter.tools.check.model import Cluster, Group, Progress, Refusal, Server, Topic

SERVER_SECONDS = 3.0
CLOSE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
# Of all questions beyond the list of topics; what is not answered by then counts as not shown.
CLUSTER_SECONDS = 20.0
SERVERS_AT_ONCE = 16
SERVERS_ASKED = 64

# The library's types leave much of its admin part out.
_kafka: Any = kafka_admin


def ask_servers(config: Config) -> tuple[list[Server], list[Server]]:
    """Connect to each address of kafka.bootstrap_servers, and to each other address that the cluster advertises."""
    named = [address.strip() for address in config.kafka.bootstrap_servers.split(",")]
    answers = _ask_each(config, named[:SERVERS_ASKED])
    advertised = sorted({address for _, others in answers for address in others} - set(named))
    others = _ask_each(config, advertised[:SERVERS_ASKED])
    return [server for server, _ in answers], [server for server, _ in others]


def _ask_each(config: Config, addresses: Sequence[str]) -> list[tuple[Server, list[str]]]:
    """Connect to each address, some at once. The client of a server that answers without end keeps its thread."""
    answers: list[tuple[Server, list[str]]] = []
    for start in range(0, len(addresses), SERVERS_AT_ONCE):
        asked = {
            address: in_thread(partial(_ask_server, config, address)) for address in addresses[start:][:SERVERS_AT_ONCE]
        }
        deadline = time.monotonic() + SERVER_SECONDS + CLOSE_SECONDS
        for address, task in asked.items():
            if task.wait(max(deadline - time.monotonic(), 0.0)):
                answers.append(task.result())
            else:
                answers.append((Server(address, "its answer is not that of a broker"), []))
    return answers


def _ask_server(config: Config, address: str) -> tuple[Server, list[str]]:
    """Return whether the server answers, and the addresses that it advertises for the brokers."""
    log, failures = clients.LineCollector(), list[KafkaError]()
    # A listener with TLS closes a connection without it; the sidecar itself does not log that line.
    more = {"logger": log.logger, "log.connection.close": True, "error_cb": failures.append}
    client: Any = clients.admin(_with_servers(config, address), **more)
    try:
        brokers = client.list_topics(timeout=SERVER_SECONDS).brokers.values()
    except KafkaException as error:
        client.poll(0)  # delivers the log lines
        faults = [fault for line in log.lines if (fault := parse_fault(line, address))]
        # The server has answered if a fault is about another advertised address.
        if others := sorted({fault.broker for fault in faults if fault.is_advertised}):
            return Server(address), others
        return Server(address, _why(faults, failures, config) or error_text(error)), []
    return Server(address), [authority(broker.host, broker.port) for broker in brokers]


def _why(faults: Sequence[ConnectionFault], failures: Sequence[KafkaError], config: Config) -> str:
    if faults:
        return diagnose(faults[-1], {**login(config), **config.kafka.properties}).error
    # Without a token no connection is made that could fail.
    tokens = (error_text(KafkaException(error)) for error in failures if error.code() == KafkaError._AUTHENTICATION)
    return next(tokens, "")


def _with_servers(config: Config, servers: str) -> Config:
    return replace(config, kafka=replace(config.kafka, bootstrap_servers=servers))


class _Questions:
    """An admin client, and until when its answers are waited for, all of them together."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._deadline = time.monotonic() + CLUSTER_SECONDS

    def answer(self, future: Future[Any]) -> Any:
        """Return the answer, or a `Refusal`."""
        try:
            return future.result(max(0.0, self._deadline - time.monotonic()))
        except KafkaException as error:
            return Refusal(error.args[0].name(), error.args[0].str())
        except TimeoutError:
            return Refusal("_TIMED_OUT", f"not all is answered within {CLUSTER_SECONDS:g} s")


def ask_cluster(config: Config) -> Cluster:
    """Return everything else about the cluster; raise `KafkaException` when its topics cannot be listed, or in time."""
    task = in_thread(partial(_ask_all, config))
    if task.wait(ANSWER_SECONDS + CLUSTER_SECONDS + CLOSE_SECONDS):
        return task.result()
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the answer of the brokers does not end"))


def _ask_all(config: Config) -> Cluster:
    client = clients.admin(config)
    metadata = client.list_topics(timeout=ANSWER_SECONDS)
    asking, names = _Questions(client), frozenset(metadata.topics)
    topics = _topics(asking, config, metadata)
    return Cluster(
        brokers=len(metadata.brokers),
        names=names,
        topics=topics,
        settings=_settings(asking, _kafka.ConfigResource.Type.BROKER, [str(min(metadata.brokers))]).popitem()[1],
        creation=_creation(asking, config, names),
        group=_group(asking, config, topics, GROUP_LOG in names),
        transactional_acls=_transactional_acls(asking, config),
    )


# Topics.


def _topics(asking: _Questions, config: Config, metadata: Any) -> dict[str, Topic | Refusal]:
    plain = [topic for topic in config.input.topics if not is_pattern(topic)]
    published = [config.output.topic, config.output.error_topic] if config.output.enabled else []
    if published and config.risk.enabled:
        published.append(config.risk.topic)
    internal = [topic for topic in (TRANSACTION_LOG, GROUP_LOG) if topic in metadata.topics]
    read = Subscription(config.input.topics, config.input.exclude).among(metadata.topics)
    wanted = list(dict.fromkeys([*read, *plain, *published, *internal]))
    asked = asking.client.describe_topics(
        TopicCollection(wanted), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    )
    described = {name: asking.answer(future) for name, future in asked.items()}
    there = [name for name, topic in described.items() if not isinstance(topic, Refusal)]
    settings = _settings(asking, _kafka.ConfigResource.Type.TOPIC, there)
    return {name: _topic(topic, settings.get(name, {})) for name, topic in described.items()}


def _topic(described: Any, settings: Mapping[str, str]) -> Topic | Refusal:
    if isinstance(described, Refusal):
        return described
    partitions = described.partitions
    return Topic(
        partitions=len(partitions),
        leaderless=sum(partition.leader is None or partition.leader.id < 0 for partition in partitions),
        in_sync=min((len(partition.isr) for partition in partitions), default=0),
        operations=_operations(described),
        settings=settings,
    )


def _operations(described: Any) -> frozenset[str] | None:
    operations = described.authorized_operations
    return None if operations is None else frozenset(operation.name for operation in operations)


def _settings(asking: _Questions, kind: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings of each resource, empty where this user may not see them."""
    resources = {_kafka.ConfigResource(kind, name): name for name in names}
    asked = asking.client.describe_configs(list(resources), request_timeout=ANSWER_SECONDS) if resources else {}
    found: dict[str, dict[str, str]] = {}
    for resource, future in asked.items():
        answer = asking.answer(future)
        entries = {} if isinstance(answer, Refusal) else answer
        found[resources[resource]] = {key: entry.value for key, entry in entries.items() if entry.value is not None}
    return found


def _creation(asking: _Questions, config: Config, names: Container[str]) -> dict[str, Refusal | None]:
    """Return whether the missing output topics could be created; the broker only validates the request."""
    missing = clients.missing_topics(config, names)
    asked = asking.client.create_topics(missing, validate_only=True, request_timeout=ANSWER_SECONDS) if missing else {}
    return {name: asking.answer(future) for name, future in asked.items()}


# The group.


def _group(
    asking: _Questions, config: Config, topics: Mapping[str, Topic | Refusal], has_log: bool
) -> Group | Refusal | None:
    """Return the group, None when the request could have a side effect."""
    name = config.input.group
    listed = asking.answer(asking.client.list_consumer_groups(request_timeout=ANSWER_SECONDS))
    is_there = not isinstance(listed, Refusal) and name in {group.group_id for group in listed.valid}
    if not is_there and not has_log:
        return None
    asked = asking.client.describe_consumer_groups(
        [name], include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    )
    found = asking.answer(asked[name])
    if isinstance(found, Refusal):
        return found
    return Group(
        state=found.state.name.lower(),
        kind=found.type.name.lower(),
        assignor=found.partition_assignor,
        members=len(found.members),
        instances=frozenset(member.group_instance_id for member in found.members if member.group_instance_id),
        operations=_operations(found),
        progress=_progress(asking, name, Subscription(config.input.topics, config.input.exclude).among(topics)),
    )


def _progress(asking: _Questions, group: str, topics: Sequence[str]) -> dict[Partition, Progress] | Refusal:
    asked = asking.client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=ANSWER_SECONDS
    )
    answer = asking.answer(asked[group])
    if isinstance(answer, Refusal):
        return answer
    committed = {tp: tp.offset for tp in answer.topic_partitions if tp.topic in topics and tp.offset >= 0}
    first = _offsets(asking, committed, _kafka.OffsetSpec.earliest())
    end = _offsets(asking, committed, _kafka.OffsetSpec.latest())
    return {
        Partition(tp.topic, tp.partition): Progress(offset, first[tp], end[tp])
        for tp, offset in committed.items()
        if tp in first and tp in end
    }


def _offsets(asking: _Questions, partitions: Iterable[Any], spec: Any) -> dict[Any, int]:
    asked = (
        asking.client.list_offsets(dict.fromkeys(partitions, spec), request_timeout=ANSWER_SECONDS)
        if partitions
        else {}
    )
    answers = {partition: asking.answer(future) for partition, future in asked.items()}
    return {partition: answer.offset for partition, answer in answers.items() if not isinstance(answer, Refusal)}


# Transactions.


def _transactional_acls(asking: _Questions, config: Config) -> list[str]:
    name = clients.producer_properties(config).get("transactional.id")
    if name is None:
        return []
    writers = _kafka.AclBindingFilter(
        _kafka.ResourceType.TRANSACTIONAL_ID,
        name,
        _kafka.ResourcePatternType.MATCH,
        None,
        None,
        _kafka.AclOperation.ANY,
        _kafka.AclPermissionType.ALLOW,
    )
    found = asking.answer(asking.client.describe_acls(writers, request_timeout=ANSWER_SECONDS))
    # The answer is also empty when this user may not see ACLs.
    return (
        []
        if isinstance(found, Refusal)
        else sorted({acl.principal for acl in found if acl.operation.name in {"ALL", "WRITE"}})
    )
