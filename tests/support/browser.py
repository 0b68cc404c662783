"""The live page in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Self

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from tests.support.missing import program

WIDE = {"width": 1300, "height": 900}
NARROW = {"width": 360, "height": 740}
# A busy machine is no reason to give up.
PATIENCE_MS = 20_000
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
GRAVE = ("serious", "critical")
# Browsers without a worker for all tabs, or which cannot run it: each tab has a stream, within reach of a test.
NO_WORKER = "delete window.SharedWorker"
BAD_WORKER = """const Worker = SharedWorker;
window.SharedWorker = class { constructor() { return new Worker("/static/none.js"); } };"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Meanwhile this thread has a running event loop, so no test may last longer than its file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A window of a reader who has never been here, in which `script` runs before those of the page.

    `options` are those of Playwright's `new_context`.
    """

    def __init__(self, browser: Browser, port: int, script: str = "", **options: Any) -> None:
        given: dict[str, Any] = {"viewport": WIDE, "locale": "en-US", "color_scheme": "light"} | options
        self._context = browser.new_context(base_url=f"http://127.0.0.1:{port}", **given)
        self._context.set_default_timeout(PATIENCE_MS)
        self._context.add_init_script(script)
        self.complaints: list[str] = []
        self.page = self.tab()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def tab(self) -> Page:
        """Another tab, in which nothing is open yet."""
        page = self._context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def open(self, path: str) -> Self:
        """Open a path, and wait until the page shows what the sidecar has sent."""
        self.page.goto(path)
        self.page.locator(".connection.live").wait_for()
        return self

    def find(self, selector: str) -> Locator:
        """The elements of a selector."""
        return self.page.locator(selector)

    def text(self, selector: str) -> str:
        """The text of the only element of a selector."""
        return self.find(selector).inner_text()

    def row(self, name: str) -> Locator:
        """The row of a feed in the table."""
        return self.find(".rows .row").filter(has=self.page.locator(f'a[title="{name}"]'))

    def overflows(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def barriers(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("() => axe.run({ resultTypes: ['violations'] })")["violations"]
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
