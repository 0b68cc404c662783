"""Answers to requests, and how those that take time are made in a worker thread, once for all who ask together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from traceback import extract_tb
from typing import NamedTuple
from zlib import compressobj

from exporter.metrics.exposition import Format

TEXT = "text/plain; charset=utf-8"
GZIP_LEVEL = 2
GZIP_BYTES_MIN = 1024
GZIP_WINDOW = 31
PAGES_MAX = 32
PAGE_REUSE_SECONDS = 0.1

# All of this is part of the server, and users look for its log under that name.
log = logging.getLogger("exporter.web")


class Answer(NamedTuple):
    """What goes back for a request."""

    body: bytes
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = {}

    def gzipped(self) -> Answer:
        """The same, smaller; what is small already stays."""
        if len(self.body) < GZIP_BYTES_MIN:
            return self
        packer = compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW)
        body = packer.compress(self.body) + packer.flush()
        return self._replace(body=body, headers={**self.headers, "Content-Encoding": "gzip"})


class Selection(NamedTuple):
    """What distinguishes one page of metrics from another."""

    format: Format
    names: tuple[str, ...]
    is_gzipped: bool


def answered(path: str, make: Callable[[], Answer], is_gzipped: bool = False) -> Answer:
    """The answer that `make` makes, or, when it fails, the one of `failed`."""
    try:
        answer = make()
        return answer.gzipped() if is_gzipped else answer
    except Exception as error:
        return failed(path, error)


def failed(path: str, error: Exception) -> Answer:
    """An answer that says no more than that it failed; the log says what and where."""
    # The message is left out: it may quote what must not be in a log.
    place = extract_tb(error.__traceback__)[-1]
    log.error("%s failed: %s in %s, line %s", path, type(error).__name__, place.filename, place.lineno)
    return Answer(b"internal error, see the log\n", status=500)


class Scrapes:
    """Pages of metrics, each made once for all who ask for it at the same time; belongs to the loop's thread."""

    def __init__(self, path: str, make: Callable[[Selection], Answer]) -> None:
        self._path = path
        self._make = make
        self._worker = ThreadPoolExecutor(1, "web-scrape")
        self._pages: dict[Selection, asyncio.Task[Answer]] = {}
        # Of pages with chosen names one at a time is made: a scrape of everything waits for one of them at most.
        self._turn = asyncio.Semaphore(1)

    async def page(self, selection: Selection) -> Answer:
        """A page that is being made or was ready less than `PAGE_REUSE_SECONDS` ago, or a new one."""
        making = self._pages.get(selection)
        if making is None:
            if selection.names and len(self._pages) >= PAGES_MAX:
                return Answer(b"too many different selections at once\n", status=503)
            making = self._pages[selection] = asyncio.create_task(self._page(selection))
        return await asyncio.shield(making)

    async def _page(self, selection: Selection) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            async with self._turn if selection.names else nullcontext():
                make = partial(self._make, selection)
                answer = await loop.run_in_executor(self._worker, answered, self._path, make, selection.is_gzipped)
        except BaseException:
            del self._pages[selection]
            raise
        loop.call_later(PAGE_REUSE_SECONDS if answer.status == 200 else 0, self._pages.pop, selection)
        return answer

    def close(self) -> None:
        """Begin nothing more; what is being made is made for nobody."""
        for making in self._pages.values():
            making.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)
