"""The view *Risk* in a real browser: figures of the evaluation, marks of what is broken, both languages, any width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from exporter.app import App
from exporter.config.loader import load
from exporter.risk import Unconfirmed
from tests.support.browser import NARROW, PATIENCE_MS, Window, chromium
from tests.support.risk import broken, evaluated

Open = Callable[..., Window]
# The view asks again after a tenth of a second rather than after five.
HASTY = "const slow = setInterval; window.setInterval = (work, ms) => slow(work, Math.min(ms, 100));"
SETTINGS = {
    "web.listen_address": "127.0.0.1:0",
    "risk.enabled": True,
    "risk.positions.file": "/nonexistent",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


def serving(settings: dict[str, object]) -> Iterator[App]:
    app = App(load(None, {}, settings, hostname="box", read_file=str))
    app.port = app._web.start()
    try:
        yield app
    finally:
        app._web.stop()
        app.loop.publisher.close(1.0)


@pytest.fixture(scope="module")
def sidecar() -> Iterator[App]:
    """One that has evaluated a portfolio, and never met Kafka."""
    yield from serving(SETTINGS)


@pytest.fixture(scope="module")
def without() -> Iterator[App]:
    """One that evaluates nothing."""
    yield from serving({"web.listen_address": "127.0.0.1:0"})


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens windows, none of which may complain about anything, such as the content security policy."""
    windows: list[Window] = []

    def open_window(app: App, **options: Any) -> Window:
        windows.append(Window(browser, app.port, **options))
        return windows[-1].open("/risk")

    yield open_window
    for window in windows:
        window.__exit__()
        assert window.complaints == []


@pytest.mark.parametrize("options", [{}, {"viewport": NARROW}, {"color_scheme": "dark", "locale": "ko-KR"}])
def test_the_figures_are_those_of_the_evaluation(opened: Open, sidecar: App, options: dict[str, Any]) -> None:
    assert sidecar.risk is not None
    sidecar.risk.snapshot = snapshot = evaluated()
    window = opened(sidecar, **options)
    view = snapshot.portfolios["main"]
    assert view.risk.value.value is not None
    expect(window.find(".risk-portfolio dd").first).to_have_text(f"{view.risk.value.value:,.0f}")
    expect(window.find(".risk-portfolio h2")).to_have_text("main")
    expect(window.find(".risk-portfolio tbody tr")).to_have_count(4 + len(view.scenarios))
    expect(window.find(".mark-fine")).to_be_visible()
    assert window.overflows() <= 0
    assert window.barriers() == []


def test_what_is_broken_is_marked_and_what_is_unknown_has_its_reason(opened: Open, sidecar: App) -> None:
    assert sidecar.risk is not None
    sidecar.risk.snapshot = broken()
    window = opened(sidecar)
    expect(window.find(".mark-over").first).to_have_text("emergency stop 1: safety:drawdown")
    expect(window.find(".mark-over")).to_have_count(3)
    expect(window.find(".risk-portfolio .risk-words")).to_contain_text("no program reports it")
    assert window.barriers() == []


def test_new_figures_take_neither_the_focus_nor_the_place_of_a_reader(opened: Open, sidecar: App) -> None:
    assert sidecar.risk is not None
    sidecar.risk.snapshot = evaluated()
    window = opened(sidecar, script=HASTY, viewport=NARROW)
    tables = window.find(".risk-portfolio .wide").last
    tables.focus()
    sidecar.risk.snapshot = broken()
    expect(window.find(".mark-over")).to_have_count(3)
    expect(tables).to_be_focused()


@pytest.mark.parametrize("options", [{}, {"viewport": NARROW, "color_scheme": "dark", "locale": "ko-KR"}])
def test_names_of_any_length_fit_and_prices_that_do_not_count_yet_are_named(
    opened: Open, sidecar: App, options: dict[str, Any]
) -> None:
    assert sidecar.risk is not None
    snapshot = evaluated()
    names = {"main": snapshot.portfolios["main"], "p" * 64: broken().portfolios["main"]}
    held = {"A": Unconfirmed(1_000_000.0, snapshot.time_ms, 100.0)}
    sidecar.risk.snapshot = snapshot._replace(portfolios=names, unconfirmed=held)
    window = opened(sidecar, **options)
    expect(window.find(".risk-held")).to_contain_text("A 1,000,000")
    expect(window.find(".risk-portfolio")).to_have_count(2)
    assert window.overflows() <= 0
    assert window.barriers() == []


def test_the_view_is_in_the_head_and_without_risk_it_tells_how_to_switch_it_on(
    opened: Open, sidecar: App, without: App
) -> None:
    window = opened(without)
    expect(window.find(".example")).to_contain_text("risk: {enabled: true")
    expect(window.find(".views a")).to_have_count(2)
