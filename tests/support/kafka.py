"""A real Kafka broker."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.cluster import Cluster, knows_groups
from tests.support.missing import missing, program
from tests.support.process import Part, accepts_connections, free_port
from tests.support.waiting import eventually

# Resolved, as Java takes the archive only with the paths that it was written with, and clones may share the jars.
JARS = (Path(__file__).parents[2] / ".cache" / "kafka-4.3.0" / "libs").resolve()
# The classes of a broker, loaded and verified once (`make parts`): without them one takes twice as long to start.
ARCHIVE = JARS.with_name("classes.jsa")
LOG4J = Path(__file__).with_name("log4j2.yaml")
CLUSTER_ID = "bWFya2V0ZGF0YS10ZXN0cw"
# A broker of a test lives for seconds: the optimizing compiler and a parallel collector cost more than they bring, half
# of the processor time of its start.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # One broker, and little to prepare when the first group or transaction arrives.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    # Tests wait for rebalances, for the sessions of dead members and for time-outs of transactions.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    # In groups whose partitions the broker shares out, it answers heartbeats only.
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "200",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # A broker that was killed may return only when its session has run out.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "200",
    # Records are kept whatever their stamp, unless a topic says otherwise. Retention goes by the stamps and looks every
    # five minutes: here ten times as often, so that what it would delete is missed in short runs, too. Every second
    # would cost a tenth of a core, with the topics of all tests.
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "30000",
    "log.initial.task.delay.ms": "0",
    # Nothing that turns while nothing happens: of several brokers that wait, a tenth of a core.
    "metadata.max.idle.interval.ms": "0",
    "num.io.threads": "3",
    # Small in memory and on disk.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.index.size.max.bytes": "1048576",
}


class Broker(Part, Cluster):
    """One Apache Kafka node; `properties` are added to its server.properties or replace what is there.

    With the port of one that another process has started, it is that one.
    """

    start_seconds = 60.0  # of a machine on which much else runs

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str] | None = None,
        heap: str = "768m",
        options: Sequence[str] = SHORT_LIVED,
        port: int | None = None,
    ) -> None:
        Part.__init__(self, directory)
        self.port, self.controller = port or free_port(), free_port()
        Cluster.__init__(self, f"127.0.0.1:{self.port}")
        self._java = program("java", "default-jre-headless")
        if not JARS.is_dir():
            missing("Apache Kafka", "`make parts` did not bring its jars")
        self._options = [f"-Xmx{heap}", *options]
        self.data = directory / "data"
        self._properties = PROPERTIES | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller}",
            "log.dirs": str(self.data),
            **(properties or {}),
        }

    def become(self, number: int, voters: str) -> None:
        """Make it one of several that form a cluster; the voters are all of them, as `number@host:port`."""
        self._properties |= {"node.id": str(number), "controller.quorum.voters": voters}

    def command(self) -> Sequence[str]:
        """See Part; formats the data folder the first time."""
        file = self.directory / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in self._properties.items()))
        if not (self.data / "meta.properties").exists():
            self._format(file)
        return [*self._jvm(*self._options), "kafka.Kafka", str(file)]

    def ready(self) -> bool:
        """See Part."""
        if not accepts_connections(self.port):
            return False
        try:
            return bool(AdminClient(self._client()).list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _format(self, properties: Path) -> None:
        """Write what a first start finds; a new folder depends on nothing but the number of the node."""
        node = self._properties["node.id"]
        if node not in _formatted:
            self._run_format(properties)
            _formatted[node] = {path.name: path.read_bytes() for path in self.data.iterdir() if path.is_file()}
        self.data.mkdir(exist_ok=True)
        for name, content in _formatted[node].items():
            (self.data / name).write_bytes(content)

    def _run_format(self, properties: Path) -> None:
        tool = [*self._jvm(*SHORT_LIVED), "kafka.tools.StorageTool"]
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(properties)]
        done = subprocess.run([*tool, *arguments], capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise RuntimeError(f"the data folder cannot be formatted:\n{done.stdout}{done.stderr}")

    def _jvm(self, *options: str) -> list[str]:
        archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.exists() else []
        # Its codecs unpack libraries where Java keeps temporary files, and a killed broker leaves them there.
        own = [f"-Dlog4j2.configurationFile={LOG4J}", f"-Djava.io.tmpdir={self.directory}"]
        return [self._java, *own, *archive, *options, "-cp", f"{JARS}/*"]


_formatted: dict[str, dict[str, bytes]] = {}  # by the number of the node: the tool takes a third of a broker's start

AnyBroker = TypeVar("AnyBroker", bound=Broker)


@contextmanager
def running(broker: AnyBroker) -> Iterator[AnyBroker]:
    """A broker that is started, has a topic `first`, and takes groups."""
    broker.start().create_topic("first")
    try:
        eventually(lambda: knows_groups(broker), broker.start_seconds, "no group coordinator")
        yield broker
    finally:
        broker.kill()
