"""Planned silence: what the calendar says equals what clocks on the wall say, minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import CalendarRule
from exporter.config.windows import Weekly, once, weekly, window, zone
from exporter.feeds.calendar import Calendar, Plan, Schedule
from exporter.model import FeedKey

FEED = FeedKey("korea", "krx", "ticker")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Northern and southern, half-hour offsets and half-hour savings, and none at all.
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Seoul", "America/Santiago")


def ms(text: str, name: str = "UTC", fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(name), fold=fold).timestamp() * 1000)


def at(rule: CalendarRule, text: str, fold: int = 0) -> str | None:
    """What is planned when clocks in the zone of the rule show the time."""
    return Calendar([rule]).of(FEED).at(ms(text, rule.timezone, fold)).reason


def maintained(*windows: str, timezone: str = "Asia/Seoul") -> CalendarRule:
    return CalendarRule(feeds=("korea:*",), timezone=timezone, maintenance=windows)


def opened(*hours: str, timezone: str = "Asia/Seoul") -> CalendarRule:
    return CalendarRule(feeds=("korea:*",), timezone=timezone, open=hours)


# Notation.


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [("09:00-15:30", range(7), 540, 930), ("mon-fri 09:00-15:30", range(5), 540, 930),
     ("sun 22:00-02:00", [6], 1320, 1560), ("sat-mon 00:00-24:00", [0, 5, 6], 0, 1440),
     ("Mon,WED,fri-sat 23:00-00:00", [0, 2, 4, 5], 1380, 1440)],
)  # fmt: skip
def test_windows_that_recur_are_days_and_hours(text: str, days: list[int], start: int, end: int) -> None:
    assert weekly(text) == window(text) == Weekly(frozenset(days), start, end)


@pytest.mark.parametrize("text", ["2026-12-24/2026-12-26", "2026-12-24T00:00/2026-12-26T00:00"])
def test_windows_that_come_once_are_two_times(text: str) -> None:
    assert window(text) == once(text) == (datetime(2026, 12, 24), datetime(2026, 12, 26))  # noqa: DTZ001  local time


@pytest.mark.parametrize("name", ["", "Asia", "../UTC", "/etc/localtime", "Asia/Nowhere", "A\0", "Ä", "a" * 5000])
def test_a_name_that_is_no_time_zone_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="no such time zone"):
        zone(name)


# What is planned.


def test_maintenance_is_from_its_beginning_until_before_its_end() -> None:
    rule = maintained("sun 02:00-06:00")
    told = "maintenance sun 02:00-06:00 (Asia/Seoul)"
    assert [at(rule, f"2025-10-12T{time}") for time in ("01:59:59", "02:00", "05:59:59", "06:00")] == [
        None, told, told, None
    ]  # fmt: skip
    assert at(rule, "2025-10-13T03:00") is None


def test_a_market_is_closed_outside_of_all_of_its_hours() -> None:
    rule = opened("mon-fri 09:00-11:30", "mon-fri 12:30-15:30")
    told = "closed, open mon-fri 09:00-11:30, mon-fri 12:30-15:30 (Asia/Seoul)"
    assert [at(rule, f"2025-10-10T{time}") for time in ("08:59", "09:00", "12:00", "15:29", "15:30")] == [
        told, None, told, None, told
    ]  # fmt: skip
    assert at(rule, "2025-10-11T10:00") == told


def test_all_rules_that_match_count_and_no_other() -> None:
    rules = [maintained("00:00-06:00", timezone="UTC"), opened("05:00-20:00", timezone="UTC")]
    calendar = Calendar([*rules, CalendarRule(feeds=("asia:*",), maintenance=("00:00-24:00",))])
    planned = [calendar.of(FEED).at(ms(f"2025-10-10T{hour:02}:00")).reason is not None for hour in range(24)]
    assert planned == [hour < 6 or hour >= 20 for hour in range(24)]
    assert calendar.of(FEED) is calendar.of(FEED._replace(exchange="upbit"))
    assert calendar.of(FeedKey("us", "a", "b")).at(ms("2025-10-10T00:00")).reason is None


def test_a_plan_knows_since_when_it_holds() -> None:
    schedule = Schedule([opened("mon-fri 09:00-15:30"), maintained("2025-10-10T15:00/2025-10-10T16:00")])
    thursday, friday, monday = (f"2025-10-{day:02}T" for day in (9, 10, 13))

    def since(text: str) -> int:
        return schedule.at(ms(text, "Asia/Seoul")).since_ms

    assert since(f"{friday}08:00") == ms(f"{thursday}15:30", "Asia/Seoul")
    assert since(f"{friday}10:00") == ms(f"{friday}09:00", "Asia/Seoul")
    assert since(f"{monday}08:00") == ms(f"{friday}15:00", "Asia/Seoul")


def test_without_rules_nothing_is_planned() -> None:
    assert Calendar([]).of(FEED).at(ms("2025-10-10T00:00")) == Plan(None, 0)


def test_a_window_that_came_once_long_ago_still_tells_since_when_it_holds() -> None:
    rule = maintained("2025-01-01/2026-01-01", timezone="UTC")
    assert Calendar([rule]).of(FEED).at(ms("2025-10-10T00:00")).since_ms == ms("2025-01-01T00:00")
    assert Calendar([rule]).of(FEED).at(ms("2026-03-10T00:00")) == Plan(None, ms("2026-01-01T00:00"))


# Daylight saving. In Berlin clocks jump from 02:00 to 03:00 on 2026-03-29, and back from 03:00 to 02:00 on 2025-10-26.


def test_a_window_begins_with_the_jump_when_its_beginning_is_skipped() -> None:
    rule = maintained("02:30-06:00", timezone="Europe/Berlin")
    assert at(rule, "2026-03-29T01:59") is None
    assert at(rule, "2026-03-29T03:00") is not None


def test_a_window_that_is_skipped_does_not_come() -> None:
    schedule = Schedule([maintained("02:15-02:45", timezone="Europe/Berlin")])
    night = range(ms("2026-03-29T00:00", "Europe/Berlin"), ms("2026-03-29T06:00", "Europe/Berlin"), 60_000)
    assert {schedule.at(now_ms).reason for now_ms in night} == {None}


def test_a_window_lasts_through_the_hour_that_comes_twice() -> None:
    schedule = Schedule([maintained("02:15-02:45", timezone="Europe/Berlin")])
    first, last = (ms(f"2025-10-26T{time}", "Europe/Berlin", fold) for time, fold in (("02:15", 0), ("02:45", 1)))
    assert last - first == 90 * 60_000
    assert [schedule.at(t).reason is not None for t in (first - 1, first, last - 1, last)] == [False, True, True, False]


def test_a_window_that_ends_where_the_hour_that_comes_twice_begins_ends_when_that_comes_first() -> None:
    schedule = Schedule([maintained("01:00-02:00", timezone="Europe/Berlin")])
    end = ms("2025-10-26T02:00", "Europe/Berlin", 0)
    assert [schedule.at(t).reason is not None for t in (end - 1, end, end + 3_599_999)] == [True, False, False]


def test_times_with_an_offset_of_their_own_do_not_care_about_the_zone() -> None:
    rule = maintained("2025-10-26T00:30Z/2025-10-26T03:30+02:00", timezone="Europe/Berlin")
    start, end = ms("2025-10-26T00:30"), ms("2025-10-26T01:30")
    schedule = Schedule([rule])
    assert [schedule.at(t).reason is not None for t in (start - 1, start, end - 1, end)] == [False, True, True, False]


TIMES = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
RECURRING = st.builds(
    lambda days, times: f"{','.join(days)} {times[0]}-{times[1]}",
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=3),
    st.tuples(TIMES, TIMES).filter(lambda times: times[0] != times[1]),
)
LOCAL = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda t: t.replace(second=0, microsecond=0))  # noqa: DTZ001


def naive(text: str, name: str, minutes: list[tuple[int, datetime]]) -> list[bool]:
    """Which of the minutes (Unix milliseconds, local time) lie in the window, by looking at the clock at each."""
    window = weekly(text)
    inside = [False] * len(minutes)
    for day in sorted({local.date() for _, local in minutes}):
        if day.weekday() not in window.days:
            continue
        midnight = datetime.combine(day, datetime.min.time())
        start, end = (midnight + timedelta(minutes=minute) for minute in (window.start, window.end))
        first = next((number for number, (_, local) in enumerate(minutes) if local >= start), len(minutes))
        last = max((number for number, (_, local) in enumerate(minutes) if local < end), default=-1)
        inside[first : last + 1] = [True] * (last + 1 - first)
    return inside


@given(name=st.sampled_from(ZONES), text=RECURRING, around=LOCAL, is_change=st.booleans())
def test_every_minute_is_planned_as_clocks_show_it(name: str, text: str, around: datetime, is_change: bool) -> None:
    """`is_change`: around a day on which clocks change in that zone, if there are any."""
    middle = round(around.replace(tzinfo=UTC).timestamp())
    if is_change:
        middle = next_change(middle, name)
    times = [middle - middle % 60 + 60 * minute for minute in range(-4 * 1440, 2 * 1440)]
    minutes = [(time * 1000, datetime.fromtimestamp(time, ZoneInfo(name)).replace(tzinfo=None)) for time in times]
    expected = naive(text, name, minutes)
    schedules = Schedule([maintained(text, timezone=name)]), Schedule([opened(text, timezone=name)])
    # The first days are there for windows that began before the days that are looked at.
    for number in range(2 * 1440, len(minutes) - 1440, 3):
        now_ms = minutes[number][0]
        assert (schedules[0].at(now_ms).reason is not None) is expected[number]
        assert (schedules[1].at(now_ms).reason is None) is expected[number]


def next_change(seconds: int, name: str) -> int:
    """The first hour after the moment at which the offset of the zone is another; the moment if there is none."""
    local = ZoneInfo(name)
    hours = range(seconds, seconds + 365 * 86_400, 3600)
    before = datetime.fromtimestamp(seconds, local).utcoffset()
    return next((hour for hour in hours if datetime.fromtimestamp(hour, local).utcoffset() != before), seconds)


@given(
    texts=st.lists(RECURRING, min_size=1, max_size=3),
    name=st.sampled_from(ZONES),
    times=st.lists(LOCAL, min_size=1, max_size=20),
)
def test_what_is_asked_before_changes_no_answer(texts: list[str], name: str, times: list[datetime]) -> None:
    """The plan that is kept until the next border is the one that is worked out anew."""
    rule = opened(*texts, timezone=name)
    schedule = Schedule([rule])
    for time in times:
        now_ms = round(time.replace(tzinfo=UTC).timestamp() * 1000)
        assert schedule.at(now_ms) == Schedule([rule]).at(now_ms)
