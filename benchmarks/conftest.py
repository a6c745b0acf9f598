"""Keeps freed memory in the process: otherwise the benchmarks would measure its return to the system."""

from ddpmx.process.allocator import keep_memory

keep_memory()
