"""Times without an offset from UTC are read in the zone that a format names, and in no other way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoding.batch import Batch, PartialBatch
from exporter.decoding.formats.formats import Formats
from exporter.decoding.numbers import time_ms
from exporter.model import Rejected
from tests.support.formats import reader, record
from tests.test_explain_formats import explained
from tests.test_format_config import ONE, mistakes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]
FEED = {"region": "global", "exchange": "x", "request_type": "trade"}


def described(zone: str | None, **keys: object) -> dict[str, Any]:
    """A format whose times are in a zone."""
    time = {"field": "at", "unit": "iso8601"} | ({} if zone is None else {"zone": zone})
    row = {"symbol": "s", "timestamp": time | {"field": "ts"}, "price": "p"}
    return {"topics": "t", "feed": FEED, "time": time, "row": row} | keys


@cache
def zoned(zone: str | None, encoding: str = "json", numbers: str = "strict") -> Formats:
    return reader(described(zone, encoding=encoding, numbers=numbers))


def read(formats: Formats, text: object, encoding: str = "json") -> Batch:
    """The batch of a record with that time, of itself and of its row."""
    value = {"s": "A", "at": text, "ts": text, "p": 1.5}
    encoded = json.dumps(value).encode() if encoding == "json" else msgspec.msgpack.encode(value)
    found = formats.read(record(encoded))
    assert found is not None
    return found


def ms(text: str, zone: str) -> int:
    """The Unix milliseconds of a time in a zone."""
    found = read(zoned(zone), text)
    assert int(found.data[0].timestamp or 0) == found.timestamp_ms
    return found.timestamp_ms


def unix(text: str) -> int:
    """The Unix milliseconds of a time with an offset."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "2025-10-09T17:33:33.693", "2025-10-09T17:33:33.693+00:00"),
        ("Asia/Seoul", "2025-10-09T17:33:33.693", "2025-10-09T17:33:33.693+09:00"),
        ("Asia/Seoul", "2025-10-09 17:33:33", "2025-10-09T17:33:33+09:00"),
        ("Asia/Seoul", "2025-10-09t17:33:33,5", "2025-10-09T17:33:33.500+09:00"),
        ("Asia/Seoul", " 2025-10-09 17:33 ", "2025-10-09T17:33:00+09:00"),
        ("Asia/Seoul", "2025-10-09T17:33:33.123456789", "2025-10-09T17:33:33.123+09:00"),
        ("Asia/Seoul", "2025-10-09T17:33:33z", "2025-10-09T17:33:33+00:00"),
        ("Asia/Seoul", "2025-10-09T17:33:33-0330", "2025-10-09T17:33:33-03:30"),
        ("Europe/Berlin", "2025-07-01T12:00:00", "2025-07-01T12:00:00+02:00"),
        ("Europe/Berlin", "2025-12-01T12:00:00", "2025-12-01T12:00:00+01:00"),
        # Clocks are set back from 3 to 2, and forward from 2 to 3.
        ("Europe/Berlin", "2025-10-26T02:30:00", "2025-10-26T02:30:00+02:00"),
        ("Europe/Berlin", "2025-10-26T03:00:00", "2025-10-26T03:00:00+01:00"),
        ("Europe/Berlin", "2025-03-30T02:30:00", "2025-03-30T03:30:00+02:00"),
    ],
)
def test_a_time_without_an_offset_is_in_the_zone(zone: str, text: str, expected: str) -> None:
    assert ms(text, zone) == unix(expected)


MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 29))  # noqa: DTZ001 - in a zone of the test
OFFSETS = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    moment=MOMENTS,
    digits=st.integers(0, 9),
    between=st.sampled_from("T t"),
    point=st.sampled_from(".,"),
    offset=OFFSETS,
    zone=st.sampled_from(ZONES),
    encoding=st.sampled_from(["json", "msgpack"]),
    numbers=st.sampled_from(["strict", "text"]),
)
def test_any_spelling_is_the_same_moment_however_it_is_read(
    moment: datetime,
    digits: int,
    between: str,
    point: str,
    offset: timezone | None,
    zone: str,
    encoding: str,
    numbers: str,
) -> None:
    """At once or with care, an offset wins; what is below a microsecond may be cut or rounded."""
    written = f"{moment.microsecond:06d}789"[:digits]
    text = moment.replace(microsecond=0).isoformat(between) + (f"{point}{written}" if digits else "")
    text += "" if offset is None else moment.replace(tzinfo=offset).isoformat()[-6:]
    exact = moment.replace(microsecond=int(f"{written:0<6}"[:6]), tzinfo=offset or ZoneInfo(zone))
    expected = (exact - EPOCH) / timedelta(milliseconds=1)
    found = read(zoned(zone, encoding, numbers), text, encoding)
    (row,) = found.data
    assert row.timestamp == pytest.approx(expected, abs=1, rel=0)
    assert found.timestamp_ms == pytest.approx(expected, abs=1.001, rel=0)


