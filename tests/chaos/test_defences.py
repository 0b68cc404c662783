"""Each defence by itself: take it out of the product, and its test fails."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from tests.chaos.broker import ProxiedBroker
from tests.chaos.proxy import Api, Harm, Proxy, Rule
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

NOT_COORDINATOR, ILLEGAL_GENERATION, INVALID_PRODUCER_EPOCH = 16, 22, 47
# What waits for a broker gives up sooner than usual.
IMPATIENT = {"socket.timeout.ms": "2000", "transaction.timeout.ms": "8000"}
ENDED_SECONDS = 30.0


class StuckSidecar(Sidecar):
    """See `tests.chaos.stuck`; otherwise like the sidecar that it is made of."""

    def __init__(self, usual: Sidecar, call: str) -> None:
        super().__init__(usual.directory, usual.settings)
        self._call = call

    def command(self) -> list[str]:
        """See Part."""
        return [sys.executable, "-m", "tests.chaos.stuck", self._call, *super().command()[1:]]


class Behind(Deployment):
    """A deployment whose sidecars reach the broker through its proxy."""

    def __init__(self, broker: ProxiedBroker, directory: Path, partitions: int = 4) -> None:
        super().__init__(broker, directory, partitions)
        self.proxy: Proxy = broker.proxy
        self._proxied = broker.proxied

    def sidecar(self, instance: str = "one", *arguments: str, **settings: object) -> Sidecar:
        """See Deployment."""
        usual: dict[str, object] = {
            "kafka__bootstrap_servers": self._proxied,
            "kafka__producer_properties": IMPATIENT,
        }
        return super().sidecar(instance, *arguments, **(usual | settings))

    def stuck(self, usual: Sidecar, call: str) -> StuckSidecar:
        """A sidecar like the usual one, but for a call that never returns."""
        stuck = StuckSidecar(usual, call)
        self._sidecars.append(stuck)
        return stuck

    def all_told_once(self, *running: Sidecar) -> None:
        """Wait until all is committed, stop what runs, and look at what was published."""
        self.eventually_committed()
        for sidecar in running:
            sidecar.stop()
        self.assert_told_once()


@pytest.fixture
def deployment(proxied: ProxiedBroker, tmp_path: Path) -> Iterator[Behind]:
    """Topics for input and output; no sidecar runs yet."""
    with Behind(proxied, tmp_path).create_outputs() as deployment:
        yield deployment


def failures(sidecar: Sidecar, reason: str) -> float:
    """How many commits failed for that reason."""
    return sidecar.scrape().total("marketdata_consumer_commit_failures_total", reason=reason)


def test_successor_waits_for_a_commit_that_still_travels(deployment: Behind) -> None:
    """Because it reads committed data only, offsets too: else it would begin where its predecessor began."""
    one = deployment.sidecar("one").start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    travelling = deployment.proxy.add(Rule(Api.END_TXN, Harm.DELAY, seconds=6))
    deployment.traffic.write(90)
    eventually(lambda: travelling.done)
    one.kill()
    two = deployment.sidecar("two").start()
    deployment.traffic.write(90)
    deployment.all_told_once(two)


def test_offsets_are_asked_for_until_they_are_answered(deployment: Behind) -> None:
    """librdkafka asks once, and when that fails its partitions stay silent."""
    deployment.traffic.write(90)
    joining = deployment.proxy.add(Rule(Api.JOIN_GROUP, Harm.DELAY, seconds=1))
    one = deployment.sidecar().start()
    eventually(lambda: joining.done)
    refused = deployment.proxy.add(Rule(Api.OFFSET_FETCH, Harm.REFUSE, times=2, error=NOT_COORDINATOR))
    deployment.all_told_once(one)
    assert len(refused.done) == 2


def timeouts(sidecar: Sidecar) -> float:
    """How often its consumer has lost all brokers, as when requests time out; the log does not repeat its lines."""
    return sidecar.scrape().total("marketdata_consumer_kafka_errors_total", code="_ALL_BROKERS_DOWN")


def test_all_connections_may_break_at_once(deployment: Behind) -> None:
    """Again and again, also after nothing came through for so long that requests timed out.

    Three rounds are not enough for librdkafka to get stuck with `metadata.recovery.strategy=rebootstrap`; five were.
    """
    one = deployment.sidecar().start()
    with deployment.traffic.flowing():
        for _ in range(5):
            before, timed_out = one.batches(), timeouts(one)
            deployment.proxy.stall()
            eventually(lambda timed_out=timed_out: timeouts(one) > timed_out, 30)  # type: ignore[misc]
            deployment.proxy.cut()
            deployment.proxy.resume()
            eventually(lambda before=before: one.batches() > before, 30)  # type: ignore[misc]
            eventually(deployment.proxy.cut)
    deployment.all_told_once(one)


def test_commit_that_arrives_late_once_more_tears_no_transaction(deployment: Behind) -> None:
    """The connection broke, it was sent again, and the first one comes when the next transaction is half full."""
    ghost = deployment.proxy.add(Rule(Api.END_TXN, Harm.LATE, seconds=5))
    one = deployment.sidecar(output__commit_interval="3500ms").start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    deployment.traffic.write(90)
    eventually(lambda: len(deployment.cluster.read_all(deployment.events, "read_uncommitted")) == 180)
    assert not ghost.delivered
    eventually(lambda: ghost.delivered)
    one.kill()
    deployment.all_told_once(deployment.sidecar("one").start())


@pytest.mark.parametrize("harm", [Harm.REFUSE, Harm.FORGE])
def test_commit_of_which_nobody_knows_is_looked_up_in_the_group(deployment: Behind, harm: Harm) -> None:
    """It took place, and the answer says that the producer is fenced; or it never arrived, with the same answer."""
    one = deployment.sidecar().start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    rule = deployment.proxy.add(Rule(Api.END_TXN, harm, error=INVALID_PRODUCER_EPOCH))
    deployment.traffic.write(90)
    eventually(lambda: rule.done)
    eventually(lambda: failures(one, "unclear") == 1)
    deployment.all_told_once(one)


def test_what_was_undone_is_offered_again(deployment: Behind) -> None:
    """Without reading it again."""
    one = deployment.sidecar().start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    refused = deployment.proxy.add(Rule(Api.TXN_OFFSET_COMMIT, Harm.REFUSE, times=3, error=ILLEGAL_GENERATION))
    deployment.traffic.write(90)
    deployment.eventually_committed()
    assert len(refused.done) == 3
    assert eventually(lambda: failures(one, "aborted")) == 3
    assert one.scrape().total("marketdata_records_redelivered_total") == 0
    deployment.all_told_once(one)


def test_partitions_are_handed_over_with_everything_published(deployment: Behind) -> None:
    """So that no other sidecar counts what this one has counted."""
    one, two = (deployment.sidecar(name, output__commit_interval="500ms") for name in ("one", "two"))
    one.start()
    with deployment.traffic.flowing():
        eventually(lambda: one.batches() >= 500, 30)
        two.start()
        eventually(lambda: two.batches() >= 500, 30)
    deployment.eventually_committed()
    counted = sum(sidecar.scrape().total("marketdata_records_total") for sidecar in (one, two))
    assert counted == len(deployment.traffic.batches)
    deployment.all_told_once(one, two)


def test_sidecar_that_slept_through_its_session_publishes_nothing_of_what_it_had(deployment: Behind) -> None:
    """Its partitions are somebody else's, who has published that already."""
    one, two = (deployment.sidecar(name, output__commit_interval="1s") for name in ("one", "two"))
    one.start()
    with deployment.traffic.flowing():
        eventually(lambda: one.batches() >= 1000, 30)
        one.freeze()
        two.start()
    deployment.eventually_committed()
    one.resume()
    eventually(lambda: one.scrape().total("marketdata_consumer_rebalances_total", event="lost"), 30)
    deployment.traffic.write(900)
    deployment.all_told_once(one, two)


