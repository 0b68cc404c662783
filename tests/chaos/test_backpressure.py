"""Nobody takes events for a while: metrics go on, the backlog fills, reading pauses, and all is published once."""

import os
import statistics
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.chaos.broker import ProxiedBroker
from tests.chaos.proxy import Api, Harm, Rule
from tests.chaos.watch import Scraper, Watcher
from tests.support.background import repeating
from tests.support.cluster import ANSWER_SECONDS, knows_groups
from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

FULL = "the backlog is full: "
# One limit that is soon reached, and otherwise none that ever is.
SMALL = {"events": 1000, "bytes": "512KiB", "age": "2s"}
LARGE: dict[str, object] = {"events": 10_000_000, "bytes": "16GiB", "age": "1d"}
# A member that does not poll for so long is thrown out.
POLL_SECONDS = 3
WAIT_SECONDS = 40.0
FIRST = 90  # batches that are told before events are refused
BATCHES_A_SECOND = 300
WRITES_A_SECOND = 5
MIB = 2**20


def member(seconds: int) -> dict[str, str]:
    """Properties of a consumer that has to poll at least every so many seconds."""
    return {
        "max.poll.interval.ms": str(seconds * 1000),
        "session.timeout.ms": str(POLL_SECONDS * 1000),
        "heartbeat.interval.ms": "300",
        "fetch.wait.max.ms": "20",
    }


def is_full(sidecar: Sidecar) -> bool:
    """Whether reading pauses, as readiness says it."""
    answer = sidecar.get("/-/ready")
    return answer.status_code == 503 and FULL in answer.text


def turns(scrape: Scrape) -> float:
    """How often the loop has turned, with a poll in each."""
    return scrape.total("marketdata_processing_seconds_count", stage="poll")


def all_go_on_polling(sidecars: Iterable[Sidecar], seconds: float) -> None:
    """Wait until each has polled for so long, a tenth of a second each time."""
    targets = {sidecar: turns(sidecar.scrape()) + seconds / 0.1 for sidecar in sidecars}
    for sidecar, target in targets.items():
        eventually(lambda one=sidecar, least=target: turns(one.scrape()) >= least, WAIT_SECONDS, "it does not poll")  # type: ignore[misc]


def assert_never_left(sidecar: Sidecar) -> None:
    """It was given its partitions once, and nobody took them away."""
    events = {
        series["event"]: series.value for series in sidecar.scrape().series("marketdata_consumer_rebalances_total")
    }
    assert events == {"assigned": 1, "revoked": 0, "lost": 0}


