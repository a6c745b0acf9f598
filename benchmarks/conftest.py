"""Memory that is handed back to the system after each call would be measured instead of the math: keep it."""

import ctypes
import sys

if sys.platform == "linux":
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**31 - 1)  # M_MMAP_THRESHOLD