def fence(deployment: Behind) -> None:
    """Publish, or begin to, under the name of the sidecar `one`."""
    name = f"{deployment.group}-one"
    Producer({"bootstrap.servers": deployment.cluster.bootstrap, "transactional.id": name}).init_transactions(10)


def test_producer_that_was_thrown_out_is_replaced(deployment: Behind) -> None:
    """Once, that may have been an outage; when it happens again soon, it is another process, and its name is told."""
    one = deployment.sidecar().start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    fence(deployment)
    deployment.traffic.write(90)
    deployment.eventually_committed()
    eventually(lambda: one.get("/-/ready").ok)
    fence(deployment)
    deployment.traffic.write(90)
    eventually(lambda: "another process publishes events with the same instance name" in one.get("/-/ready").text)
    eventually(lambda: "another process publishes events with the same instance name" in one.log)
    assert eventually(lambda: failures(one, "fenced")) == 2


def test_outages_that_outlast_transactions_are_no_other_process(deployment: Behind) -> None:
    """Though the broker says the same: it has ended the transaction. Nobody is accused, and nothing waits for him."""
    short = {"socket.timeout.ms": "2000", "transaction.timeout.ms": "2000"}
    one = deployment.sidecar(kafka__producer_properties=short).start()
    for _ in range(3):
        deployment.traffic.write(90)
        deployment.eventually_committed()
        late = deployment.proxy.add(Rule(Api.END_TXN, Harm.DELAY, times=3, seconds=6))
        deployment.traffic.write(90)
        eventually(lambda late=late: late.done)  # type: ignore[misc]
        deployment.eventually_committed()
        deployment.proxy.heal()
    assert "another process" not in one.log
    assert one.scrape().total("marketdata_consumer_commit_failures_total", reason="aborted") >= 3
    deployment.all_told_once(one)


