"""Planned silence of feeds: maintenance windows and market hours, in local time.

Where clocks change, a window begins when the clock first shows its beginning or more, and ends when the clock last
showed less than its end: a time that occurs twice belongs to the window both times, and so does the time between them;
a time that is skipped stands for the moment of the jump.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from exporter.config.feed_globs import matches
from exporter.config.windows import Once, Weekly, weekly, window, zone

if TYPE_CHECKING:
    from exporter.config.schema import CalendarRule
    from exporter.model import FeedKey

# A window that recurs does so within a week, and it may have begun the day before.
_HORIZON_DAYS = 8
_DAY_MS = 86_400_000


class Plan(NamedTuple):
    """The plan at a time: the reason to be silent, None when the feed is expected to send.

    `since_ms` is its beginning in Unix milliseconds; 0: longer ago than a week, or always.
    """

    reason: str | None
    since_ms: int


class _Span(NamedTuple):
    start_ms: int
    end_ms: int
    reason: str


class Calendar:
    """The planned silence of all feeds. Feeds to which the same rules apply share one schedule."""

    def __init__(self, rules: Sequence[CalendarRule]) -> None:
        self._rules = tuple(rules)
        self._schedules: dict[tuple[int, ...], Schedule] = {}

    def of(self, feed: FeedKey) -> Schedule:
        """Return the schedule of a feed, which remains valid."""
        matching = tuple(number for number, rule in enumerate(self._rules) if matches(rule.feeds, feed))
        if matching not in self._schedules:
            self._schedules[matching] = Schedule([self._rules[number] for number in matching])
        return self._schedules[matching]


class Schedule:
    """The plan by some rules. A feed may be silent when one of the rules allows it."""

    def __init__(self, rules: Sequence[CalendarRule]) -> None:
        self._rules = [_Rule(rule) for rule in rules]
        self._plan = Plan(None, 0)
        self._from_ms = self._until_ms = 0  # the plan is valid from border to border

    def at(self, now_ms: int) -> Plan:
        """Return the present plan; it is computed again only when a border was passed."""
        if not self._from_ms <= now_ms < self._until_ms:
            self._find(now_ms)
        return self._plan

    def _find(self, now_ms: int) -> None:
        days = [_Day(rule, now_ms) for rule in self._rules]
        borders = sorted({border for day in days for border in day.borders()})
        past = [border for border in borders if border <= now_ms]
        reason = _reason(days, now_ms)
        self._from_ms = past[-1] if past else now_ms
        self._until_ms = min((border for border in borders if border > now_ms), default=now_ms + _DAY_MS)
        since = (border for border in reversed(past) if (_reason(days, border - 1) is None) != (reason is None))
        self._plan = Plan(reason, next(since, 0))


class _Rule:
    """One rule of the configuration, parsed."""

    def __init__(self, rule: CalendarRule) -> None:
        self.zone = zone(rule.timezone)
        self.maintenance = [(window(text), f"maintenance {text} ({rule.timezone})") for text in rule.maintenance]
        self.open = [(weekly(text), "") for text in rule.open]
        self.closed = f"closed, open {', '.join(rule.open)} ({rule.timezone})"


class _Day:
    """The windows of one rule around a time."""

    def __init__(self, rule: _Rule, now_ms: int) -> None:
        self._closed = rule.closed if rule.open else None
        self._maintenance = list(_spans(rule.maintenance, rule.zone, now_ms))
        self._open = list(_spans(rule.open, rule.zone, now_ms))

    def borders(self) -> Iterator[int]:
        for span in (*self._maintenance, *self._open):
            yield from (span.start_ms, span.end_ms)

    def reason(self, now_ms: int) -> str | None:
        for span in self._maintenance:
            if span.start_ms <= now_ms < span.end_ms:
                return span.reason
        return None if any(span.start_ms <= now_ms < span.end_ms for span in self._open) else self._closed


def _reason(days: Sequence[_Day], now_ms: int) -> str | None:
    return next((reason for day in days if (reason := day.reason(now_ms)) is not None), None)


def _spans(windows: Sequence[tuple[Weekly | Once, str]], zone: ZoneInfo, now_ms: int) -> Iterator[_Span]:
    today = datetime.fromtimestamp(now_ms // 1000, zone).replace(hour=0, minute=0, second=0, tzinfo=None)
    days = [today + timedelta(days=offset) for offset in range(-_HORIZON_DAYS, _HORIZON_DAYS + 1)]
    for what, reason in windows:
        if isinstance(what, Once):
            yield _span(what.start, what.end, zone, reason)
            continue
        for day in days:
            if day.weekday() in what.days:
                yield _span(day + timedelta(minutes=what.start), day + timedelta(minutes=what.end), zone, reason)


def _span(start: datetime, end: datetime, zone: ZoneInfo, reason: str) -> _Span:
    return _Span(_instants(start, zone)[0] * 1000, _end(end, zone) * 1000, reason)


def _end(time: datetime, zone: ZoneInfo) -> int:
    """Return the moment from which on clocks in the zone never show less than the time, in Unix seconds."""
    first, last = _instants(time, zone)
    # Clocks that are set back to the very time do not show less than it once more.
    return first if _offset(last - 1, zone) != _offset(last, zone) else last


def _instants(time: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Return the first and the last moment at which clocks in the zone show the time, in Unix seconds."""
    if time.tzinfo is not None:
        return int(time.timestamp()), int(time.timestamp())
    first, second = (int(time.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if first <= second:
        return first, second
    jump = _jump(second, first, zone)
    return jump, jump


def _jump(before: int, after: int, zone: ZoneInfo) -> int:
    """Return the moment between the two at which clocks jump, in Unix seconds."""
    old = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after


def _offset(seconds: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset()
