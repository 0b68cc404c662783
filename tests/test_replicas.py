"""Several sidecars share the work of one group; Kafka and the sidecars are real."""

from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import FEEDS, SPREAD
from tests.support.waiting import eventually

PARTITIONS = {"0", "1", "2", "3"}  # those of a Deployment


def replica(deployment: Deployment, instance: str) -> Sidecar:
    """A sidecar that is not started yet. Its summaries come often, and what it leaves open is ended soon."""
    impatient = {"transaction.timeout.ms": "3000", "socket.timeout.ms": "3000"}
    return deployment.sidecar(instance, output__summary_interval="1s", kafka__producer_properties=impatient)


def progress(*sidecars: Sidecar) -> None:
    """Wait until each of the sidecars has counted more than now."""
    before = [sidecar.batches() for sidecar in sidecars]
    eventually(
        lambda: all(sidecar.batches() > count for sidecar, count in zip(sidecars, before, strict=True)),
        30,
        "a replica got nothing to do",
    )


def shown(sidecar: Sidecar) -> tuple[set[str], set[str]]:
    """The partitions and the exchanges that the sidecar's gauges claim; not the one that is everywhere."""
    scrape = sidecar.scrape()
    partitions = {series["partition"] for series in scrape.series("marketdata_consumer_position_offset")}
    feeds = {series["exchange"] for series in scrape.series("marketdata_last_batch_size")}
    return partitions, feeds - {SPREAD.exchange}


def settled(one: Sidecar, other: Sidecar) -> None:
    """Wait until every partition and every feed is shown by one of two sidecars, and none by both."""

    def is_shared() -> bool:
        (partitions, feeds), (others_partitions, others_feeds) = shown(one), shown(other)
        return (
            partitions | others_partitions == PARTITIONS
            and feeds | others_feeds == {feed.exchange for feed in FEEDS}
            and not partitions & others_partitions
            and not feeds & others_feeds
            and bool(partitions)
            and bool(others_partitions)
        )

    eventually(is_shared, 30, f"not shared: {shown(one)} and {shown(other)}")


def test_replicas_that_come_and_go_tell_of_each_batch_once(deployment: Deployment) -> None:
    """A second one joins, the first leaves, a third joins, the second is killed, while batches come."""
    first, second, third = (replica(deployment, name) for name in ("one", "two", "three"))
    with deployment.traffic.flowing():
        first.start()
        progress(first)
        second.start()
        settled(first, second)
        first.stop()
        progress(second)
        third.start()
        settled(second, third)
        second.kill()
        eventually(lambda: shown(third)[0] == PARTITIONS, 30, "the dead replica's partitions were not taken over")
    deployment.eventually_committed()
    third.stop()
    deployment.eventually_visible()
    deployment.assert_told_once()


def test_replica_that_was_frozen_and_replaced_tells_nothing_twice(deployment: Deployment) -> None:
    """When it goes on it finds its partitions taken, and forgets what it had not published."""
    frozen, other = replica(deployment, "one"), replica(deployment, "two")
    with deployment.traffic.flowing():
        frozen.start()
        other.start()
        settled(frozen, other)
        frozen.freeze()
        eventually(lambda: shown(other)[0] == PARTITIONS, 30, "the frozen replica's partitions were not taken over")
        progress(other)
        frozen.resume()
        settled(frozen, other)
    deployment.eventually_committed()
    frozen.stop()
    other.stop()
    deployment.assert_told_once()
