"""Settings of the C library's memory allocator for training on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
NEVER = 2**31 - 1
"""A threshold in bytes that no block reaches."""
USER_SETTINGS = ("GLIBC_TUNABLES", "LD_PRELOAD")
"""Environment variables through which users choose other settings or another allocator."""


def keep_memory() -> None:
    """Make glibc keep freed memory for the next training step, in the whole process.

    By default glibc returns large blocks to the system, which has to zero them again: up to a quarter of each
    step. Nothing changes with another C library, or if the user has set a MALLOC_… variable, tunables or an
    allocator.
    """
    if sys.platform != "linux":
        return
    if any(name in USER_SETTINGS or name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, NEVER)
        library.mallopt(M_MMAP_THRESHOLD, NEVER)
