"""The engines of computation that are in a folder of their own, for as long as a test needs them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import missing

ENGINES = Path(__file__).parents[2] / ".cache" / "compute"


@contextmanager
def installed_engines() -> Iterator[None]:
    """Let Numba and ONNX Runtime be imported within this."""
    if not ENGINES.exists():
        missing("Numba and ONNX Runtime", "`make parts` did not install them")
    sys.path.append(str(ENGINES))
    try:
        yield
    finally:
        sys.path.remove(str(ENGINES))
