"""How long a scrape takes while the sidecar consumes at full rate, and how long it holds the loop up."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from tests.bench.bench import Bench, Subject
from tests.bench.figures import ROOT, Case, Cases, quantile
from tests.bench.load import Shape

SERIES_A_FEED = 190
ANSWER_SECONDS = 30
END_SECONDS = 120
# Between scrapes, so that most of the time is for reading. Pages are reused for 0.1 s: these are new.
PAUSE_SECONDS = 1.0


class Scrape(NamedTuple):
    """One answer, from when to when (monotonic)."""

    begin: float
    end: float
    is_gzipped: bool
    body_bytes: int
    series: int


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure each number of series."""
    return {f"{series:,} series": _measure(bench, series, options.batches) for series in options.series}


def _measure(bench: Bench, series: int, batches: int) -> Case:
    topics = bench.filled(Shape(feeds=max(1, series // SERIES_A_FEED)), batches)
    command = [sys.executable, "-m", "tests.bench.turns", bench.broker.bootstrap, topics.input]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sidecar:
        try:
            assert sidecar.stdout is not None
            scrapes = _scrapes(json.loads(sidecar.stdout.readline())["port"])
            rest, _ = sidecar.communicate(timeout=END_SECONDS)
        finally:
            sidecar.kill()
    turns = [(begin, end) for begin, end in json.loads(rest.splitlines()[-1])["turns"]]
    case = _case(scrapes, turns)
    bench.progress(f"{series:,} series: {len(scrapes)} scrapes")
    return case


def _scrapes(port: int) -> list[Scrape]:
    """Scrape in turns plain and gzipped, until the sidecar is gone."""
    scrapes: list[Scrape] = []
    while True:
        try:
            scrapes.append(_scrape(port, is_gzipped=len(scrapes) % 2 == 1))
        except (OSError, HTTPException):
            return scrapes
        time.sleep(PAUSE_SECONDS)


def _scrape(port: int, is_gzipped: bool) -> Scrape:
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        begin = time.monotonic()
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip" if is_gzipped else "identity"})
        body = connection.getresponse().read()
        end = time.monotonic()
    finally:
        connection.close()
    series = 0 if is_gzipped else body.count(b"\n") - body.count(b"\n#")
    return Scrape(begin, end, is_gzipped, len(body), series)


def _case(scrapes: list[Scrape], turns: list[tuple[float, float]]) -> Case:
    """Leave out the scrapes before the first records and after the last: they did not have to share."""
    worked = [(begin, end) for begin, end in turns if end - begin > 0.0005]
    first, last = worked[0][0], worked[-1][1]
    counted = [scrape for scrape in scrapes if first + 1 < scrape.begin and scrape.end < last]
    during: list[float] = []
    between: list[float] = []
    for begin, end in worked:
        is_during = any(begin < scrape.end and scrape.begin < end for scrape in counted)
        (during if is_during else between).append((end - begin) * 1000)
    case: Case = {
        f"{name}_ms": [(scrape.end - scrape.begin) * 1000 for scrape in counted if scrape.is_gzipped is is_gzipped]
        for name, is_gzipped in (("plain", False), ("gzip", True))
    }
    case["series"] = [float(max((scrape.series for scrape in counted), default=0))]
    case["page_mb"] = [max((scrape.body_bytes for scrape in counted), default=0) / 1e6]
    for name, values in (("turn_between", between), ("turn_during", during)):
        case[f"{name}_p50_ms"], case[f"{name}_p99_ms"] = [quantile(values, 0.5)], [quantile(values, 0.99)]
        case[f"{name}_longest_ms"] = [max(values, default=0.0)]
    return case


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=200_000, help="batches to read meanwhile (200000)")
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 100_000], help="10000 100000")


SCRAPE = Subject("time of a scrape at full rate, and turns of the loop meanwhile", _add_options, measure)
