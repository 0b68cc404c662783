"""How the interpreter is set up for a process that is the sidecar's alone."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from contextlib import suppress

# What a turn makes is freed with its events, and hardly anything refers to itself. By default each some hundred objects
# are looked through, which takes a twentieth of the processor time at full rate and finds nothing.
YOUNG_OBJECTS = 50_000
# For so long a thread that wants to run waits for one that computes. A scrape changes threads some ten times, and at
# full rate the loop always computes; by default it would wait for 5 ms each time.
SWITCH_SECONDS = 0.0005
# What is larger (what a fetch brings, a page) is given back to the system once it is freed. By default glibc keeps ever
# larger pieces for later, after catching up some fifty megabytes.
KEPT_BYTES = 131_072
_M_MMAP_THRESHOLD = -3  # of malloc.h


def settle() -> None:
    """Look for garbage rarely and never among what lives already, let threads take turns often, give memory back.

    And use as many descriptors as are allowed: the usual limit is lower, for programs that call select(2).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # systems that say infinity and mean less
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, others need not
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
