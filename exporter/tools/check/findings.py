"""The findings of `check` about Kafka, from the values that `cluster` requested.

Each function evaluates one part and yields its findings in the order of the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.config.schema import Config
from exporter.config.subscription import Subscription, is_pattern
from exporter.kafka import clients, connection_errors
from exporter.tools.check import membership
from exporter.tools.check.membership import NAMES_SHOWN, some
from exporter.tools.check.model import Cluster, Finding, Group, Level, Refusal, Server, Topic, counted, number
from exporter.tools.check.similar_topics import similar

NO_TOPIC = "UNKNOWN_TOPIC_OR_PART"
# Of the batch around records; a limit of 1 MiB on records fits the broker's default of 1048588.
BATCH_OVERHEAD_BYTES = 1024
TRANSACTION_LOG = "__transaction_state"
GROUP_LOG = "__consumer_offsets"


def servers(bootstrap: Sequence[Server], advertised: Sequence[Server]) -> Iterator[Finding]:
    """Yield whether the configured servers answer, and those that they advertise."""
    subject = "kafka.bootstrap_servers"
    bad = Level.FAIL if all(server.error for server in bootstrap) else Level.WARN
    for address, error in bootstrap:
        if error:
            yield Finding(bad, subject, f"{address} does not answer: {error}", connection_errors.advice(error))
        else:
            yield Finding(Level.OK, subject, f"{address} answers")
    for address, error in advertised:
        if error:
            text = f"the cluster advertises {address}, which does not answer: {error}"
            advice = connection_errors.ConnectionFault(address, error, is_advertised=True).advice
            yield Finding(Level.FAIL, subject, text, advice)


def split_connections(config: Config) -> Iterator[Finding]:
    """Yield properties of one client that affect its connections: `check` and the creation of topics lack them."""
    for section in ("consumer_properties", "producer_properties"):
        names = [n for n in getattr(config.kafka, section) if n.startswith(("sasl.", "ssl.", "security."))]
        if names:
            advice = "put them into kafka.properties if they are the same for both"
            text = f"{some(names)} is for one client only, and these checks do not use it"
            yield Finding(Level.WARN, f"kafka.{section}", text, advice)


# Input.


def input_topics(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield which topics each entry covers and each exclusion leaves out now, and whether they can be read."""
    settings = config.input
    for topic in settings.topics:
        yield _entry(topic, Subscription([topic], settings.exclude).among(cluster.names), cluster)
    covered = Subscription(settings.topics).among(cluster.names)
    for topic in settings.exclude:
        yield _exclusion(topic, Subscription([topic]).among(covered))
    yield from _internal(config, cluster.names)
    read = Subscription(settings.topics, settings.exclude).among(cluster.names)
    described = {name: cluster.topics[name] for name in read}
    for name, why in described.items():
        if isinstance(why, Refusal):
            yield _undescribed("input.topics", name, why, "READ")
    if known := {name: topic for name, topic in described.items() if isinstance(topic, Topic)}:
        yield from _unreadable(known, config.input.limits.record_bytes)


def _entry(topic: str, names: Sequence[str], cluster: Cluster) -> Finding:
    subject = "input.topics"
    if names:
        partitions = counted(cluster.partitions(names), "partition")
        text = f"{topic} is {counted(len(names), 'topic')} with {partitions}: {some(names)}"
        return Finding(Level.OK, subject, text)
    if is_pattern(topic):
        advice = "topics created later are read from their beginning; if some should exist, allow DESCRIBE on them"
        return Finding(Level.WARN, subject, f"{topic} matches no topic{_near(topic, cluster.names)}", advice)
    refusal = cluster.topics.get(topic)
    if isinstance(refusal, Refusal) and refusal.code != NO_TOPIC:
        return _undescribed(subject, topic, refusal, "READ")
    text = f"{topic} does not exist{_near(topic, cluster.names)}"
    return Finding(Level.FAIL, subject, text, "create it, or correct its name")


def _exclusion(topic: str, names: Sequence[str]) -> Finding:
    subject = "input.exclude"
    if names:
        return Finding(Level.OK, subject, f"{topic} leaves out {counted(len(names), 'topic')}: {some(names)}")
    advice = "correct it, unless it is for topics that do not exist yet"
    return Finding(Level.WARN, subject, f"{topic} leaves out no topic that input.topics covers", advice)


def _near(topic: str, names: Iterable[str]) -> str:
    """Return the topics with the most similar names, as the end of a sentence."""
    found = similar(topic, names, NAMES_SHOWN)
    return f", similar: {some(found)}" if found else ""


def _internal(config: Config, names: Iterable[str]) -> Iterator[Finding]:
    """Yield internal topics that the brokers assign, too; a member of a classic group leaves them out."""
    internal = Subscription(config.input.topics, config.input.exclude).internal(names)
    if internal and membership.protocol(config) == "consumer":
        text = f"the brokers also assign {some(internal)}: internal topics, covered by a pattern and not read"
        advice = "begin the pattern with [^_], or with a longer common prefix of its topics"
        yield Finding(Level.WARN, "input.topics", text, advice)


