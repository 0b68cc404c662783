"""Where reading begins, goes on and ends; Kafka and the sidecar are real."""

from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions  # confluent_kafka.admin has it too, but does not tell mypy

from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import Batch, Traffic
from tests.support.waiting import eventually


def ready(sidecar: Sidecar) -> None:
    """Wait until the sidecar says that it is up to date."""
    eventually(lambda: sidecar.get("/-/ready").ok, 30, "not ready")


def eventually_told(deployment: Deployment, batches: list[Batch]) -> None:
    """Wait until the events tell of at least so many batches; then they must be these."""
    eventually(lambda: len(deployment.told().batches) >= len(batches), 30, "too few events")
    assert sorted(deployment.told().batches) == sorted(batches)


def add_partition(deployment: Deployment) -> Traffic:
    """Add a partition to the input; returns what writes into it."""
    admin = AdminClient({"bootstrap.servers": deployment.cluster.bootstrap})
    admin.create_partitions([NewPartitions(deployment.topic, 5)])[deployment.topic].result(10)
    eventually(lambda: len(admin.list_topics(deployment.topic, timeout=10).topics[deployment.topic].partitions) == 5)
    return Traffic(deployment.cluster, deployment.topic, 5)


def test_new_group_begins_at_the_end_when_that_is_asked(deployment: Deployment) -> None:
    """What lay there before is nobody's business."""
    deployment.traffic.write(90)
    sidecar = deployment.sidecar(input__start="latest").start()
    ready(sidecar)
    deployment.traffic.write(50)
    eventually_told(deployment, deployment.traffic.batches[90:])


def test_group_that_read_nothing_yet_remembers_where_it_began(deployment: Deployment) -> None:
    """What is written while its only sidecar is dead is not skipped."""
    deployment.traffic.write(90)
    sidecar = deployment.sidecar(input__start="latest").start()
    deployment.eventually_committed()
    sidecar.kill()
    deployment.traffic.write(50)
    sidecar.start()
    eventually_told(deployment, deployment.traffic.batches[90:])


def test_partition_that_is_added_begins_at_its_start(deployment: Deployment) -> None:
    """Also in a group that began at the end: what came before the sidecar noticed is new."""
    sidecar = deployment.sidecar(input__start="latest").start()
    ready(sidecar)
    later = add_partition(deployment)
    later.write(90)
    eventually_told(deployment, later.batches)


def test_partition_that_is_added_while_nobody_runs_begins_at_its_start(deployment: Deployment) -> None:
    """The group is known by then."""
    sidecar = deployment.sidecar(input__start="latest").start()
    ready(sidecar)
    deployment.traffic.write(10)
    deployment.eventually_committed()
    sidecar.stop()
    later = add_partition(deployment)
    later.write(90)
    sidecar.start()
    eventually_told(deployment, [*deployment.traffic.batches, *later.batches])


def test_topic_that_is_created_later_begins_at_its_start(deployment: Deployment) -> None:
    """When a pattern covers it."""
    pattern = f"^{deployment.topic.replace('.', '[.]')}"
    sidecar = deployment.sidecar(input__start="latest", input__topics=[pattern]).start()
    ready(sidecar)
    later = Traffic(deployment.cluster, deployment.cluster.create_topic(f"{deployment.topic}-later"), 1)
    later.write(90)
    eventually_told(deployment, later.batches)


def test_job_without_anything_to_read_ends_at_once(deployment: Deployment) -> None:
    """No topic matches, so every partition is read to its end."""
    job = deployment.sidecar("one", "--until-caught-up", input__topics=["^nothing-is-called-so$"])
    assert job.run_to_end() == 0


def test_job_ends_at_the_end_and_leaves_nothing_out(deployment: Deployment) -> None:
    """With `--until-caught-up`; when there is nothing more to read it ends at once."""
    deployment.traffic.write(900)
    for _ in range(2):
        assert deployment.sidecar("one", "--until-caught-up").run_to_end() == 0
        deployment.assert_told_once()


def test_output_topics_are_created_when_that_is_asked(broker: Broker, tmp_path: Path) -> None:
    """With the partitions that the configuration says."""
    with Deployment(broker, tmp_path) as deployment:
        deployment.traffic.write(9)
        assert deployment.sidecar("one", "--until-caught-up", "--create-topics").run_to_end() == 0
        deployment.assert_told_once()
        topics = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics
        assert [len(topics[name].partitions) for name in (deployment.events, deployment.errors)] == [1, 1]


def test_sidecar_that_is_started_before_its_broker_begins_once_that_is_there(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Until then it serves metrics and says what it waits for."""
    with Deployment(own_broker, tmp_path) as deployment:
        deployment.create_outputs()
        deployment.traffic.write(90)
        own_broker.stop()
        sidecar = deployment.sidecar().start()
        answer = sidecar.get("/-/ready")
        assert answer.status_code == 503
        assert "no broker has answered yet" in answer.text
        assert sidecar.scrape().total("marketdata_exporter_ready") == 0
        own_broker.start()
        ready(sidecar)
        deployment.eventually_committed()
        sidecar.stop()
        deployment.assert_told_once()
