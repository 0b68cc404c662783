"""What is rejected: which reason prevails, how much it is, and for which feeds it explains that they are not heard."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.rejections import (
    DETAIL_CHARACTERS,
    KEPT,
    LISTED,
    WARNED_MS,
    WINDOW_MS,
    FeedRejections,
    Rejections,
    Traffic,
    is_named_after,
    likely_topics,
    one_line,
    warnings,
)
from exporter.model import FeedKey, Reason, Rejected
from tests.support.pipeline import FIRST, KEY, NOW_MS, OTHER

LIMIT_MS = 10_000
MISSING, EMPTY = Reason.MISSING_FIELD, Reason.EMPTY


def add(rejections: Rejections, reason: Reason = MISSING, offset: int = 7, now_ms: int = NOW_MS) -> None:
    rejections.add(Rejected(reason, f"{reason} it is"), FIRST, offset, now_ms)


# In words.


def test_the_reason_that_prevails_is_told_with_its_last_place() -> None:
    rejections = Rejections()
    add(rejections, offset=3)
    add(rejections, offset=4)
    assert str(rejections) == f"missing_field, for example {FIRST}/4: missing_field it is"
    add(rejections, EMPTY, offset=5)
    assert str(rejections) == f"mostly missing_field, for example {FIRST}/4: missing_field it is"
    assert (rejections.total, rejections.last_ms) == (3, NOW_MS)


def test_what_prevailed_long_ago_is_forgotten() -> None:
    """However much there was of it."""
    rejections = Rejections()
    for reason, count in ((EMPTY, 100 * KEPT), (MISSING, 2 * KEPT)):
        for _ in range(count):
            add(rejections, reason)
    assert str(rejections).startswith("mostly missing_field, ")
    for _ in range(10 * KEPT):
        add(rejections)
    assert str(rejections).startswith("missing_field, ")


@given(reasons=st.lists(st.sampled_from(Reason), min_size=1, max_size=500))
def test_whatever_is_rejected_can_be_told(reasons: list[Reason]) -> None:
    rejections = Rejections()
    for reason in reasons:
        add(rejections, reason)
    assert str(rejections).removeprefix("mostly ").partition(",")[0] in reasons


@given(text=st.text(max_size=500))
def test_a_text_of_any_kind_becomes_one_short_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= DETAIL_CHARACTERS
    assert line.isprintable()
    assert len(text) > DETAIL_CHARACTERS or len(line) == len(text)


# How much of a topic.


def carried(*seconds: tuple[int, int]) -> Traffic:
    """A topic on which so many records came, and were rejected, second by second, with a look after each."""
    traffic = Traffic()
    for second, (came, rejected) in enumerate(seconds):
        traffic.records += came
        for _ in range(rejected):
            add(traffic.rejections)
        traffic.update(NOW_MS + second * 1000)
    return traffic


@pytest.mark.parametrize(
    ("seconds", "ratio"),
    [
        ([], 0.0),
        ([(0, 0)], 0.0),
        ([(4, 1)], 0.25),
        ([(2, 1)] * 500, 0.5),
        ([(1, 0)] * 500 + [(1, 1)] * (2 * WINDOW_MS // 1000), 1.0),
        ([(1, 1)] * 500 + [(1, 0)] * (2 * WINDOW_MS // 1000), 0.0),
        ([(1, 1)] * 60 + [(0, 0)] * 600, 1.0),
    ],
)
def test_the_share_is_that_of_the_last_minutes_in_which_records_came(
    seconds: Sequence[tuple[int, int]], ratio: float
) -> None:
    assert carried(*seconds).rejected_ratio == ratio


def test_much_that_is_rejected_is_warned_of_for_a_while() -> None:
    topics = {
        "b": carried((9, 1)),
        "a": carried((100, 97)),
        "c": carried((5, 5)),
        "few": carried((100, 9)),
        "none": carried((5, 0)),
    }
    told = warnings(topics, [], NOW_MS + WARNED_MS)
    assert told == (
        f"97 % of the records of a are rejected: missing_field, for example {FIRST}/7: missing_field it is",
        f"11 % of the records of b are rejected: missing_field, for example {FIRST}/7: missing_field it is",
        f"all records of c are rejected: missing_field, for example {FIRST}/7: missing_field it is",
    )
    assert warnings(topics, [], NOW_MS + WARNED_MS + 1) == ()


def test_feeds_of_which_all_is_rejected_are_listed() -> None:
    assert warnings({}, [KEY, OTHER], NOW_MS) == (
        "all records of these feeds are rejected: korea:bithumb:ticker, korea:upbit:ticker",
    )


def test_warnings_are_not_without_end() -> None:
    topics = {f"t{n:03}": carried((1, 1)) for n in range(LISTED + 30)}
    feeds = [KEY._replace(exchange=f"e{n}") for n in range(LISTED + 5)]
    *_, more, last = told = warnings(topics, feeds, NOW_MS)
    assert len(told) == LISTED + 2
    assert more == "so are many records of 30 more topics"
    assert last.endswith(" and 5 more")


# Whose they are.


class Scene:
    """A feed that is heard every second, and a topic on which others send, too; `now_ms` goes on as it runs."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.rejections, self.topic = FeedRejections(), Traffic()
        self._heard_ms = 0

    def run(self, seconds: int, *, heard: bool = False, others: bool = False, strays: int = 0) -> None:
        """Let seconds pass; `strays` records a second are rejected that name no feed."""
        for _ in range(seconds):
            self.now_ms += 1000
            if heard:
                self._heard_ms = self.now_ms
            if heard or others:
                self.topic.valid_ms = self.now_ms
            for _ in range(strays):
                add(self.topic.strays, EMPTY, now_ms=self.now_ms)
            self.rejections.update(self._heard_ms, [self.topic], self.now_ms)

    @property
    def found(self) -> Rejections | None:
        return self.rejections.find(LIMIT_MS, [self.topic], self.now_ms)


