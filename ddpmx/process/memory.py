"""The memory that this process may use."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def limit() -> int:
    """The least of the machine's memory, the container's limit and the process's (`ulimit -v`), in bytes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_limits()]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(limits if own == resource.RLIM_INFINITY else [*limits, own])


def _cgroup_limits() -> Iterator[int]:
    """The limits of the control groups that this process is in, of versions 1 and 2; on Linux only."""
    try:
        groups = [
            line.split(":", 2)[1:]
            for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        ]
    except (OSError, ValueError):  # not on Linux
        return
    for controllers, group in groups:
        if controllers not in ("", "memory"):
            continue
        root, name = (
            (CGROUPS, "memory.max") if controllers == "" else (CGROUPS / "memory", "memory.limit_in_bytes")
        )
        inner = root / group.lstrip("/")
        for folder in (inner, *inner.parents):
            try:
                yield int((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):  # not mounted here, or "max"
                continue


def amount(size: float) -> str:
    """A number of bytes in decimal units: `1.5 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.0f} TB" if size >= 10 else f"{size:.2g} TB"
