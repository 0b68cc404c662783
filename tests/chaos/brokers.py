"""The Kafka of a run: one broker or three, each behind a proxy of its own."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.chaos.broker import ProxiedBroker
from tests.chaos.proxy import Proxy, Rule
from tests.support.cluster import ANSWER_SECONDS, Cluster, knows_groups
from tests.support.disk import SmallDisk
from tests.support.waiting import eventually

HEAP = "384m"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required user_sidecar=secret;"
SASL = "SASL_PLAINTEXT"
CREDENTIALS = {
    "security.protocol": SASL,
    "sasl.mechanism": "PLAIN",
    "sasl.username": "sidecar",
    "sasl.password": "secret",
}
PROPERTIES = {
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    # Who coordinates the group, or all transactions, is then the leader of one partition.
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    # Kafka's own. Kafka 4.3 that starts alone and ends expired transactions before it knows the topics' leaders takes
    # the topics for deleted ("Couldn't find leader endpoint") and writes no end into them: the next commit of the same
    # producer then publishes what was undone. The tests' usual 500 ms are soon enough for that.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    # Whoever comes the direct way may do anything, as the brokers must among themselves; those who suffer have a name.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
    "listener.name.proxied.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.proxied.plain.sasl.jaas.config": LOGIN,
}
REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # On a machine that is busy three candidates would go on outvoting each other, and who lives be taken for dead.
    "broker.session.timeout.ms": "6000",
    "controller.quorum.election.timeout.ms": "3000",
    "controller.quorum.fetch.timeout.ms": "3000",
}
COORDINATORS = ("__consumer_offsets", "__transaction_state")


class Proxies:
    """Several proxies as if they were one."""

    def __init__(self, proxies: Sequence[Proxy]) -> None:
        self._proxies = proxies

    def add(self, rule: Rule) -> Rule:
        """Begin to do harm, wherever such a request comes by."""
        for proxy in self._proxies:
            proxy.add(rule)
        return rule

    def heal(self) -> None:
        """See Proxy."""
        for proxy in self._proxies:
            proxy.heal()

    def cut(self) -> None:
        """See Proxy."""
        for proxy in self._proxies:
            proxy.cut()

    def stall(self) -> None:
        """See Proxy."""
        for proxy in self._proxies:
            proxy.stall()

    def resume(self) -> None:
        """See Proxy."""
        for proxy in self._proxies:
            proxy.resume()


class Brokers(Cluster):
    """One broker or three as a context: `bootstrap` is the direct way to them, `proxied` that of those who suffer.

    `disk` is what the first of them keeps its data on.
    """

    def __init__(self, directory: Path, number: int) -> None:
        properties = PROPERTIES | (REPLICATED if number > 1 else {})
        self.nodes = [
            ProxiedBroker(directory / f"broker-{index}", properties, SASL, HEAP) for index in range(1, number + 1)
        ]
        voters = ",".join(f"{index}@127.0.0.1:{node.controller}" for index, node in enumerate(self.nodes, 1))
        for index, node in enumerate(self.nodes, 1):
            node.become(index, voters)
        super().__init__(",".join(node.bootstrap for node in self.nodes))
        self.proxied = ",".join(node.proxied for node in self.nodes)
        self.proxy = Proxies([node.proxy for node in self.nodes])
        self.disk = SmallDisk(self.nodes[0].data)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.disk)
            for node in self.nodes:
                stack.enter_context(node.proxy)
                stack.callback(node.kill)
            self.start(self.nodes)
            self.create_topic("first")
            eventually(lambda: knows_groups(self), ANSWER_SECONDS, "no group coordinator")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def start(nodes: Sequence[ProxiedBroker]) -> None:
        """Start these at the same time: none answers before most of them run."""
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(ProxiedBroker.start, nodes))

    def coordinator(self, chance: random.Random) -> ProxiedBroker:
        """The broker that coordinates the groups, or the transactions once there was one."""
        topics = AdminClient(self._client()).list_topics(timeout=ANSWER_SECONDS).topics
        leaders = [topics[topic].partitions[0].leader for topic in COORDINATORS if topic in topics]
        return self.nodes[chance.choice(leaders) - 1]

    def elect(self) -> None:
        """Give every partition the leader that it had at first; those who lead now are alive."""
        admin = AdminClient(self._client())
        admin.elect_leaders(ElectionType.PREFERRED, None).result(ANSWER_SECONDS)

    @contextmanager
    def refusing(self, topic: str) -> Iterator[None]:
        """Let no sidecar write to the topic within this."""
        rule = ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:sidecar", "*", AclOperation.WRITE
        self._administer(lambda admin: admin.create_acls([AclBinding(*rule, AclPermissionType.DENY)]))
        try:
            yield
        finally:
            self._administer(lambda admin: admin.delete_acls([AclBindingFilter(*rule, AclPermissionType.DENY)]))

    def _administer(self, ask: Callable[[AdminClient], dict[Any, Any]]) -> None:
        admin = AdminClient(self._client())  # kept: its answers die with it
        answers: Iterable[Any] = ask(admin).values()
        for answer in answers:
            answer.result(ANSWER_SECONDS)
