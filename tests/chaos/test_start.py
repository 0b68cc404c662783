"""Starting on many partitions of a distant broker: what is asked does not grow with their number."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.chaos.broker import ProxiedBroker
from tests.chaos.proxy import Api, Harm, Rule
from tests.chaos.test_defences import Behind
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

PARTITIONS = 1000
ROUND_TRIP_SECONDS = 0.06
ALWAYS = 1_000_000
STARTED_SECONDS = 60.0
QUESTIONS = (Api.LIST_OFFSETS, Api.OFFSET_FETCH, Api.METADATA, Api.FIND_COORDINATOR)


@pytest.mark.parametrize("is_known", [False, True], ids=["new group", "known group"])
def test_a_thousand_partitions_start_on_a_distant_broker(
    proxied: ProxiedBroker, tmp_path: Path, is_known: bool
) -> None:
    """With few questions, each 60 ms long; meanwhile the sidecar is healthy, and then it reads all of them."""
    with Behind(proxied, tmp_path, partitions=PARTITIONS) as deployment:
        deployment.create_outputs()
        if is_known:
            commit_first(deployment)
        deployment.traffic.write(PARTITIONS)
        for api in QUESTIONS:
            proxied.proxy.add(Rule(api, Harm.DELAY, ALWAYS, ROUND_TRIP_SECONDS))
        before = proxied.proxy.seen[Api.LIST_OFFSETS]
        sidecar = deployment.sidecar().start()

        def is_ready() -> bool:
            assert sidecar.get("/-/healthy").ok
            return sidecar.get("/-/ready").ok

        eventually(is_ready, STARTED_SECONDS, "not ready")
        assert proxied.proxy.seen[Api.LIST_OFFSETS] - before < 20
        assert sidecar.scrape().total("marketdata_records_total") == PARTITIONS


def commit_first(deployment: Behind) -> None:
    """Commit the first offset of each partition for the group, which has no member."""
    first = [TopicPartition(deployment.topic, number, 0) for number in range(PARTITIONS)]
    member = Consumer({"bootstrap.servers": deployment.cluster.bootstrap, "group.id": deployment.group})
    member.commit(offsets=first, asynchronous=False)
    member.close()
