"""The evaluation of all feeds, once a second: progress on partitions, and the health of each feed. Pure."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from exporter.feeds.comparison import Comparison, NoComparison
from exporter.feeds.feed import Feed
from exporter.feeds.health import HealthContext
from exporter.feeds.partitions import PartitionProgress
from exporter.feeds.rejections import Traffic, likely_topics
from exporter.feeds.states import FeedState, Silence, survey
from exporter.model import FeedKey, Partition
from exporter.steps import RunSteps, run_all

# Feeds evaluated at a time, which takes a few milliseconds. With more of them each is evaluated every few seconds.
FEEDS_PER_EVALUATION = 1000
# Evaluations are a second apart. After a longer pause (the process was stopped, or waited for Kafka) records that were
# sent meanwhile may not be read yet.
PAUSE_MS = 3_000


class Evaluator:
    """Evaluates feeds in turn, so that the time of one evaluation is bounded."""

    def __init__(self, comparison: Comparison | NoComparison) -> None:
        self._comparison = comparison
        self._next = 0
        self._evaluated_ms = 0
        self._rejected: set[Feed] = set()

    def compare_by(self, comparison: Comparison | NoComparison) -> None:
        """Compare feeds in another way from the next evaluation on."""
        self._comparison = comparison

    @property
    def rejected(self) -> list[FeedKey]:
        """The feeds whose records are all rejected, as far as they were evaluated."""
        return [feed.key for feed in self._rejected if feed.health.state is FeedState.REJECTED]

    def evaluate(
        self,
        feeds: Sequence[Feed],
        progress: Mapping[Partition, PartitionProgress],
        now_ms: int,
        *,
        is_reachable: bool,
        is_sole_reader: bool,
        topics: Mapping[str, Traffic] = MappingProxyType({}),
        run_steps: RunSteps = run_all,
    ) -> None:
        """Evaluate the next feeds.

        `is_sole_reader`: all partitions are assigned to this process, so no feed is elsewhere. `topics` has the traffic
        of the topics that are read.
        """
        run_steps(self._evaluated(feeds, progress, now_ms, topics, is_reachable, is_sole_reader))
        if self._rejected:
            self._rejected.intersection_update(feeds)  # some may be forgotten
        self._comparison.update(feeds, now_ms, run_steps)

    def _evaluated(
        self,
        feeds: Sequence[Feed],
        progress: Mapping[Partition, PartitionProgress],
        now_ms: int,
        topics: Mapping[str, Traffic],
        is_reachable: bool,
        is_sole_reader: bool,
    ) -> Iterator[None]:
        evaluated = feeds if is_sole_reader else [feed for feed in feeds if feed.is_here]
        yield from self._after_pause(feeds, evaluated, topics, now_ms)
        silence = yield from _silences(evaluated, topics, now_ms)
        begin = self._next if self._next < len(evaluated) else 0
        self._next = begin + FEEDS_PER_EVALUATION
        anywhere = _together(progress.values())
        for feed in evaluated[begin : self._next]:
            here = _together(progress[each] for each in feed.partitions or feed.rejected_on if each in progress)
            seen = here if feed.is_here else anywhere
            around = HealthContext(
                stalled_since_ms=seen.stalled_since_ms,
                is_catching_up=seen.is_catching_up,
                is_reachable=is_reachable,
                is_sole_reader=is_sole_reader,
                silence=silence.scope(_topic(feed)),
                topics=_topics(feed, topics, is_sole_reader),
            )
            before = feed.health.shown
            seen_ms = feed.symbol_seen_ms
            self._note(feed, feed.health.evaluate(seen_ms, around, now_ms).state)
            if feed.health.shows_symbols:
                feed.health.select_symbols(seen_ms, feed.symbol_messages, feed.messages, now_ms)
            if feed.health.shown != before:
                feed.touch()
            yield

    def _note(self, feed: Feed, state: FeedState) -> None:
        if state is FeedState.REJECTED:
            self._rejected.add(feed)
        else:
            self._rejected.discard(feed)

    def _after_pause(
        self, feeds: Sequence[Feed], evaluated: Sequence[Feed], topics: Mapping[str, Traffic], now_ms: int
    ) -> Iterator[None]:
        """Restart grace periods after a pause, and end the evaluation of feeds that may be owned elsewhere now."""
        since_ms, self._evaluated_ms = now_ms - self._evaluated_ms, now_ms
        if since_ms < 0:
            yield from _set_back(feeds, topics, now_ms)
        if not 0 <= since_ms <= PAUSE_MS:
            for feed in evaluated:
                feed.health.restart_grace(now_ms)
                yield
        if len(evaluated) == len(feeds):
            return
        for feed in feeds:
            if feed.health.is_active and not feed.is_here:
                feed.health.end()
                feed.touch()
            yield


def _set_back(feeds: Iterable[Feed], topics: Mapping[str, Traffic], now_ms: int) -> Iterator[None]:
    """Let no time be later than `now_ms`, which it would stay for as long as the clock was ahead."""
    for topic in topics.values():
        topic.set_back(now_ms)
    for feed in feeds:
        feed.set_back(now_ms)
        yield


def _silences(feeds: Iterable[Feed], topics: Mapping[str, Traffic], now_ms: int) -> Generator[None, None, Silence]:
    """Return the silent topics, by the feeds that are expected to send; a rejected feed is not silent."""
    found: list[tuple[str, bool]] = []
    for feed in feeds:
        is_overdue = feed.health.is_overdue(now_ms)
        if is_overdue is not None and feed.partitions:
            found.append((_topic(feed), is_overdue and not feed.health.rejected(_topics(feed, topics), now_ms)))
        yield
    return survey(found)


def _topic(feed: Feed) -> str:
    return min(feed.partitions).topic if feed.partitions else ""


def _topics(feed: Feed, topics: Mapping[str, Traffic], is_sole_reader: bool = False) -> Sequence[Traffic]:
    """Return all topics of the feed, or those on which a feed that was never seen may be."""
    if feed.partitions:
        return [topics[name] for name in {partition.topic for partition in feed.partitions} if name in topics]
    return likely_topics(feed.key, topics) if is_sole_reader and feed.health.is_expected else ()


def _together(progress: Iterable[PartitionProgress]) -> PartitionProgress:
    """Return the progress of several partitions: the earliest stall, and whether any is catching up."""
    all_progress = list(progress)
    stalled_since_ms = min((each.stalled_since_ms for each in all_progress if each.stalled_since_ms), default=0)
    return PartitionProgress(stalled_since_ms, any(each.is_catching_up for each in all_progress))
