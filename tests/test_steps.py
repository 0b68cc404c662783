"""Long work is divided, and none of it is left out."""

import threading
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from exporter.batch import Batch, Message
from exporter.feeds import Feed
from exporter.model import FeedKey, Partition, Reason, Rejected
from exporter.steps import PIECE_MESSAGES, PIECE_RECORDS, pieces
from exporter.visits import PIECE_SECONDS, Visits
from exporter.watching.comparison import NoComparison
from exporter.watching.diagnosis import Rounds
from tests.support.analysis import FIRST, KEY, NOW_MS, SECOND, START, WATCHES, analysis, record, start, take, value

EMPTY = Rejected(Reason.EMPTY, "the record has no value")


def decoded(size: int | None) -> Batch | Rejected | None:
    """A batch with so many messages; below 0 a rejection, and without a size what a sidecar published."""
    if size is None:
        return None
    rows = [Message("A")] * size
    return EMPTY if size < 0 else Batch("upbit", "korea", "ticker", NOW_MS, rows)


SIZES = st.lists(st.none() | st.sampled_from([-1, 0, 1, 20, 999, 1000, 1001, 2000, 2001, 9000]), max_size=400)


@given(SIZES)
def test_pieces_are_bounded_in_records_and_messages_and_leave_nothing_out(sizes: list[int | None]) -> None:
    """Only a record of its own may have more messages."""
    batches = [decoded(size) for size in sizes]
    found = [batches[piece] for piece in pieces(batches)]
    assert [batch for piece in found for batch in piece] == batches
    for piece in found:
        messages = sum(len(batch.data) for batch in piece if isinstance(batch, Batch))
        assert 0 < len(piece) <= PIECE_RECORDS
        assert messages <= PIECE_MESSAGES or len(piece) == 1


def test_steps_are_taken_in_pieces_with_the_lock_and_visits_in_between() -> None:
    """Each piece ends after its time; a step that takes as long is a piece of its own."""
    lock, now, taken = threading.Lock(), 0.0, list[tuple[int, bool]]()

    def steps() -> Iterable[None]:
        nonlocal now
        for number in range(10):
            taken.append((number, lock.locked()))
            now += PIECE_SECONDS / 4 if number else PIECE_SECONDS
            yield

    seen = [(len(taken), lock.locked()) for _ in Visits(lock).pieces(steps(), lambda: now)]
    assert seen == [(1, False), (5, False), (9, False), (10, False)]
    assert taken == [(number, True) for number in range(10)]


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
    Rounds(NoComparison()).judge(feeds, {}, NOW_MS, is_reachable=True, is_sole_reader=True, spread=steps)
    assert steps.taken >= 2 * len(feeds)


def test_feeds_of_a_partition_are_let_go_step_by_step() -> None:
    """All of them in the end."""
    here, steps = analysis(), Steps()
    for partition in (FIRST, SECOND):
        here.assign(partition, start(START, 300))
        keys = [FeedKey("korea", f"exchange{number}", "ticker") for number in range(100)]
        take(here, *(record(offset, value(key), partition) for offset, key in enumerate(keys)))
    here.release([FIRST, SECOND], steps)
    assert steps.taken == 200
    assert not any(feed.partitions for feed in here.table.feeds.values())
    assert here.partitions == dict[Partition, object]()
