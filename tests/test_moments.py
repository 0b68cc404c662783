"""Times as arguments of commands."""

from argparse import ArgumentTypeError

import pytest

from exporter.tools.moments import timestamp_ms

NINE_MS = 1_795_856_400_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28T09:00", "2026-11-28T09:00:00", "2026-11-28T09:00:00Z", "2026-11-28T09:00:00.000+00:00",
        "2026-11-28T18:00+09:00", "2026-11-28 09:00", "20261128T090000Z", str(NINE_MS),
    ],
)  # fmt: skip
def test_a_time_has_many_spellings(text: str) -> None:
    assert timestamp_ms(text) == NINE_MS


@pytest.mark.parametrize(
    "text", ["yesterday", "", "-5", "2026-13-01", "09:00", "1.5", "1795856400", "2026-11-28T09:00 KST"]
)
def test_another_text_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected ISO 8601"):
        timestamp_ms(text)


def test_a_number_of_seconds_is_not_taken_for_milliseconds() -> None:
    with pytest.raises(ArgumentTypeError, match="looks like seconds"):
        timestamp_ms(str(NINE_MS // 1000))
    assert timestamp_ms("0") == 0
