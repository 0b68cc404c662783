"""What cannot be read is stepped over, exactly that and once; Kafka and the sidecar are real."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kafka.unreadable import LEAST_SECONDS, LEAST_TRIES, FailedOffsets, readable_from
from exporter.model import Partition
from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.unreadable import LEAST_RECORDS, SMALL_BUFFER, write_unreadable
from tests.support.waiting import eventually

STEPPED_SECONDS = 60.0
FIRST, SECOND = Partition("a", 0), Partition("a", 1)

Layout = list[tuple[int, bool]]  # batches: how many records, and whether they can be read


def asked(layout: Layout, names_batches: bool) -> Mapping[int, int | None]:
    """What a client answers about each offset; the end can be read."""
    answers: dict[int, int | None] = {}
    for size, is_readable in layout:
        base = len(answers)
        for offset in range(base, base + size):
            answers[offset] = None if is_readable else base if names_batches else offset
    answers[len(answers)] = None
    return answers


@given(
    st.lists(st.tuples(st.integers(1, 40) | st.just(700), st.booleans()), max_size=8), st.booleans(), st.integers(0, 50)
)
def test_all_that_cannot_be_read_is_passed_and_nothing_else(layout: Layout, names_batches: bool, start: int) -> None:
    """However batches lie beside each other, and whether the client names a batch or an offset."""
    answers = asked(layout, names_batches)
    end = len(answers) - 1
    start = min(start, end)
    found = readable_from(answers.__getitem__, start, end, lambda: True)
    assert found == next(offset for offset in range(start, end + 1) if answers[offset] is None)


def test_a_large_batch_takes_few_questions() -> None:
    """Twice the logarithm of its size."""
    questions: list[int] = []

    def ask(offset: int) -> int | None:
        questions.append(offset)
        return 5 if offset < 1_000_005 else None

    assert readable_from(ask, 5, 10_000_000, lambda: True) == 1_000_005
    assert len(questions) < 50


def test_a_search_that_is_cut_off_passes_nothing_that_was_not_asked() -> None:
    """The next one goes on from there."""
    left = iter([True] * 3 + [False] * 9)
    assert readable_from(lambda offset: offset, 10, 1000, lambda: next(left)) == 13


def test_partition_stands_once_the_error_has_come_back_often_enough_over_long_enough() -> None:
    places = FailedOffsets()
    for number in range(LEAST_TRIES):
        places.failed(FIRST, 7, "broken", number * 0.1)
    assert not places.persistent(LEAST_SECONDS - 0.1)
    assert places.persistent(LEAST_SECONDS).keys() == {FIRST}
    assert places.report(LEAST_SECONDS) == ["a/0 is blocked at offset 7: broken"]


def test_partition_that_goes_on_stands_nowhere() -> None:
    """An error at another offset, or a record, begins the count again."""
    places = FailedOffsets()
    for number in range(2 * LEAST_TRIES):
        places.failed(FIRST, number, "broken", float(number))
        places.failed(SECOND, 7, "broken", float(number))
    assert places.persistent(100.0).keys() == {SECOND}
    places.passed([SECOND])
    assert not places.persistent(100.0)


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Iterator[Deployment]:
    """Topics for input and output; no sidecar runs yet. The input takes batches that clients cannot unpack."""
    with Deployment(broker, tmp_path, partitions=2) as deployment:
        deployment.create_outputs()
        yield deployment


def sidecar(deployment: Deployment, **settings: object) -> Sidecar:
    """A sidecar whose client unpacks 1 MB at most."""
    usual = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "300", "fetch.wait.max.ms": "20"}
    return deployment.sidecar("one", kafka__consumer_properties=usual | SMALL_BUFFER, **settings)


def write_places(deployment: Deployment) -> int:
    """Write batches with two places in partition 0 that cannot be read, one of two batches; return their records."""
    value = b'{"region":"korea","exchange":"lost","request_type":"ticker","timestamp_ms":1760031213000,"data":[]}'
    sizes = (LEAST_RECORDS + 13, LEAST_RECORDS, LEAST_RECORDS + 1)
    deployment.traffic.write(40)
    for size in sizes[:2]:
        write_unreadable(deployment.cluster, deployment.topic, [value] * size)
    deployment.traffic.write(7)
    write_unreadable(deployment.cluster, deployment.topic, [value] * sizes[2])
    deployment.traffic.write(40)
    return sum(sizes)


def unreadable(sidecar: Sidecar) -> float:
    """How many records the sidecar has stepped over."""
    return sidecar.scrape().total("marketdata_records_unreadable_total")


def errors(deployment: Deployment) -> list[tuple[str, int, str]]:
    """Reason, partition and words of each error event, in order."""
    events = [json.loads(event.value) for event in deployment.cluster.read_all(deployment.errors)]
    return sorted((event["reason"], event["partition"], event["message"].rpartition(": ")[2]) for event in events)


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["exactly_once", pytest.param("at_least_once", marks=pytest.mark.hostile)])
def test_records_that_cannot_be_read_are_stepped_over_and_told(deployment: Deployment, delivery: str) -> None:
    """All others are told once, also when the sidecar is killed afterwards and reads the places again."""
    lost = write_places(deployment)
    here = sidecar(deployment, output__delivery=delivery).start()
    eventually(lambda: unreadable(here) == lost, STEPPED_SECONDS, "not stepped over")
    deployment.eventually_committed()
    eventually(lambda: here.get("/-/ready").ok, 30, "not ready")
    scrape = here.scrape()
    assert scrape.total("marketdata_partition_resets_total", cause="records_unreadable") == 2
    assert scrape.total("marketdata_records_total") == len(deployment.traffic.batches)
    here.kill()

    again = sidecar(deployment, output__delivery=delivery, input__warm_start=1000).start()
    deployment.traffic.write(40)
    eventually(lambda: again.get("/-/ready").ok, STEPPED_SECONDS, "not ready")
    deployment.eventually_committed()
    assert unreadable(again) == 0
    again.stop()
    deployment.assert_told_once()
    told = [("records_unreadable", 0, str(LEAST_RECORDS + 1)), ("records_unreadable", 0, str(2 * LEAST_RECORDS + 13))]
    assert errors(deployment) == told
    assert_audited(again, lost)


def assert_audited(sidecar: Sidecar, lost: int) -> None:
    """The audit of a sidecar that has stopped finds that all agrees, and tells of what cannot be read."""
    done = sidecar.run("audit", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(json.loads(done.stdout)["unreadable"].values()) == lost


@pytest.mark.slow
def test_partition_stands_where_that_is_asked_and_the_others_go_on(deployment: Deployment) -> None:
    """Readiness names the partition, the offset and the error."""
    write_places(deployment)
    here = sidecar(deployment, input__on_unreadable="stop").start()
    eventually(lambda: "is blocked at offset" in here.get("/-/ready").text, STEPPED_SECONDS, "it is not blocked")
    answer = here.get("/-/ready")
    assert answer.status_code == 503
    assert f"{deployment.topic}/0 is blocked at offset" in answer.text
    assert "Decompression" in answer.text
    others = [batch for batch in deployment.traffic.batches if batch.id.split("/")[1] == "1"]
    eventually(lambda: {batch.id for batch in others} <= {each.id for each in deployment.told().batches}, 30)
    assert unreadable(here) == 0
    eventually(lambda: deployment.committed()[1] == deployment.traffic.ends()[1], 30)


@pytest.mark.slow
def test_batch_with_a_wrong_checksum_is_stepped_over(own_broker: Broker, tmp_path: Path) -> None:
    """The kind is the error that comes back, not its code: a disk of the broker has changed a bit."""
    with Deployment(own_broker, tmp_path, partitions=1) as deployment:
        deployment.create_outputs()
        deployment.traffic.write(20)
        own_broker.produce(deployment.topic, [b"to be damaged"])
        deployment.traffic.write(20)
        own_broker.stop()
        damage(own_broker.data / f"{deployment.topic}-0" / "00000000000000000000.log", b"to be damaged")
        own_broker.start()
        here = sidecar(deployment, kafka__properties={"check.crcs": "true"}).start()
        eventually(lambda: unreadable(here) == 1, STEPPED_SECONDS, "not stepped over")
        deployment.eventually_committed()
        here.stop()
        deployment.assert_told_once()


def damage(file: Path, text: bytes) -> None:
    """Change one bit of a text in a file."""
    content = bytearray(file.read_bytes())
    content[content.index(text)] ^= 1
    file.write_bytes(content)
