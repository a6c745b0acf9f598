"""The time of each op in each form, on one thread and on all. `make bench` prints the ratios."""

from __future__ import annotations

import os
from functools import cache

import pytest
import torch
from cases import CASES, GPU_SHAPES, SHAPES, Batch, Way
from pytest_benchmark.fixture import BenchmarkFixture

from ddpmx import ops

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NATIVE = "cuda" if DEVICE == "cuda" else "cpp"
THREADS = sorted({1, len(os.sched_getaffinity(0))}) if DEVICE == "cpu" else [1]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@cache
def compiled(name: str, dtype: str) -> Way:
    """One compiled function for all shapes, with torch's random numbers: inductor's are slower on CPUs."""
    torch._dynamo.reset()
    return torch.compile(CASES[name].eager, dynamic=True, options={"fallback_random": True})


@pytest.mark.parametrize("way", ["copy", "eager", "compile", "reference", "fused"])
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", SHAPES + (GPU_SHAPES if DEVICE == "cuda" else []), ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_op(
    benchmark: BenchmarkFixture, name: str, dtype: str, shape: tuple[int, ...], threads: int, way: str
) -> None:
    batch, case = Batch.of(shape, DTYPES[dtype], DEVICE), CASES[name]
    source = batch.x
    target = torch.empty_like(source)

    def timed() -> None:
        if way == "copy":
            target.copy_(source)
        elif way == "compile":
            case.run(compiled(name, dtype), batch)
        else:
            case.run(case.eager if way == "eager" else case.fused, batch)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ops.use_backend("reference" if way == "reference" else NATIVE):
            slow = way == "reference"
            benchmark.extra_info.update(
                op=name, dtype=dtype, shape=list(shape), threads=threads, way=way, values=case.values
            )
            benchmark.pedantic(timed, rounds=3 if slow else 30, iterations=1, warmup_rounds=1 if slow else 5)
    finally:
        torch.set_num_threads(before)
