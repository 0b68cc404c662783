"""The text of a feed has the values that it counted, in whichever buckets they are."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.instrument.families import buckets
from exporter.instrument.histogram import Bounds
from exporter.metrics.feed_metrics import (
    FEED_PARTS,
    compact_feed_families,
    compact_feed_texts,
    feed_families,
    feed_texts,
)
from exporter.model import FeedKey
from tests.support.pipeline import FIRST, START, pipeline, record, start, take, value

BOUNDS = Bounds((0.5, 1.0, 2.0, 5.0)).spelled


@given(st.lists(st.sampled_from([0, 0, 0, 1, 7, 100_000]), min_size=5, max_size=5), st.sampled_from(["\0", "\1", "b"]))
def test_buckets_are_cumulated_wherever_the_values_lie(counts: list[int], region: str) -> None:
    """In no bucket, in one, or in several; labels may be any text."""
    labels = f'region="{region}"'
    lines = buckets("h", labels, BOUNDS, counts, 1.5).splitlines()
    cumulated = [sum(counts[: index + 1]) for index in range(len(counts))]
    expected = [f'h_bucket{{{labels},le="{le}"}} {n}' for le, n in zip(BOUNDS, cumulated, strict=True)]
    assert lines == [*expected, f"h_count{{{labels}}} {sum(counts)}", f"h_sum{{{labels}}} 1.5"]


def test_a_family_knows_how_many_series_its_lines_are() -> None:
    """So that nobody has to count the lines of thousands of feeds for each page."""
    here = pipeline()
    here.assign(FIRST, start(START, 300))
    take(here, record(0, value()))
    shown = [feed_texts(FEED_PARTS, 'region="korea"', feed) for feed in here.table.feeds.values()] * 2
    made = list(feed_families(FEED_PARTS, shown))
    assert [family.series for family in made] == ["".join(family.blocks).count("\n") for family in made]
    assert max(family.series for family in made) > 50


def test_texts_that_are_kept_make_the_same_families() -> None:
    """Of more feeds than get the name of a family at once."""
    here = pipeline()
    here.assign(FIRST, start(START, 300))
    keys = [FeedKey("korea", f"upbit{number}", "ticker") for number in range(20)]
    take(here, *[record(place, value(keys[place % 20], "A" * (1 + place % 3))) for place in range(60)])
    feeds = [(f'exchange="{feed.key.exchange}"', feed) for feed in here.table.feeds.values()]
    whole = feed_families(FEED_PARTS, [feed_texts(FEED_PARTS, labels, feed) for labels, feed in feeds])
    kept = compact_feed_families(FEED_PARTS, [compact_feed_texts(FEED_PARTS, labels, feed) for labels, feed in feeds])
    assert len(feeds) == 20
    assert [each._replace(blocks="".join(each.blocks)) for each in kept] == [
        each._replace(blocks="".join(each.blocks)) for each in whole
    ]