def test_rejections_that_name_the_feed_are_its_own_within_the_limit() -> None:
    scene = Scene()
    scene.run(60, heard=True, others=True)
    assert scene.found is None
    add(scene.rejections.named, now_ms=scene.now_ms)
    scene.run(10, others=True)
    assert scene.found is scene.rejections.named
    scene.run(1, others=True)
    assert scene.found is None


def test_what_was_rejected_until_the_feed_was_heard_explains_nothing() -> None:
    scene = Scene()
    scene.run(60, heard=True)
    add(scene.rejections.named, now_ms=scene.now_ms)
    scene.run(1, heard=True)
    assert scene.found is None


def test_where_nothing_else_comes_what_names_no_feed_is_meant() -> None:
    """Also for a feed that was never heard, and however much of it there was before."""
    never, silent = Scene(), Scene()
    silent.run(60, heard=True, strays=5)
    for scene in (never, silent):
        scene.run(11, strays=1)
        assert scene.found is scene.topic.strays


@pytest.mark.parametrize(
    ("before", "since", "is_meant"), [(0, 1, True), (1, 2, True), (2, 2, False), (3, 4, False), (2, 0, False)]
)
def test_where_other_feeds_go_on_what_names_no_feed_is_meant_if_there_is_more_of_it(
    before: int, since: int, is_meant: bool
) -> None:
    scene = Scene()
    scene.run(600, heard=True, others=True, strays=before)
    scene.run(60, others=True, strays=since)
    assert (scene.found is not None) == is_meant


def test_where_other_feeds_go_on_a_feed_that_was_never_heard_is_not_meant() -> None:
    scene = Scene()
    scene.run(60, others=True, strays=5)
    assert scene.found is None


# Where a feed may be that was never seen.


@pytest.mark.parametrize(
    ("topic", "is_named"),
    [
        ("ticker-data.korea", True),
        ("play.ticker-data.korea", True),
        ("korea_ticker", True),
        ("korea.ticker", True),
        ("ticker-data.southkorea", False),
        ("tickers-data.korea", False),
        ("trade-data.korea", False),
    ],
)
def test_a_topic_is_named_after_its_region_and_request_type(topic: str, is_named: bool) -> None:
    assert is_named_after(topic, KEY) == is_named


def test_a_feed_that_was_never_seen_may_be_where_its_name_says_or_anywhere() -> None:
    own, other = Traffic(), Traffic()
    topics = {FIRST.topic: own, "trade-data.asia": other}
    assert likely_topics(KEY, topics) == ()
    add(other.strays)
    assert likely_topics(KEY, topics) == [own]
    assert likely_topics(FeedKey("europe", "x", "ticker"), topics) == [own, other]


def test_what_names_no_feed_is_compared_over_all_topics_of_a_feed() -> None:
    """A feed on two topics, of which only one had strays before: as many of them on the other are no more."""
    rejections, topics, now_ms = FeedRejections(), [Traffic(), Traffic()], NOW_MS
    for second in range(660):
        now_ms += 1000
        is_heard = second < 600
        for topic in topics:
            topic.valid_ms = now_ms
        add(topics[not is_heard].strays, EMPTY, now_ms=now_ms)
        rejections.update(now_ms if is_heard else NOW_MS + 600_000, topics, now_ms)
    assert rejections.find(LIMIT_MS, topics, now_ms) is None
