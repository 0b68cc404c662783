"""Numbers and times are read however collectors write them, and nothing else is taken for one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoding.numbers import exact, number, stamp, whole

ANY_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
ANY_VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(value=ANY_FLOAT, sign=st.sampled_from(["", "+"]), blanks=st.sampled_from(["", " ", "\t", "\n "]))
def test_a_number_as_text_is_the_number(value: float, sign: str, blanks: str) -> None:
    """As `repr` writes it, with a sign, in capitals, with blanks around it."""
    text = sign + repr(value) if value >= 0 and math.copysign(1, value) > 0 else repr(value)
    for written in (text, text.upper(), f"{blanks}{text}{blanks}", f"{Decimal(value):f}"):
        assert number(written) == value


@given(value=st.integers(-(10**20), 10**20), decimals=st.integers(0, 10**6))
def test_commas_between_groups_of_three_digits_are_passed_over(value: int, decimals: int) -> None:
    assert exact(f"{value:,}") == value
    assert number(f"{value:,}.{decimals}") == float(f"{value}.{decimals}")


@given(value=st.text(st.sampled_from("0123456789.,+-eE _'xnaif\u00a0\u0661"), max_size=12) | st.text(max_size=8))
def test_any_text_is_read_as_msgspec_does_or_refused_or_spelled_as_the_table_says(value: str) -> None:
    """What msgspec takes for a finite number is the same here; what it does not has a form of ours, or none."""
    try:
        usual = msgspec.convert(value, float | None, strict=False)
    except msgspec.ValidationError:
        usual = math.nan
    try:
        read = number(value)
    except ValueError:
        assert usual is not None
        assert not math.isfinite(usual)
        return
    if usual is None or math.isfinite(usual):
        assert read == usual
    else:
        assert read is not None
        assert read == float(value.strip().replace(",", ""))
        assert "_" not in value


@given(value=ANY_VALUE)
def test_any_value_is_a_finite_number_or_none_or_refused(value: object) -> None:
    for read in (number, stamp, exact, whole):
        try:
            result = read(value)
        except ValueError:
            continue
        assert result is None or math.isfinite(result)
        assert type(result) in (int, float, type(None))


@pytest.mark.parametrize("read", [number, stamp, exact])
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("Infinity"),
        "nan",
        "-Infinity",
        True,
        False,
        b"1",
        [],
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(value: object, read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="not "):
        read(value)


def test_whole_numbers_stay_whole_however_large() -> None:
    assert exact(10**400) == exact("1" + "0" * 400) == 10**400
    assert type(exact("5")) is int
    assert number(Decimal("0.1")) == 0.1
    for beyond in (10**400, "1" + "0" * 400, "1e400", "9" * 5000):
        with pytest.raises(ValueError, match=r"double|not finite|limit"):
            number(beyond)


MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))  # noqa: DTZ001 - the zone is drawn apart
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moment=MOMENTS, offset=OFFSETS, between=st.sampled_from("T t"), blanks=st.sampled_from(["", " "]))
def test_an_iso_time_with_an_offset_is_unix_milliseconds(
    moment: datetime, offset: timezone, between: str, blanks: str
) -> None:
    """Cut to the millisecond that it falls into."""
    aware = moment.replace(tzinfo=offset)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    text = aware.isoformat(between)
    assert stamp(f"{blanks}{text}{blanks}") == whole(text) == expected
    assert stamp(text.replace(".", ",")) == expected
    utc = moment.replace(tzinfo=UTC).isoformat(between).replace("+00:00", "Z")
    assert stamp(utc) == stamp(utc.lower()) == stamp(utc.replace("Z", "+0000")) == stamp(utc.replace("Z", "-00"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28T17:28:58",
        "2026-11-28",
        "17:28:58Z",
        "2026-11-28T17Z",
        "20261128T172858Z",
        "2026-W48-6T17:28:58Z",
        "2026-13-28T17:28:58Z",
        "2026-11-28T25:28:58Z",
        "2026-11-28T17:28:60Z",
        "2026-11-28T17:28:58+25:00",
        "2026-11-28T17:28:58.Z",
        "Sat, 28 Nov 2026 17:28:58 GMT",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """Without an offset a time may be half a day off."""
    with pytest.raises(ValueError, match=r"not a number|must be|Invalid|range|offset"):
        stamp(text)


@pytest.mark.parametrize("value", [1.0, "1.0", "1e0", "+1", 1, "1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.0019Z"])
def test_a_whole_number_may_be_written_as_a_fraction(value: object) -> None:
    assert whole(value) == 1
    assert type(whole(value)) is int


@pytest.mark.parametrize("value", [None, "null", 1.5, "1.5", "1e-1", math.nan, True, ""])
def test_a_fraction_is_no_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="not "):
        whole(value)
