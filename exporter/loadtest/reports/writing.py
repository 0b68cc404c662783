"""Writes the reports of a load test into a folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from exporter.loadtest.reports.comparison import compare
from exporter.loadtest.reports.contents import document
from exporter.loadtest.reports.html import html
from exporter.loadtest.reports.markdown import markdown
from exporter.loadtest.reports.table import table
from exporter.loadtest.results import Run, stamp

NO_PICTURE = "there is no picture without matplotlib: pip install 'marketdata-exporter[loadtest]'"


def write_reports(run: Run, folder: Path, earlier: Run | None) -> list[Path]:
    """Write the reports into a folder that exists, and return their paths; raise `OSError`.

    Without matplotlib there is no picture, see `NO_PICTURE`. Files of another run of the same second are replaced.
    """
    differences = [] if earlier is None else compare(earlier, run)
    shown, when = document(run, earlier, differences), stamp(run.started_ms)
    picture = folder / f"performance_analysis_{when}.png" if find_spec("matplotlib") is not None else None
    written: list[Path] = []

    def write(name: str, data: bytes) -> None:
        written.append(folder / name)
        written[-1].write_bytes(data)

    write(f"load_test_report_{when}.html", html(shown).encode())
    write(f"load_test_report_{when}.md", markdown(shown, picture.name if picture else None).encode())
    write(f"load_test_results_{when}.csv", table(run, differences).encode())
    if picture is not None:
        from exporter.loadtest.reports.picture import png

        write(picture.name, png(shown))
    return written
