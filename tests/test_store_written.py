"""Accepted updates that are kept for a failover: what is taken back, and what is dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Partition
from exporter.store.written import KEPT_SECONDS, Written
from tests.support.store import PLACE, update

OTHER = Partition(PLACE.topic, 1)
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=8)


@given(SIZES, st.integers(-1, 40))
def test_what_is_from_a_fence_on_is_taken_and_what_is_below_stays(sizes: list[int], fence: int) -> None:
    kept, begin = Written(1000), 0
    for size in sizes:
        kept.add(PLACE, [update(offset, "KRW-BTC") for offset in range(begin, begin + size)], begin + size)
        kept.add(OTHER, [update(begin, "KRW-BTC", partition=OTHER)], begin + 1)
        begin += size
    taken = kept.take_from(PLACE, fence)
    assert [each.offset for each in taken] == list(range(max(fence, 0), begin))
    assert kept.fence(PLACE) == min(max(fence, 0), begin)
    assert [each.offset for each in kept.take_from(PLACE, 0)] == list(range(kept.fence(PLACE), max(fence, 0))) or (
        kept.fence(PLACE) == 0
    )
    assert kept.fence(OTHER) == begin - sizes[-1] + 1


def test_the_fence_of_another_replica_is_known_as_well() -> None:
    kept = Written(1000)
    kept.add(PLACE, [update(3, "KRW-BTC")], 9)
    assert (kept.fence(PLACE), kept.take_from(PLACE, 9)) == (9, [])
    assert [each.offset for each in kept.take_from(PLACE, 2)] == [3]


def test_the_last_update_of_each_idle_partition_is_taken() -> None:
    kept = Written(1000)
    kept.add(PLACE, [update(0, "KRW-BTC"), update(1, "KRW-BTC")], 2)
    kept.add(OTHER, [update(0, "KRW-BTC", partition=OTHER)], 1)
    assert [(each.partition, each.offset) for each in kept.take_last({OTHER})] == [(PLACE, 1)]
    assert (kept.fence(PLACE), kept.fence(OTHER)) == (1, 1)


def test_what_is_old_is_dropped_and_the_time_while_redis_is_away_does_not_count() -> None:
    kept = Written(1000)
    kept.succeeded(100.0)
    kept.add(PLACE, [update(0, "KRW-BTC")], 1)
    kept.succeeded(100.0 + 10 * KEPT_SECONDS)
    assert kept.fence(PLACE) == 1
    for second in range(int(KEPT_SECONDS) + 1):
        kept.succeeded(1000.0 + second)
    assert kept.fence(PLACE) == 0


def test_the_oldest_are_dropped_beyond_the_limit_and_nothing_is_kept_without_one() -> None:
    few, none = Written(2), Written(0)
    for offset in range(4):
        for kept in (few, none):
            kept.add(PLACE, [update(offset, "KRW-BTC")], offset + 1)
            kept.succeeded(float(offset))
    assert [each.offset for each in few.take_from(PLACE, 0)] == [2, 3]
    assert (none.fence(PLACE), none.take_from(PLACE, 0)) == (0, [])
