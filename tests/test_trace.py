"""The figures of the document are those of the trace."""

import re
from pathlib import Path

from tests.trace import subjects

PAGE = Path(__file__).parents[1] / "docs" / "development.md"
FIGURES = re.compile(r"^\| ([^|]+) \| (\d+), (\d+) \| \d+, \d+ \|$", re.M)


def test_no_subject_passes_more_files_or_makes_more_moves_than_documented() -> None:
    documented = {subject: (int(files), int(moves)) for subject, files, moves in FIGURES.findall(PAGE.read_text())}
    traced = subjects()
    assert set(documented) == set(traced)
    for subject, moves in traced.items():
        files = {file for move in moves for file in (move.caller, move.callee)}
        most_files, most_moves = documented[subject]
        assert (len(files) <= most_files, len(moves) <= most_moves) == (True, True), subject
