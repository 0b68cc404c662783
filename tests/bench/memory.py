"""Memory with 1,000 feeds and 100,000 symbols, at a steady pace and catching up, and over a long time at the limits."""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import linear_regression

from tests.bench.bench import MESSAGES_PER_SECOND, SCRAPE_SECONDS, Bench, Subject, every
from tests.bench.collectors import Collectors
from tests.bench.figures import Case, Cases
from tests.bench.load import Sent, Shape, live, renamed
from tests.bench.process import memory
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

MANY = Shape(feeds=1000, symbols=100)
SMALL = Shape(feeds=200, symbols=500)
LIMITS = {"input.limits": {"feeds": SMALL.feeds, "symbols_per_feed": SMALL.symbols}}
BATCHES_PER_SECOND = MESSAGES_PER_SECOND / MANY.messages
# When each symbol of each feed has been sent once.
KNOWN = SMALL.feeds * SMALL.symbols // SMALL.messages
KNOWN_SECONDS = KNOWN / BATCHES_PER_SECOND
# One batch in so many has a new symbol, one a new feed.
NEW = 10
READ_SECONDS = 300.0
TOLD_SECONDS = 60.0


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure at a steady pace, at first unobserved and then scraped, and catching up."""
    return {**_steady(bench, options.seconds), "catching up": _catching_up(bench, options.batches)}


def soak(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure for a long time, from when all feeds and symbols that there may be are known."""
    topics = bench.topics()
    with (
        Collectors(bench.broker.bootstrap, topics, BATCHES_PER_SECOND, churn),
        bench.sidecar(topics, settings=LIMITS) as sidecar,
    ):
        _health(bench, sidecar, KNOWN_SECONDS + options.seconds * 0.1, scrape=True)
        case = _health(bench, sidecar, options.seconds * 0.9, scrape=True)
        scrape = sidecar.scrape()
    case["rejected"] = [scrape.total("marketdata_records_rejected_total")]
    case["batches"] = [scrape.total("marketdata_batches_total")]
    return {f"{SMALL.feeds} feeds, {SMALL.feeds * SMALL.symbols:,} symbols, at the limits": case}


def churn(number: int, now_ms: int) -> Sent:
    """Return a record of feeds and symbols that are at their limits and, now and then, of new ones."""
    sent = live(SMALL, number, now_ms)
    if number > KNOWN and number % NEW == 0:
        return renamed(sent, SMALL, symbol=f"NEW{number}")
    if number > KNOWN and number % NEW == NEW // 2:
        return renamed(sent, SMALL, exchange=f"new{number}")
    return sent


def _steady(bench: Bench, seconds: float) -> Cases:
    topics = bench.topics()
    with (
        Collectors(bench.broker.bootstrap, topics, BATCHES_PER_SECOND, partial(live, MANY)),
        bench.sidecar(topics) as sidecar,
    ):
        return {
            "10,000 messages/s": _health(bench, sidecar, seconds, scrape=False),
            "10,000 messages/s, scraped": _health(bench, sidecar, seconds, scrape=True),
        }


def _catching_up(bench: Bench, batches: int) -> Case:
    topics = bench.filled(MANY, batches)
    with bench.sidecar(topics) as sidecar:
        eventually(lambda: sidecar.get("/-/ready").ok, READ_SECONDS, "it did not catch up")
        held = memory(sidecar.pid)
    bench.progress(f"{held.most / 1e6:.0f} MB at most while it caught up")
    return {"rss_mb": [held.now / 1e6], "most_mb": [held.most / 1e6]}


def _health(bench: Bench, sidecar: Sidecar, seconds: float, *, scrape: bool) -> Case:
    """Look at the memory again and again; the slope is that of a straight line through what was seen."""
    begin = time.monotonic()
    looks: list[tuple[float, float]] = []
    told = begin
    for now in every(SCRAPE_SECONDS, begin + seconds):
        looks.append((now - begin, memory(sidecar.pid).now / 1e6))
        if scrape:
            sidecar.get("/metrics")
        if now > told + TOLD_SECONDS:
            told = now
            bench.progress(f"{looks[-1][1]:.0f} MB after {now - begin:.0f} s")
    case = {"rss_mb": [held for _, held in looks], "most_mb": [memory(sidecar.pid).most / 1e6]}
    bench.progress(f"{looks[0][1]:.0f} MB, {seconds:.0f} s later {looks[-1][1]:.0f} MB")
    return case | {"slope_mb_per_hour": [3600 * _slope(looks)]}


def _slope(points: list[tuple[float, float]]) -> float:
    """What is added in a unit of time; 0 where there are not two points."""
    if len(points) < 2:
        return 0.0
    return linear_regression(*zip(*points, strict=True)).slope


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds unobserved, and as many scraped (30)")
    parser.add_argument("--batches", type=int, default=200_000, help="batches to catch up on (200000)")


def _add_soak_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (60)")


MEMORY = Subject("memory with 1,000 feeds and 100,000 symbols", _add_options, measure)
SOAK = Subject("memory over a long time, with feeds and symbols at their limits", _add_soak_options, soak)
