"""What the events of ingesting services show: rounds, rates, invalidations, and how much of them is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.config.conflicts import INGESTION_TOPICS
from exporter.feeds.states import FeedState
from exporter.ingestion.events import EVENTS as TOPICS
from exporter.ingestion.events import CacheInvalidation, Event
from exporter.ingestion.view.families import ingestion_families
from exporter.ingestion.view.rates import FORGOTTEN_MS, TYPES, Rate, Rates, Update
from exporter.ingestion.view.rounds import ENDS, EXPIRY_MS, GRACE_MS, LONGEST_ID, Rounds, bounded_id, duration_between
from exporter.ingestion.view.states import SourceState
from exporter.ingestion.view.usual import KEPT, UsualLength, round_limit_ms
from exporter.ingestion.view.view import IngestionView, ViewLimits
from exporter.instrument.exposition import TEXT, render
from exporter.model import Arrival
from tests.support.prometheus import promtool
from tests.support.rounds import START_MS, begun, completed, invalidation, live, old, rate

NOW = START_MS


def view(limits: ViewLimits = ViewLimits()) -> IngestionView:  # noqa: B008 - frozen
    return IngestionView(limits, START_MS - 3_600_000)


def samples(shown: IngestionView) -> dict[str, float]:
    """The page of a view by line: the name with its labels in braces."""
    page = render(ingestion_families(shown), TEXT).decode()
    promtool("check", "metrics", input=page)
    return {
        f"{each.name}{{{','.join(each.labels.values())}}}": each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
    }


def test_the_configuration_and_the_events_have_the_same_topics() -> None:
    assert tuple(TOPICS) == INGESTION_TOPICS


def test_states_of_sources_are_words_of_feeds() -> None:
    assert {each.value for each in SourceState} <= {each.value for each in FeedState}


@given(st.lists(st.integers(0, 10**7), min_size=3, max_size=100))
def test_nine_of_ten_lengths_do_not_exceed_the_usual_one(lengths: list[int]) -> None:
    usual = UsualLength()
    for length in lengths:
        usual.add(length)
    last = lengths[-KEPT:]
    assert usual.value_ms in last
    assert sum(each > usual.value_ms for each in last) <= len(last) / 10 + 1


@given(st.integers(3, 100), st.integers(1, 10**7), st.integers(0, 10**9))
def test_one_exception_does_not_change_the_usual_length(number: int, usual_ms: int, exception_ms: int) -> None:
    usual = UsualLength()
    for length in [*[usual_ms] * number, usual_ms + exception_ms]:
        usual.add(length)
    assert usual.value_ms == usual_ms


@given(st.integers(2000, 10**9))
def test_a_limit_and_an_evaluation_fit_into_twice_the_usual_duration_with_a_margin(usual_ms: int) -> None:
    limit_ms = round_limit_ms(usual_ms)
    assert 1.25 * usual_ms <= limit_ms
    assert limit_ms + 1000 <= 2 * usual_ms


@pytest.mark.parametrize(
    ("begin", "end", "duration_ms"),
    [
        (live(NOW), live(NOW + 700), 700),
        (live(NOW + 500, NOW + 10), live(NOW + 500, NOW + 410), 400),  # read in one turn
        (live(NOW, NOW + 9000), live(NOW + 700, NOW + 100), 700),  # two clocks
        (live(NOW, NOW - 10**7), live(NOW + 700, NOW), 700),
        (live(NOW, 0), live(NOW + 700, 0), 700),
        (live(NOW + 100, NOW), live(NOW, NOW + 60), 60),  # the end was read first
        (live(NOW + 100, NOW + 90), live(NOW, NOW), 0),
        (old(NOW, NOW + 10**6), old(NOW + 700, NOW + 10**6), 700),
        (old(NOW + 700, NOW + 10**6), old(NOW, NOW + 10**6), None),
        (old(0, NOW + 10**6), old(0, NOW + 10**6), None),
    ],
)
def test_a_duration_is_by_records_where_their_clocks_agree_with_the_arrival(
    begin: Arrival, end: Arrival, duration_ms: int | None
) -> None:
    assert duration_between(begin, end) == duration_ms


def test_an_end_that_is_read_before_its_beginning_is_paired_with_it() -> None:
    shown = view()
    shown.apply(completed("api", "1"), live(NOW, NOW + 50))
    shown.evaluate(NOW)
    shown.apply(begun("api", "1"), live(NOW + 900, NOW))
    shown.evaluate(NOW + GRACE_MS + 1000)
    counts = shown.sources["api"].rounds.counts
    assert (counts.begun, counts.completed, counts.unpaired) == (1, 1, 0)
    assert shown.sources["api"].rounds.open == {}


def test_a_beginning_after_its_end_was_counted_as_unpaired_still_completes_the_round() -> None:
    rounds = Rounds(10)
    rounds.complete("1", 5, live(NOW))
    rounds.evaluate(NOW + GRACE_MS, 0, 0)
    rounds.begin("1", 5, live(NOW + 60_000))
    assert (rounds.counts.unpaired, rounds.counts.completed, rounds.open) == (1, 1, {})


def test_rounds_of_one_id_and_two_sources_are_two_rounds() -> None:
    shown = view()
    shown.apply(begun("a", "1"), live(NOW))
    shown.apply(completed("b", "1"), live(NOW))
    assert list(shown.sources["a"].rounds.open) == ["1"]
    assert shown.sources["b"].rounds.counts.completed == 0


def test_a_clock_is_compared_only_by_events_that_are_read_as_they_arrive() -> None:
    shown = view()
    shown.apply(begun("api", "1", NOW - 10_000), old(NOW - 10_000, NOW))
    assert shown.sources["api"].clock_offset_ms is None
    shown.apply(completed("api", "1", NOW + 3000), live(NOW))
    assert shown.sources["api"].clock_offset_ms == 3000


def test_the_last_round_is_the_one_that_began_last_also_when_an_earlier_one_ends_after_it() -> None:
    rounds = Rounds(10)
    rounds.begin("1", 60, live(NOW))
    rounds.begin("2", 60, live(NOW + 1000))
    rounds.complete("2", 59, live(NOW + 2000))
    rounds.complete("1", 60, live(NOW + 3000))
    assert rounds.last is not None
    assert rounds.last.correlation_id == "2"
    assert not rounds.last.is_complete


def test_a_round_that_is_open_for_a_day_is_given_up() -> None:
    rounds = Rounds(10)
    rounds.begin("1", 5, live(NOW))
    rounds.evaluate(NOW + EXPIRY_MS - 1, 0, 0)
    assert list(rounds.open) == ["1"]
    rounds.evaluate(NOW + EXPIRY_MS, 0, 0)
    assert (rounds.open, rounds.counts.overdue, rounds.counts.expired) == ({}, 1, 1)


@pytest.mark.parametrize("number", [50, 99, 100, 101, 5000])
def test_a_backlog_of_which_all_ends_are_read_first_leaves_no_round_open(number: int) -> None:
    rounds, received_ms = Rounds(10), NOW + number * 1000
    for each in range(number):
        rounds.complete(str(each), 5, old(NOW + each * 1000 + 500, received_ms))
    for each in range(number):
        rounds.begin(str(each), 5, old(NOW + each * 1000, received_ms))
    rounds.begin("last", 5, live(received_ms))
    assert rounds.evaluate(received_ms, received_ms, 0) == []
    assert list(rounds.open) == ["last"]
    assert (rounds.counts.completed, rounds.counts.dropped) == (min(number, 100), max(number - 100, 0))
    assert rounds.counts.unpaired == 0
    assert rounds.usual.value_ms == 500


Step = tuple[bool, int, int]
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(58, 60)), max_size=60)


def play(rounds: Rounds, steps: Sequence[Step]) -> None:
    for is_begin, name, count in steps:
        (rounds.begin if is_begin else rounds.complete)(str(name), count, live(NOW))


def firsts(steps: Sequence[Step], is_begin: bool) -> dict[int, int]:
    """The count of the first beginning, or end, of each id."""
    return {name: count for begins, name, count in reversed(steps) if begins is is_begin}


@given(STEPS)
def test_rounds_are_those_of_a_model_in_any_order_of_events(steps: list[Step]) -> None:
    rounds = Rounds(100)
    play(rounds, steps)
    begins, ends = firsts(steps, True), firsts(steps, False)
    paired = begins.keys() & ends.keys()
    counts = rounds.counts
    assert rounds.open.keys() == {str(each) for each in begins.keys() - ends.keys()}
    assert (counts.begun, counts.announced, counts.processed) == (len(begins), sum(begins.values()), sum(ends.values()))
    assert counts.completed == len(paired) == sum(rounds.durations.buckets)
    assert counts.mismatched == sum(begins[each] != ends[each] for each in paired)
    rounds.evaluate(NOW + GRACE_MS, 0, 0)
    assert counts.unpaired == len(ends.keys() - begins.keys())
    assert counts.overdue == (len(rounds.open) if len(paired) >= 3 else 0)  # they last 0 s


@given(STEPS, st.integers(1, 4))
def test_whatever_comes_each_round_is_accounted_for_and_no_more_than_the_limit_is_kept(
    steps: list[Step], limit: int
) -> None:
    rounds = Rounds(limit)
    play(rounds, steps)
    counts = rounds.counts
    assert len(rounds.open) <= limit
    assert len(rounds._waiting) <= len(rounds._ends) <= ENDS * limit
    assert counts.begun == counts.completed + counts.dropped + len(rounds.open)


@given(STEPS)
def test_events_counted_before_restore_open_rounds_and_count_nothing(steps: list[Step]) -> None:
    counted, restored = Rounds(100), Rounds(100)
    play(counted, steps)
    for is_begin, name, count in steps:
        (restored.begin if is_begin else restored.complete)(str(name), count, old(NOW, NOW), is_new=False)
    assert restored.open.keys() == counted.open.keys()
    assert restored.counts == Rounds(1).counts
    assert sum(restored.durations.buckets) == 0


@given(st.text(max_size=3 * LONGEST_ID), st.text(max_size=3 * LONGEST_ID))
def test_ids_are_kept_in_limited_length_and_apart(one: str, other: str) -> None:
    assert len(bounded_id(one)) <= LONGEST_ID
    assert (bounded_id(one) == bounded_id(other)) is (one == other)
    assert bounded_id("x" * 500 + "1") != bounded_id("x" * 500 + "2")


def test_an_older_rate_does_not_make_a_currency_older_and_is_counted() -> None:
    shown = view()
    for stamp_ms in (NOW, NOW - 1, NOW, NOW + 5):
        shown.apply(rate("api", "USD", stamp_ms), live(NOW + 10))
    assert shown.rates.known["USD"].updated_ms == NOW + 5
    assert (shown.sources["api"].updates, shown.sources["api"].outdated) == (2, 1)
    assert shown.repeated["exchange_rate_updated"] == 1


def test_a_rate_from_the_future_ages_from_when_it_was_sent_and_does_not_hide_later_ones() -> None:
    rates, year_ms = Rates(10), 365 * 86_400_000
    assert rates.update("USD", NOW + year_ms, live(NOW)) is Update.NEWER
    assert rates.known["USD"].updated_ms == NOW
    assert rates.update("USD", NOW + year_ms - 1, live(NOW + 10)) is Update.OUTDATED
    assert rates.update("USD", NOW + year_ms, live(NOW + 10)) is Update.REPEATED
    assert rates.update("USD", NOW + 20, live(NOW + 30)) is Update.NEWER
    assert rates.known["USD"].updated_ms == NOW + 20


@given(st.lists(st.integers(-(10**6), 0), min_size=1, max_size=30))
def test_by_a_right_clock_the_latest_rate_stays_in_any_order(stamps: list[int]) -> None:
    rates = Rates(10)
    for stamp in stamps:
        rates.update("USD", NOW + stamp, live(NOW))
    assert rates.known["USD"] == Rate(NOW + max(stamps), NOW + max(stamps))


def test_currencies_beyond_the_limit_are_counted_until_one_was_not_updated_for_a_day() -> None:
    shown = view(ViewLimits(currencies=2))
    for code in ("USD", "EUR", "JPY"):
        shown.apply(rate("api", code), live(NOW))
    assert (set(shown.rates.known), shown.overflow["currency"]) == ({"USD", "EUR"}, 1)
    later = NOW + FORGOTTEN_MS
    shown.apply(rate("api", "EUR", later), live(later))
    shown.apply(rate("api", "JPY", later), live(later))
    assert (set(shown.rates.known), shown.overflow["currency"]) == ({"EUR", "JPY"}, 1)


def test_sources_beyond_the_limit_are_counted_until_one_was_quiet_for_a_day() -> None:
    shown = view(ViewLimits(sources=2))
    for name in ("a", "b", "c", "x" * 65):
        shown.apply(begun(name, "1"), live(NOW))
    assert (set(shown.sources), shown.overflow["source"]) == ({"a", "b"}, 2)
    later = NOW + FORGOTTEN_MS
    shown.apply(begun("a", "2"), live(later))
    shown.apply(begun("c", "1"), live(later))
    assert set(shown.sources) == {"a", "c"}


def test_invalidations_are_counted_once_by_type_and_types_are_limited() -> None:
    shown = view()
    one: CacheInvalidation = invalidation("exchange_rate_update", "exchange_rate:USD", "history:*")
    for event in (one, one, invalidation("exchange_rate_update", "rate:EUR")):
        shown.apply(event, live(NOW))
    assert shown.invalidations.numbers == {"exchange_rate_update": 2}
    assert shown.invalidations.keys == {"exchange_rate_update": 3}
    assert shown.repeated["cache_invalidation"] == 1
    for number in range(TYPES + 5):
        shown.apply(invalidation(f"type-{number}"), live(NOW))
    assert len(shown.invalidations.numbers) == TYPES + 1
    assert shown.invalidations.numbers["other"] == shown.invalidations.overflow == 6


def test_the_page_has_what_was_sent() -> None:
    shown = view()
    for number in range(4):
        at_ms = NOW + number * 60_000
        shown.apply(begun("api", str(number), at_ms + 7000), live(at_ms))
        shown.apply(completed("api", str(number), at_ms + 9000, 60 - number // 3), live(at_ms + 2000))
    shown.apply(begun("api", "open", NOW + 247_000), live(NOW + 240_000))
    shown.apply(rate("api", "USD", NOW), live(NOW + 240_000))
    shown.apply(invalidation('a"b'), live(NOW + 240_000))
    shown.evaluate(NOW + 241_000)
    shown.evaluate(NOW + 241_000 + 1000)
    prefix, page = "marketdata_ingestion", samples(shown)
    wanted = {
        "rounds_begun_total{api}": 5,
        "rounds_completed_total{api}": 4,
        "rounds_mismatched_total{api}": 1,
        "rounds_overdue_total{api}": 0,
        "rounds_open{api}": 1,
        "oldest_open_round_timestamp_seconds{api}": (NOW + 240_000) / 1000,
        "round_usual_duration_seconds{api}": 2,
        "round_limit_seconds{api}": 3,
        "round_duration_seconds_count{api}": 4,
        "round_duration_seconds_sum{api}": 8,
        "items_announced_total{api}": 300,
        "items_processed_total{api}": 239,
        "source_state{api,partial}": 1,
        "source_state{api,ok}": 0,
        "source_clock_offset_seconds{api}": 7,
        "events_total{new_data_received}": 5,
        "rate_updated_timestamp_seconds{USD}": NOW / 1000,
        'invalidations_total{a"b}': 1,
        "label_overflow_total{source}": 0,
    }
    assert {name: page[f"{prefix}_{name}"] for name in wanted} == wanted


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(begun, st.sampled_from("abcdef"), st.sampled_from("123456")),
    st.builds(completed, st.sampled_from("abcdef"), st.sampled_from("123456")),
    st.builds(rate, st.sampled_from("abcdef"), st.sampled_from(("USD", "EUR", "JPY", "CNY"))),
    st.builds(invalidation, st.text(max_size=80), st.just("rate:*")),
)
ARRIVALS = st.builds(
    lambda record, received, is_live: Arrival(record, received, is_live),
    st.integers(-(10**13), 10**13),
    st.integers(NOW - 10**9, NOW + 10**9),
    st.booleans(),
)


@given(st.lists(st.tuples(EVENTS, ARRIVALS, st.booleans(), st.sampled_from(("", "away"))), max_size=60))
def test_no_order_of_events_and_no_clock_breaks_a_view_or_its_limits(
    steps: list[tuple[Event, Arrival, bool, str]],
) -> None:
    shown = view(ViewLimits(sources=3, rounds=2, currencies=3))
    for event, arrival, is_new, obstacle in steps:
        shown.apply(event, arrival, is_new=is_new)
        shown.evaluate(arrival.received_ms, obstacle)
    assert len(shown.sources) <= 3
    assert len(shown.rates.known) <= 3
    assert all(len(each.rounds.open) <= 2 for each in shown.sources.values())
    assert sum(shown.events.values()) == sum(is_new for _, _, is_new, _ in steps)
    assert len({family.name for family in ingestion_families(shown)}) == len(ingestion_families(shown))