@given(moment=MOMENTS, zone=st.sampled_from(ZONES))
def test_a_time_that_clocks_in_the_zone_show_once_is_that_moment(moment: datetime, zone: str) -> None:
    """Clocks show the time at the moment that is found, unless they skip it: then less than a day lies between them."""
    found = time_ms(moment.isoformat(), ZoneInfo(zone))
    assert found is not None
    shown = (EPOCH + timedelta(milliseconds=found)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    first, second = (moment.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1))
    assert first is not None
    assert second is not None
    skipped = max(second - first, timedelta(0))
    assert shown - moment == pytest.approx(skipped, abs=timedelta(milliseconds=1))


@pytest.mark.parametrize("numbers", ["strict", "text"])
@pytest.mark.parametrize(
    "value",
    ["2025-10-09", "2025-10-09T17", "20251009T173333", "2025-13-09T17:33:33", "17:33", "1760031213", "", 5, True],
)
def test_what_is_no_such_time_is_not_read_in_a_zone_either(numbers: str, value: object) -> None:
    formats = zoned("Asia/Seoul", "json", numbers)
    with pytest.raises(Rejected, match="Expected `a time`, got "):
        read(formats, value)
    found = formats.read(record({"s": "A", "at": "2025-10-09T17:33:33", "ts": value}))
    assert isinstance(found, PartialBatch)
    assert found.unreadable == {"timestamp": 1}


@pytest.mark.parametrize("numbers", ["strict", "text"])
def test_without_a_zone_such_a_time_is_refused_with_the_key_that_it_needs(numbers: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(zoned(None, "json", numbers), "2025-10-09T17:33:33.693")
    assert caught.value.detail == (
        'Expected `a time with an offset from UTC`, got "2025-10-09T17:33:33.693" - at `$.at`: '
        "without an offset it needs time.zone"
    )
    with pytest.raises(Rejected, match=r"needs time\.unit iso8601 and time\.zone"):
        read(reader(described(None, time="at")), "2025-10-09T17:33:33.693")
    with pytest.raises(Rejected, match=r"`a time with an offset from UTC`, got \"soon\" - at `\$.at`\Z"):
        read(zoned(None, "json", numbers), "soon")


def test_a_time_that_is_null_is_none() -> None:
    found = zoned("UTC").read(record({"s": "A", "at": "2025-10-09T17:33:33", "ts": None}))
    assert found is not None
    assert found.data[0].timestamp is None


ISO = {"field": "T", "unit": "iso8601"}
NAMES = "expected null or an IANA time zone, such as UTC or Asia/Seoul"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"time": ISO | {"zone": "Seoul"}}, f'time.zone: got "Seoul", {NAMES}'),
        ({"time": ISO | {"zone": "+09:00"}}, f'time.zone: got "+09:00", {NAMES}'),
        ({"time": ISO | {"zone": "../UTC"}}, f'time.zone: got "../UTC", {NAMES}'),
        ({"time": ISO | {"zone": 9}}, 'time.zone: got "9", '),
        ({"time": {"field": "T", "zone": "UTC"}}, "time.zone: goes with unit iso8601, got unit ms"),
        ({"time": {"kafka": True, "unit": "iso8601", "zone": "UTC"}}, "time.zone: goes with a field"),
        (
            {"row": {"symbol": "s", "timestamp": {"field": "T", "unit": "us", "zone": "UTC"}}},
            "row.timestamp.zone: goes with unit iso8601, got unit us",
        ),
        ({"row": {"symbol": "s", "timestamp": ISO | {"zone": "KTS"}}}, f'row.timestamp.zone: got "KTS", {NAMES}'),
        ({"row": {"symbol": "s", "price": {"field": "p", "zone": "UTC"}}}, "row.price.zone: unknown key"),
        (
            {"time": ISO | {"zone": "UTC"}, "row": {"symbol": "s", "timestamp": ISO}},
            'row.timestamp.field: got "T", which time.field reads as a time in UTC',
        ),
    ],
)
def test_a_mistake_in_a_zone_is_told_with_its_path(change: dict[str, Any], expected: str) -> None:
    found = mistakes(ONE | change)
    assert any(one.startswith(f"input.formats[0].{expected}") for one in found), found


LOCAL = "2025-10-09 17:33:33.693"


def test_explain_proposes_the_zone_of_times_that_need_one() -> None:
    text = explained(described(None), {"s": "A", "at": LOCAL, "ts": LOCAL})
    assert f'No offset from UTC: at "{LOCAL}", ts "{LOCAL}". In the format' in text
    assert '\n    time: {field: "at", unit: iso8601, zone: UTC}' in text
    assert text.endswith('\n    row: {timestamp: {field: "ts", unit: iso8601, zone: UTC}}')


def test_explain_proposes_no_zone_where_there_is_one_or_an_offset() -> None:
    assert "No offset" not in explained(described("UTC"), {"s": "A", "at": LOCAL, "ts": LOCAL})
    assert "No offset" not in explained(described("UTC"), {"at": LOCAL, "ts": LOCAL})
    assert "No offset" not in explained(described(None), {"s": "A", "at": f"{LOCAL}Z", "ts": f"{LOCAL}+09:00"})