def _unreadable(topics: Mapping[str, Topic], record_bytes: int) -> Iterator[Finding]:
    subject = "input.topics"
    if denied := [name for name, topic in topics.items() if _denied(topic, "READ")]:
        yield Finding(Level.FAIL, subject, f"this user may not read {some(denied)}", "allow READ on it")
    else:
        yield Finding(Level.OK, subject, "READ is allowed" + _unless_reported(topics.values()))
    if headless := [name for name, topic in topics.items() if topic.leaderless]:
        advice = "they cannot be read until their brokers are back"
        yield Finding(Level.WARN, subject, f"partitions without a leader in {some(headless)}", advice)
    room = record_bytes + BATCH_OVERHEAD_BYTES
    if large := [name for name, topic in topics.items() if (number(topic.settings, "max.message.bytes") or 0) > room]:
        text = f"{some(large)} may contain records larger than {record_bytes} bytes, which are rejected"
        yield Finding(Level.WARN, "input.limits.record_bytes", text, "raise it if the collectors send such batches")


# Output.

RISK = "risk.topic"


def outputs(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield whether events can be published."""
    if not config.output.enabled:
        yield Finding(Level.OK, "output.enabled", "false: nothing is published")
        return
    published = [("output.topic", config.output.topic), ("output.error_topic", config.output.error_topic)]
    if config.risk.enabled:
        published.append((RISK, config.risk.topic))
    for subject, name in published:
        topic = cluster.topics.get(name)
        if isinstance(topic, Topic):
            yield from _writable(subject, name, topic, clients.producer_properties(config))
        else:
            yield _missing(subject, name, topic, config, cluster)
    if config.output.delivery == "exactly_once":
        yield from _transactions(config, cluster)


def _writable(subject: str, name: str, topic: Topic, properties: Mapping[str, object]) -> Iterator[Finding]:
    if _denied(topic, "WRITE"):
        yield Finding(Level.FAIL, subject, f"this user may not write to {name}", "allow WRITE on it")
    else:
        allowed = "WRITE is allowed" + _unless_reported([topic])
        yield Finding(Level.OK, subject, f"{name} has {counted(topic.partitions, 'partition')}, {allowed}")
    if (sync := _replicas_in_sync(subject, name, topic)).level is Level.FAIL:
        yield sync
    is_compacted = "compact" in topic.settings.get("cleanup.policy", "")
    if subject == RISK and not is_compacted:
        text = f"{name} is not compacted: what is known of a portfolio may be deleted"
        yield Finding(Level.WARN, subject, text, "make its cleanup.policy compact")
    elif is_compacted and subject != RISK:
        text = f"{name} is compacted, which keeps the last event of each feed only"
        yield Finding(Level.WARN, subject, text, "make its cleanup.policy delete")
    sent = min(clients.whole(properties, limit, 1_000_000) for limit in ("message.max.bytes", "batch.size"))
    if (taken := number(topic.settings, "max.message.bytes") or sent) < sent:
        text = f"{name} takes {taken} bytes at once (max.message.bytes), the producer sends up to {sent}"
        yield Finding(Level.WARN, subject, text, f"set message.max.bytes in kafka.producer_properties to {taken}")


def _missing(subject: str, name: str, why: Refusal | None, config: Config, cluster: Cluster) -> Finding:
    if why is not None and why.code != NO_TOPIC:
        return _undescribed(subject, name, why, "WRITE")
    if (wanted := config.output.create_topics) is not None:
        refusal = cluster.creation.get(name)
        if refusal is not None:
            text = f"{name} does not exist and cannot be created: {refusal.text} ({refusal.code})"
            return Finding(Level.FAIL, subject, text, "allow CREATE on it, correct output.create_topics, or create it")
        return Finding(Level.OK, subject, f"{name} will be created with {counted(wanted.partitions, 'partition')}")
    advice = "create it, or let `run --create-topics` (output.create_topics) do so"
    if cluster.settings.get("auto.create.topics.enable") == "true":
        partitions = counted(cluster.setting("num.partitions") or 1, "partition")
        text = (
            f"{name} does not exist; the broker will create it at the first event, by its own defaults ({partitions})"
        )
        return Finding(Level.WARN, subject, text, advice)
    return Finding(Level.FAIL, subject, f"{name} does not exist", advice)


# Exactly once.


def _transactions(config: Config, cluster: Cluster) -> Iterator[Finding]:
    properties = clients.producer_properties(config)
    yield from internal_topic("output.delivery", TRANSACTION_LOG, "transaction.state.log", cluster)
    longest = cluster.setting("transaction.max.timeout.ms")
    timeout = clients.whole(properties, "transaction.timeout.ms", 0)
    if longest is not None and timeout > longest:
        text = f"transaction.timeout.ms is {timeout}, the brokers allow {longest} (transaction.max.timeout.ms)"
        yield Finding(Level.FAIL, "kafka.producer_properties", text, "lower it")
    yield _transactional_id(properties["transactional.id"], cluster)


def internal_topic(subject: str, name: str, prefix: str, cluster: Cluster) -> Iterator[Finding]:
    """Yield whether an internal topic works, or can be created when first needed; nothing when that is hidden."""
    topic, replicas = cluster.topics.get(name), cluster.setting(f"{prefix}.replication.factor")
    if isinstance(topic, Topic):
        yield _replicas_in_sync(subject, name, topic)
    elif name not in cluster.names and replicas is not None:
        yield _to_be_created(subject, name, f"{prefix}.replication.factor", replicas, cluster.brokers)


def _to_be_created(subject: str, name: str, setting: str, replicas: int, brokers: int) -> Finding:
    if replicas > brokers:
        text = (
            f"{name} needs {counted(replicas, 'replica')} ({setting}), and the cluster has {counted(brokers, 'broker')}"
        )
        return Finding(Level.FAIL, subject, text, "add brokers, or lower it on the brokers")
    return Finding(Level.OK, subject, f"{name} does not exist yet; the brokers will create it when needed")


def _replicas_in_sync(subject: str, name: str, topic: Topic) -> Finding:
    needed = number(topic.settings, "min.insync.replicas") or 1
    text = f"{name} has {counted(topic.in_sync, 'replica')} in sync and needs {needed} (min.insync.replicas)"
    if topic.in_sync >= needed:
        return Finding(Level.OK, subject, text)
    return Finding(Level.FAIL, subject, text, "bring its brokers back, or lower min.insync.replicas")


def _transactional_id(name: str, cluster: Cluster) -> Finding:
    subject, needed = "output.delivery", f"WRITE on the transactional id {name}"
    if cluster.is_open:
        return Finding(Level.OK, subject, "the cluster has no authorizer: everything is allowed")
    if cluster.transactional_acls:
        return Finding(Level.OK, subject, f"{needed} is allowed for {some(cluster.transactional_acls)}")
    text = f"no ACL visible to this user allows {needed}, and only a transaction would show whether it is allowed"
    return Finding(Level.WARN, subject, text, "make sure that it is allowed")


# The group.


def group(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield whether the consumer can join its group, and the progress of the group."""
    yield _membership(config, cluster)
    yield from membership.refusals(config, cluster)
    if isinstance(cluster.group, Group) and cluster.group.state != "dead":
        yield from _existing(config, cluster.group)
    yield from internal_topic("input.group", GROUP_LOG, "offsets.topic", cluster)


def _membership(config: Config, cluster: Cluster) -> Finding:
    name, found, subject = config.input.group, cluster.group, "input.group"
    if isinstance(found, Refusal):
        text = f"{name} cannot be described: {found.text} ({found.code})"
        return Finding(Level.FAIL, subject, text, "allow READ on the group")
    if found is None and not cluster.is_open:
        text = f"{name} is new to this user, READ on it must be allowed"
        return Finding(
            Level.WARN, subject, text, "not requested, as the request would make the cluster create its topic of groups"
        )
    if found is not None and found.operations is not None and "READ" not in found.operations:
        return Finding(Level.FAIL, subject, f"this user may not join {name}", "allow READ on the group")
    if found is None or found.state == "dead":
        return Finding(Level.OK, subject, f"{name} is new and begins at {config.input.start}")
    return Finding(Level.OK, subject, f"{name} is {found.state} with {counted(found.members, 'member')}")


def _existing(config: Config, group: Group) -> Iterator[Finding]:
    name, subject = config.input.group, "input.group"
    if isinstance(group.progress, Refusal):
        yield Finding(Level.WARN, subject, f"the offsets of {name} cannot be read: {group.progress.text}")
        return
    behind = sum(max(0, at.end - at.committed) for at in group.progress.values())
    where = f"{counted(len(group.progress), 'partition')}, {counted(behind, 'record')} behind"
    yield Finding(Level.OK, subject, f"{name} has offsets on {where}")
    if outside := [str(p) for p, at in group.progress.items() if not at.first <= at.committed <= at.end]:
        text = f"{name} has offsets that no longer exist, or never did, on {some(outside)}"
        yield Finding(Level.WARN, subject, text, "these partitions are read from their first remaining record")


# Shared parts.


def _undescribed(subject: str, topic: str, why: Refusal, operation: str) -> Finding:
    if "AUTHORIZATION" in why.code:
        return Finding(Level.FAIL, subject, f"{topic} is hidden from this user", f"allow {operation} on it")
    return Finding(Level.FAIL, subject, f"{topic} cannot be described: {why.text} ({why.code})", "try again")


def _denied(topic: Topic, operation: str) -> bool:
    return topic.operations is not None and operation not in topic.operations


def _unless_reported(topics: Iterable[Topic]) -> str:
    return ", as far as the cluster reports" if any(topic.operations is None for topic in topics) else ""
