"""The levels of vector instructions at which the CPU kernels of layers can run on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ddpmx import ops
from ddpmx.ops import library

LEVELS = library.cpu_levels() if ops.backends()["cpp"] else []
needs_library = pytest.mark.skipif(not LEVELS, reason="the library is not built")


@contextmanager
def at_level(name: str) -> Iterator[None]:
    before = library.cpu_level()
    library.set_cpu_level(name)
    try:
        yield
    finally:
        library.set_cpu_level(before)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    with at_level(request.param):
        yield request.param