def test_two_sidecars_of_one_name_say_so(deployment: Behind) -> None:
    """They do not throw each other out without end."""
    both = [deployment.sidecar("one").start() for _ in range(2)]
    with deployment.traffic.flowing():
        eventually(lambda: any("another process publishes" in each.get("/-/ready").text for each in both), 30)
    assert sum(failures(each, "fenced") for each in both) < 8


def test_consumer_that_was_thrown_out_is_replaced(deployment: Behind) -> None:
    """By another with its `group.instance.id`; the process lives on, and says what happened."""
    static = {"group.instance.id": "fixed", "session.timeout.ms": "2000", "heartbeat.interval.ms": "300"}
    one = deployment.sidecar(kafka__consumer_properties=static).start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    joined: list[object] = []
    common = {"bootstrap.servers": deployment.cluster.bootstrap, "group.id": deployment.group}
    other = Consumer(common | static | {"partition.assignment.strategy": "cooperative-sticky"})
    other.subscribe([deployment.topic], on_assign=lambda _, partitions: joined.extend(partitions))
    eventually(lambda: other.poll(0.1) is None and joined, 20)
    eventually(lambda: "the Kafka consumer failed" in one.log)
    other.close()
    deployment.traffic.write(90)
    deployment.all_told_once(one)


def test_event_larger_than_its_topic_takes_holds_up_nobody(deployment: Behind, proxied: ProxiedBroker) -> None:
    """It is counted, and an error event says which one it was."""
    deployment.events = proxied.create_topic(f"{deployment.events}-small", 1, max_message_bytes=800)
    one = deployment.sidecar(kafka__producer_properties=IMPATIENT | {"compression.type": "none"}).start()
    deployment.traffic.write(90)
    huge = {"region": "r" * 64, "exchange": "e" * 64, "request_type": "t" * 64, "timestamp_ms": 1, "data": []}
    lost = proxied.produce(deployment.topic, [json.dumps(huge).encode()])[0]
    deployment.traffic.write(90)
    eventually(lambda: len(deployment.told().batches) >= 180, 30)
    assert eventually(lambda: one.scrape().total("marketdata_events_failed_total", event_type="batch_collected")) == 1
    told = [json.loads(record.value) for record in proxied.read_all(deployment.errors)]
    place = {"topic": deployment.topic, "partition": lost.partition, "offset": lost.offset}
    assert [event for event in told if event["reason"] == "event_too_large" and place.items() <= event.items()]
    one.stop()
    assert sorted(deployment.told().batches) == sorted(deployment.traffic.batches)


def test_process_that_is_stuck_while_the_broker_answers_is_ended(deployment: Behind) -> None:
    """Its stacks are in the log, and the next process does what it left."""
    usual = deployment.sidecar(kafka__producer_properties={"transaction.timeout.ms": "1000"})
    stuck = deployment.stuck(usual, "commit").start()
    deployment.traffic.write(90)
    assert eventually(stuck.exit_code) == 70
    assert "Thread" in stuck.log
    assert "tests/chaos/stuck.py" in stuck.log
    deployment.all_told_once(usual.start())


def test_process_ends_in_time_when_its_consumer_cannot_be_closed(deployment: Behind) -> None:
    """Nothing is left that was not published: the next process does it."""
    usual = deployment.sidecar()
    stuck = deployment.stuck(usual, "close").start()
    deployment.traffic.write(90)
    deployment.eventually_committed()
    stuck.signal(signal.SIGTERM)
    eventually(lambda: stuck.exit_code() is not None, ENDED_SECONDS, "it is still there")
    deployment.traffic.write(90)
    deployment.all_told_once(usual.start())


def test_process_ends_in_time_when_no_broker_says_goodbye(deployment: Behind) -> None:
    """The brokers accept everything and answer nothing."""
    one = deployment.sidecar().start()
    with deployment.traffic.flowing():
        eventually(lambda: one.batches() >= 300, 30)
        deployment.proxy.stall()
        one.signal(signal.SIGTERM)
    eventually(lambda: one.exit_code() is not None, ENDED_SECONDS, "it is still there")
    deployment.proxy.resume()
    deployment.all_told_once(deployment.sidecar("one").start())
