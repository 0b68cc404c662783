"""How the interpreter is set up for a process that is the sidecar's alone."""

from __future__ import annotations

import gc
import sys

# What a turn makes is freed with its events, and hardly anything refers to itself. By default each some hundred objects
# are looked through, which takes a twentieth of the processor time at full rate and finds nothing.
YOUNG_OBJECTS = 50_000
# For so long a thread that wants to run waits for one that computes. A scrape changes threads some ten times, and at
# full rate the loop always computes; by default it would wait for 5 ms each time.
SWITCH_SECONDS = 0.0005


def settle() -> None:
    """Leave out of garbage collection what lives already, look for cycles more rarely, and let threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