@contextmanager
def collecting(traffic: Traffic) -> Iterator[None]:
    """Collectors write at a steady rate within this."""
    with repeating(lambda: traffic.write(BATCHES_A_SECOND // WRITES_A_SECOND), 1 / WRITES_A_SECOND):
        yield


@pytest.fixture
def deployments(proxied: ProxiedBroker, tmp_path: Path) -> Iterator[dict[str, Deployment]]:
    """A deployment for each limit; no sidecar runs yet."""
    with ExitStack() as stack:
        made = {limit: stack.enter_context(Deployment(proxied, tmp_path / limit)) for limit in SMALL}
        for deployment in made.values():
            deployment.create_outputs()
        yield made


def small(deployment: Deployment, broker: ProxiedBroker, limit: str) -> Sidecar:
    """A sidecar that reaches this limit soon, has published something, and comes by the proxy."""
    sidecar = deployment.sidecar(
        kafka__bootstrap_servers=broker.proxied,
        kafka__consumer_properties=member(POLL_SECONDS),
        kafka__producer_properties={"socket.timeout.ms": "2000", "transaction.timeout.ms": "8000"},
        output__backlog=LARGE | {limit: SMALL[limit]},
        output__summary_interval="1s",
    ).start()
    deployment.traffic.write(FIRST)
    deployment.eventually_committed()
    return sidecar


@pytest.mark.chaos
def test_each_limit_by_itself_pauses_reading_until_events_are_taken_again(
    proxied: ProxiedBroker, deployments: dict[str, Deployment]
) -> None:
    """Whoever pauses stays in the group for longer than it may be silent, and says nothing of its pause."""
    sidecars = {small(deployment, proxied, limit): deployment for limit, deployment in deployments.items()}
    proxied.proxy.add(Rule(Api.PRODUCE, Harm.DROP_REQUEST, times=sys.maxsize))
    with ExitStack() as flows:
        for deployment in deployments.values():
            flows.enter_context(collecting(deployment.traffic))
        for sidecar in sidecars:
            eventually(lambda one=sidecar: is_full(one), WAIT_SECONDS, "reading does not pause")  # type: ignore[misc]
        read = {sidecar: sidecar.batches() for sidecar in sidecars}
        all_go_on_polling(sidecars, POLL_SECONDS / 2)
        full = {sidecar: sidecar.scrape() for sidecar in sidecars}
        all_go_on_polling(sidecars, POLL_SECONDS)
        for sidecar in sidecars:
            assert_paused(sidecar, full[sidecar], read[sidecar])
    proxied.proxy.heal()
    for sidecar, deployment in sidecars.items():
        deployment.eventually_committed()
        eventually(lambda one=sidecar: one.get("/-/ready").ok, 10)  # type: ignore[misc]
        assert_never_left(sidecar)
        sidecar.stop()
        deployment.assert_told_once()


def assert_paused(sidecar: Sidecar, before: Scrape, batches: int) -> None:
    """It has read so many batches, of which only the first are told, and nothing has changed."""
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_batches_total") == batches > FIRST
    assert scrape.total("marketdata_events_total", event_type="batch_collected") == FIRST
    assert scrape.total("marketdata_event_backlog_ratio") >= 1
    assert scrape.total("marketdata_event_backlog") == before.total("marketdata_event_backlog")
    assert scrape.total("marketdata_exporter_ready") == 0
    assert_never_left(sidecar)


# For minutes.

OUTAGE_SECONDS = 180
MINUTES_POLL_SECONDS = 60
BACKLOG = LARGE | {"bytes": "16MiB"}
# Its limit in bytes is an estimate, and events that are being sent are in librdkafka's hands, too.
MOST_GROWTH = 2 * 16 * MIB
# Between the moment when reading paused and the end of the outage.
MOST_DRIFT = 6 * MIB
# Those of two producers: one goes while the next one comes.
MOST_THREADS = 8


class Memory(Watcher):
    """Looks once a second how much memory a process has; `samples` are pairs of seconds and bytes."""

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__()
        self.samples: list[tuple[float, float]] = []
        self._process = Path(f"/proc/{sidecar.pid}")

    def look(self) -> None:
        """See Watcher."""
        pages = int((self._process / "statm").read_text().split()[1])
        self.samples.append((monotonic(), float(pages * os.sysconf("SC_PAGE_SIZE"))))
        self._stopped.wait(1)

    def threads(self) -> int:
        """How many threads the process has now."""
        return len(list((self._process / "task").iterdir()))

    def since(self, moment: float) -> list[float]:
        """The samples from that moment on, in bytes."""
        return [size for at, size in self.samples if at >= moment]

    def report(self, moment: float) -> str:
        """What it came to from that moment on."""
        sizes = self.since(moment)
        slope = statistics.linear_regression([at for at, _ in self.samples if at >= moment], sizes).slope
        return (
            f"{len(sizes)} s: from {min(sizes) / MIB:.1f} to {max(sizes) / MIB:.1f} MiB, "
            f"{slope * 60 / 1024:+.1f} KiB a minute; {self.samples[0][1] / MIB:.1f} MiB before"
        )


class Follower(Broker):
    """A second broker, which has no say in what the cluster is."""

    def __init__(self, directory: Path, leader: Broker) -> None:
        super().__init__(directory)
        self._properties |= {"process.roles": "broker", "listeners": f"PLAINTEXT://{self.bootstrap}"}
        self.become(2, f"1@127.0.0.1:{leader.controller}")


class Pair:
    """Two brokers as a context: events lie on both and need both, all else is on the one that is never lost."""

    def __init__(self, directory: Path) -> None:
        self.leader = Broker(directory / "leader")
        self.follower = Follower(directory / "follower", self.leader)

    def __enter__(self) -> "Pair":
        # Groups and transactions first, or the second would take its part of them.
        self.leader.start().create_topic("first")
        eventually(lambda: knows_groups(self.leader), ANSWER_SECONDS)
        first = Producer({"bootstrap.servers": self.leader.bootstrap, "transactional.id": "first", "log_level": 0})
        first.init_transactions(ANSWER_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.follower.kill()
        self.leader.kill()

    def create_on_both(self, topic: str) -> None:
        """Create a topic into which nothing can be written unless both brokers have it."""
        admin = AdminClient({"bootstrap.servers": self.leader.bootstrap})
        new = NewTopic(topic, 2, replica_assignment=[[1, 2], [1, 2]], config={"min.insync.replicas": "2"})
        admin.create_topics([new])[topic].result(ANSWER_SECONDS)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """The two brokers, of which the second does not run yet."""
    with Pair(tmp_path / "pair") as pair:
        yield pair


@pytest.mark.chaos
def test_outage_of_minutes_takes_no_memory_and_no_event(pair: Pair, tmp_path: Path) -> None:
    """Too few replicas of the event topic are in sync; prints what the memory came to."""
    with Deployment(pair.leader, tmp_path) as deployment, ExitStack() as watchers:
        one = on_both(pair, deployment)
        memory = watchers.enter_context(Memory(one))
        scraper = watchers.enter_context(Scraper(lambda: [one]))
        with collecting(deployment.traffic):
            pair.follower.kill()
            suffer(one, memory)
            pair.follower.start()
            eventually(lambda: one.get("/-/ready").ok, 2 * WAIT_SECONDS, "it does not catch up")
        deployment.eventually_committed()
        assert_never_left(one)
        assert not scraper.failures
        watchers.close()
        one.stop()
        deployment.assert_told_once()


def on_both(pair: Pair, deployment: Deployment) -> Sidecar:
    """A sidecar whose events need both brokers, and which has published some."""
    pair.follower.start()
    for topic in (deployment.events, deployment.errors):
        pair.create_on_both(topic)
    one = deployment.sidecar(kafka__consumer_properties=member(MINUTES_POLL_SECONDS), output__backlog=BACKLOG).start()
    deployment.traffic.write(900)
    deployment.eventually_committed()
    return one


def suffer(one: Sidecar, memory: Memory) -> None:
    """See what becomes of a sidecar in an outage of minutes, from its beginning."""
    read, threads = one.batches(), memory.threads()
    eventually(lambda: one.batches() > read + 2 * BATCHES_A_SECOND, WAIT_SECONDS, "metrics do not go on")
    assert not is_full(one)
    eventually(lambda: is_full(one), OUTAGE_SECONDS, "reading does not pause")
    paused = monotonic()
    eventually(lambda: len(memory.samples) > OUTAGE_SECONDS, OUTAGE_SECONDS + 30)
    assert is_full(one)
    assert "too few replicas of the event topic" in one.get("/-/ready").text
    assert_never_left(one)
    print(f"\nwhile reading paused, {memory.report(paused)}; {memory.threads()} threads, {threads} before")
    assert memory.threads() <= threads + MOST_THREADS
    assert max(memory.since(paused)) - memory.samples[0][1] < MOST_GROWTH
    assert max(memory.since(paused)) - min(memory.since(paused)) < MOST_DRIFT
