"""The page says what the values say, in a form that people can read."""

import pytest

from exporter.model import Status
from exporter.web.page import ROWS_MAX, page
from tests.support.queries import FEED

TEMPLATE = "$version|$links|$states|$count|$rows"


def parts(states: dict[str, Status] | None = None, feeds: list[dict[str, object]] | None = None) -> list[str]:
    """What stands in the places of the template."""
    return page(TEMPLATE, "1.2.3", ["/metrics"], states or {}, feeds or []).split("|")


def test_a_feed_is_a_row_of_readable_figures() -> None:
    """Large numbers are grouped, and moments are in UTC."""
    *_, row = parts(feeds=[FEED])
    figures = "<td>1,234<td>24,680<td>20<td>16<td>0.0625<td>2025-10-09 17:33:33</tr>"
    assert row == f'<tr><td>korea:upbit:ticker<td class="feed ok" title=""><b>ok</b>{figures}'


def test_a_feed_says_why_it_is_not_ok() -> None:
    """Under its state, and whole in the tooltip."""
    *_, row = parts(feeds=[{**FEED, "state": "silent", "reasons": ["no batch for 9.0 s", 'the limit is <"5">']}])
    reasons = "no batch for 9.0 s; the limit is &lt;&quot;5&quot;&gt;"
    assert f'<td class="feed silent" title="{reasons}"><b>silent</b><small>{reasons}</small><td>' in row


@pytest.mark.parametrize("stamp", [None, 10**30, -(10**18), float("nan"), "soon"])
def test_what_is_unknown_is_a_dash(stamp: object) -> None:
    """Absent figures, and moments beyond the calendar."""
    *_, row = parts(feeds=[{"region": "a", "exchange": "b", "request_type": "c", "last_received_ms": stamp}])
    assert row == "<tr><td>a:b:c" + "<td>\N{EN DASH}" * 7 + "</tr>"


def test_a_state_that_does_not_hold_says_why() -> None:
    """The reasons are a list."""
    states = parts({"ready": Status(False, ("a < b", "c")), "healthy": Status(True)})[2]
    assert states.splitlines() == [
        '<div class="state"><b>not ready</b><ul><li>a &lt; b<li>c</ul></div>',
        '<div class="state ok"><b>healthy</b></div>',
    ]


def test_a_state_that_holds_may_come_with_warnings() -> None:
    """They are told from reasons."""
    (line,) = parts({"ready": Status(True, (), ("a < b",))})[2].splitlines()
    assert line == '<div class="state ok"><b>ready</b><ul><li class="warning">a &lt; b</ul></div>'


def test_a_long_list_is_cut_and_says_so() -> None:
    """The page stays readable; the rest is in the JSON."""
    *_, count, rows = parts(feeds=[FEED] * (ROWS_MAX + 1))
    assert count == "1,000 of 1,001"
    assert len(rows.splitlines()) == ROWS_MAX


def test_no_feeds_are_said_to_be_none() -> None:
    """An empty table would look like a fault."""
    *_, count, rows = parts()
    assert count == "0"
    assert "none yet" in rows
