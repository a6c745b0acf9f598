"""How the C library handles freed memory in training on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
NEVER = 2**31 - 1
ANOTHER = ("GLIBC_TUNABLES", "LD_PRELOAD")  # may bring other settings, or another allocator


def keep_memory() -> None:
    """Let glibc keep what a step of training frees for the next one, for the whole process.

    By default it hands large blocks back to the system, and each step spends up to a quarter of its time on having them zeroed
    again. Nothing is changed under another C library, and where the user sets a MALLOC_… variable, tunables or an allocator.
    """
    if sys.platform != "linux" or any(name in ANOTHER or name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, NEVER)
        library.mallopt(M_MMAP_THRESHOLD, NEVER)
