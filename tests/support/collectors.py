"""Collectors in an environment of their own: what they bring would meddle with what is tested."""

import os
import subprocess
from pathlib import Path

from tests.support.missing import missing

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache" / "collectors" / "bin" / "python"
PROGRAMS = ROOT / "tests" / "collectors"
SECONDS = 60.0


def run(program: str, *arguments: str, given: str = "") -> str:
    """Run one of the programs to its end, with a text on its stdin; return what it prints."""
    if not PYTHON.exists():
        missing("cryptofeed and ccxt", "`make parts` did not install them")
    command = [str(PYTHON), str(PROGRAMS / program), *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS, check=False, env=clean)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
