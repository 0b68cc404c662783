"""Packages in folders of their own, each for as long as a test needs it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import missing

CACHE = Path(__file__).parents[2] / ".cache" / "site-packages"
NAMES = {"compute": "Numba and ONNX Runtime", "measures": "Empyrical"}


@contextmanager
def installed(folder: str) -> Iterator[None]:
    """Let the packages of `.constraints/<folder>.in` be imported within this."""
    place = CACHE / folder
    if not place.exists():
        missing(NAMES[folder], "`make parts` did not install it")
    sys.path.append(str(place))
    try:
        yield
    finally:
        sys.path.remove(str(place))
