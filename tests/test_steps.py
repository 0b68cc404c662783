"""Long work is divided, and none of it is left out."""

from collections.abc import Iterable

from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.model import FeedKey, Partition
from exporter.runtime.fair_lock import PIECE_SECONDS, FairLock, ReadAccess
from tests.support.analysis import FIRST, KEY, NOW_MS, SECOND, START, WATCHES, analysis, record, start, take, value


def test_steps_are_taken_in_pieces_with_the_lock_and_visits_in_between() -> None:
    """Each piece ends after its time; a step that takes as long is a piece of its own."""
    lock, now, taken = FairLock(), 0.0, list[tuple[int, bool]]()

    def steps() -> Iterable[None]:
        nonlocal now
        for number in range(10):
            taken.append((number, lock._is_held))
            now += PIECE_SECONDS / 4 if number else PIECE_SECONDS
            yield

    seen = [(len(taken), lock._is_held) for _ in ReadAccess(lock).pieces(steps(), lambda: now)]
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
    Evaluator(NoComparison()).evaluate(feeds, {}, NOW_MS, is_reachable=True, is_sole_reader=True, run_steps=steps)
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


def test_records_are_applied_step_by_step() -> None:
    """However little or much one of them costs, a piece of them ends in time."""
    here, steps = analysis(), Steps()
    here.assign(FIRST, start(START, 300))
    records = [record(offset, value(FeedKey("korea", f"exchange{offset}", "ticker"))) for offset in range(100)]
    dispatch = here.analyze(records, here.decode(records), NOW_MS, steps)
    assert steps.taken == len(records)
    assert dispatch.positions[FIRST].offset == len(records)
