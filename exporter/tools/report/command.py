"""The command `report`: reports of a load test from its results, compared with an earlier one on request."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from exporter.loadtest import results
from exporter.loadtest.reports.writing import NO_PICTURE, write_reports
from exporter.loadtest.results import Run

OK, FAILED, USAGE = 0, 1, 2
_DESCRIPTION = """Write the reports of a load test again from its results: HTML in one file that needs no network,
Markdown, CSV and a picture. With --compare they show which differences to an earlier run are more than noise. Exit 0
when they are written, 1 when they cannot be, 2 when a file has no results."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options to a parser."""
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("results", type=Path, metavar="RUN.json", help="the results of a load test")
    add("--compare", type=Path, metavar="EARLIER.json", help="those of an earlier one")
    add("--output", type=Path, metavar="FOLDER", help="for the reports (default: where the results are)")


def main(args: argparse.Namespace) -> int:
    """Write the reports, print their paths, and return the exit code."""
    try:
        run = _read(args.results)
        earlier = None if args.compare is None else _read(args.compare)
    except results.ResultsError as error:
        return _failed(str(error), USAGE)
    folder = args.output or args.results.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = write_reports(run, folder, earlier)
    except OSError as error:
        return _failed(f"{error.filename or folder}: {error.strerror or error}", FAILED)
    except (ValueError, ArithmeticError, LookupError) as error:  # in a file that was changed by hand
        return _failed(f"figures that no load test has: {error}", USAGE)
    print("\n".join(map(str, written)), flush=True)
    if find_spec("matplotlib") is None:
        print(f"report: {NO_PICTURE}", file=sys.stderr)
    return OK


def _read(file: Path) -> Run:
    """Return the results in a file; raise `ResultsError`."""
    try:
        return results.decode(file.read_bytes())
    except (OSError, results.ResultsError) as error:
        raise results.ResultsError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _failed(text: str, code: int) -> int:
    print(f"report: {text}", file=sys.stderr)
    return code
