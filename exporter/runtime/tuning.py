"""Settings of CPython, glibc and the kernel for a process that runs nothing but the sidecar."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from contextlib import suppress

# Reference counting frees what a turn of the loop makes, and cycles are rare. By default the collector runs after each
# 700 allocations, which takes 5 % of the processor time at full rate and finds nothing.
YOUNG_OBJECTS = 50_000
# How long a waiting thread waits for one that computes. A scrape switches threads about ten times, and at full rate
# the loop always computes; with the default of 5 ms a scrape would wait for 50 ms.
SWITCH_SECONDS = 0.0005
# Larger blocks return to the operating system when they are freed. By default glibc raises this threshold by itself and
# keeps such blocks: about 50 MB after catching up. A lower one costs a page fault for each 4 KB of each fetch, which is
# unpacked into smaller blocks: a sixth of the processor time of batches of 150.
KEPT_BYTES = 1024 * 1024
# So much free memory at the end of the heap is kept; with the default, 128 KB, smaller blocks would return as well.
KEPT_FREE_BYTES = 16 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def tune_runtime() -> None:
    """Tune CPython and glibc for a long-running consumer, and raise the limit on open files as far as allowed.

    Freeze the start-up heap, collect garbage rarely, switch threads every 0.5 ms, return large blocks to the operating
    system. The usual limit on open files is low, for programs that call select(2).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # systems that report infinity and allow less
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
