"""`python -m tests.bench [SUBJECT] [options]`: tables on stdout, progress on stderr, and a file in .cache/bench.

Without a subject all of them, each in its short version. Every run begins with the bare loop, the yardstick by which
`compare` divides.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.bench.bench import Bench, Subject
from tests.bench.browser import BROWSER
from tests.bench.bus import BUS
from tests.bench.cache import CACHE
from tests.bench.caches import CACHES
from tests.bench.compute import COMPUTE
from tests.bench.diet import DIET
from tests.bench.figures import FOLDER, Cases, commit, compare, keep, machine, table
from tests.bench.formats import FORMATS_SUBJECT
from tests.bench.ingestion import INGESTION
from tests.bench.instrument import INSTRUMENT
from tests.bench.low import LOW
from tests.bench.memory import MEMORY, SOAK
from tests.bench.peers import PEERS
from tests.bench.rate import MATRIX, RATE, yardstick
from tests.bench.replay import REPLAY
from tests.bench.risk import RISK
from tests.bench.scale import SCALE
from tests.bench.scrape import SCRAPE
from tests.bench.sizing import sizing
from tests.bench.startup import STARTUP
from tests.bench.topics import TOPICS
from tests.support.kafka import Broker

SUBJECTS = {
    "rate": RATE,
    "matrix": MATRIX,
    "peers": PEERS,
    "low": LOW,
    "scrape": SCRAPE,
    "memory": MEMORY,
    "soak": SOAK,
    "scale": SCALE,
    "startup": STARTUP,
    "formats": FORMATS_SUBJECT,
    "topics": TOPICS,
    "instrument": INSTRUMENT,
    "cache": CACHE,
    "caches": CACHES,
    "bus": BUS,
    "compute": COMPUTE,
    "risk": RISK,
    "replay": REPLAY,
    "diet": DIET,
    "ingestion": INGESTION,
    "browser": BROWSER,
}
SIZES = (20, 150, 1000)
# A busy machine is no reason to give up.
BROKER_SECONDS = 120.0
BROKER = {"log.segment.bytes": str(256 * 1024**2)}


def main() -> None:
    """Run with the arguments of the command line."""
    options = _parser().parse_args()
    if options.subject == "compare":
        print(compare(options.old, options.new))
        return
    if options.subject == "sizing":
        print(sizing(dict(zip(SIZES, options.costs, strict=True))))
        return
    chosen = {options.subject: options} if options.subject else {name: _short(name) for name in SUBJECTS}
    try:
        _run(chosen, options.out)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(str(missing))


def _run(chosen: dict[str, argparse.Namespace], out: Path | None) -> None:
    at = time.localtime()
    file = out or FOLDER / f"{time.strftime('%Y%m%dT%H%M%S', at)}.json"
    subjects: dict[str, object] = {}
    run: dict[str, object] = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z", at), "commit": commit(), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        broker = Broker(Path(directory) / "kafka", BROKER, heap="1g", options=())
        broker.start_seconds = BROKER_SECONDS
        broker.start()
        try:
            bench = Bench(Path(directory), broker)
            run |= {"bare_us": yardstick(bench), "subjects": subjects}
            for name, options in chosen.items():
                cases = SUBJECTS[name].measure(bench, options)
                _show(name, SUBJECTS[name], cases)
                subjects[name] = {"options": _plain(options), "cases": cases}
                keep(run, file)
        finally:
            broker.kill()
    print(f"\nkept in {file}")


def _show(name: str, subject: Subject, cases: Cases) -> None:
    print(f"\n{name}: {subject.summary}\n{table(cases)}", flush=True)


def _plain(options: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(options).items() if name not in ("subject", "out")}


def _short(name: str) -> argparse.Namespace:
    return _parser().parse_args([name])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.set_defaults(out=None)
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        options = subjects.add_parser(name, help=subject.summary)
        subject.add_options(options)
        options.add_argument("--out", type=Path, help="the file for the figures (one in .cache/bench)")
    files = subjects.add_parser("compare", help="two files of figures beside each other")
    files.add_argument("old", type=Path)
    files.add_argument("new", type=Path)
    paper = subjects.add_parser("sizing", help="what a load needs, from what a batch costs")
    paper.add_argument("costs", type=float, nargs=len(SIZES), help=f"µs for batches of {SIZES}")
    return parser


if __name__ == "__main__":
    main()
