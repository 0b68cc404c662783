"""Long work is divided, and none of it is left out."""

import threading
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.loop import PART_BYTES, PART_RECORDS, in_parts
from exporter.model import FeedKey, Partition, Record
from exporter.runtime.fair_lock import PIECE_SECONDS, FairLock
from tests.support.pipeline import (
    FIRST,
    KEY,
    NOW_MS,
    OTHER,
    SECOND,
    START,
    UNWANTED,
    WATCHES,
    pipeline,
    record,
    start,
    take,
    value,
)
from tests.support.waiting import eventually


def test_steps_are_taken_in_pieces_with_the_lock_and_visits_in_between() -> None:
    """Each piece ends after its time, if a thread waits; a step that takes as long is a piece of its own."""
    now, taken, visits, threads = 0.0, list[int](), list[int](), list[threading.Thread]()
    lock = FairLock(lambda: now)

    def visit() -> None:
        with lock:
            visits.append(len(taken))

    def steps() -> Iterable[None]:
        nonlocal now
        for number in range(10):
            if not lock._waiting:
                threads.append(threading.Thread(target=visit))
                threads[-1].start()
                eventually(lambda: bool(lock._waiting))
            taken.append(number)
            now += PIECE_SECONDS / 4 if number else PIECE_SECONDS
            yield

    lock.run(steps())
    for thread in threads:
        thread.join()
    assert visits == [1, 5, 9, 10]
    assert taken == list(range(10))
    assert not lock._is_held


class Steps:
    """Takes all steps, and counts them."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, steps: Iterable[object]) -> None:
        self.taken += sum(1 for _ in steps)


def test_feeds_are_judged_step_by_step() -> None:
    """So that thousands of them hold nobody up: to ask how long each was silent, and to judge it."""
    feeds = [Feed(FeedKey("korea", f"exchange{number}", "ticker"), WATCHES(KEY)) for number in range(300)]
    for feed in feeds:
        feed.hold(FIRST, NOW_MS)
    steps = Steps()
    Evaluator(NoComparison()).evaluate(feeds, {}, NOW_MS, is_reachable=True, is_sole_reader=True, run_steps=steps)
    assert steps.taken >= 2 * len(feeds)


def test_feeds_of_a_partition_are_let_go_step_by_step() -> None:
    """All of them in the end."""
    here, steps = pipeline(), Steps()
    for partition in (FIRST, SECOND):
        here.assign(partition, start(START, 300))
        keys = [FeedKey("korea", f"exchange{number}", "ticker") for number in range(100)]
        take(here, *(record(offset, value(key), partition) for offset, key in enumerate(keys)))
    here.release([FIRST, SECOND], steps)
    assert steps.taken == 200
    assert not any(feed.partitions for feed in here.table.feeds.values())
    assert here.partitions == dict[Partition, object]()


def test_other_threads_have_their_turn_after_each_record() -> None:
    here, turns = pipeline(), list[int]()
    here.assign(FIRST, start(START, 300))
    new, other, unwanted = value(symbols="NEW"), value(OTHER), value(UNWANTED)
    contents = [value(), value(), new, new, b"{", other, other, unwanted]
    records = [record(offset, content) for offset, content in enumerate(contents)]
    here.analyze(records, here.decode(records), NOW_MS, lambda: turns.append(here.partitions[FIRST].next_offset))
    assert turns == list(range(1, 9))


@given(
    sizes=st.lists(
        st.sampled_from([0, 20, 2000, PART_BYTES // 2, PART_BYTES, 2 * PART_BYTES]), max_size=3 * PART_RECORDS
    )
)
def test_parts_hold_all_records_in_order_and_only_a_single_one_is_too_large(sizes: list[int]) -> None:
    records = [Record(Partition("ticker", 1), number, 0, bytes(size)) for number, size in enumerate(sizes)]
    parts = in_parts(records)
    assert [record for part in parts for record in part] == records
    for part in parts:
        assert 1 <= len(part) <= PART_RECORDS
        assert len(part) == 1 or sum(len(record.value or b"") for record in part) <= PART_BYTES
    for part, after in pairwise(parts):
        is_full = sum(len(record.value or b"") for record in (*part, after[0])) > PART_BYTES
        assert is_full or len(part) == PART_RECORDS
