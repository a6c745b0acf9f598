"""The ops at small shapes compared with eager torch: processor time of alternating rounds, on one thread.

OMP_NUM_THREADS=1 python benchmarks/small_shapes.py [--rounds 21]

Unlike `make bench`, it does not count waiting for other programs, so it may run on a shared machine. Freed
memory is kept for both forms: otherwise eager torch would mostly measure the system's zeroing of pages.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from cases import CASES, SHAPES, Batch

from ddpmx.process.allocator import keep_memory

NAMES = ("normal", "add_noise", "loss, noise given", "noising and loss", "reverse_step, noise and clip")
ELEMENTS = 6_000_000
"""The elements that a form works on in each round, in some calls."""


def microseconds(call: Callable[[], None], calls: int) -> float:
    """The processor time of a call, after two that do not count."""
    call(), call()
    started = time.process_time_ns()
    for _ in range(calls):
        call()
    return (time.process_time_ns() - started) / calls / 1000


def row(name: str, batch: Batch, rounds: int) -> str:
    """A row of the table: the medians of both forms, and that of the rounds' ratios."""
    case, calls = CASES[name], ELEMENTS // batch.x.numel()
    eager, fused = (partial(case.run, form, batch) for form in (case.eager, case.fused))
    times = [(microseconds(eager, calls), microseconds(fused, calls)) for _ in range(rounds)]
    medians = [f"{statistics.median(column):.0f}" for column in zip(*times, strict=True)]
    ratio = statistics.median(a / b for a, b in times)
    dtype = str(batch.x.dtype).removeprefix("torch.")
    return " | ".join(["", name, str(list(batch.x.shape)), dtype, *medians, f"{ratio:.2f}", ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    print(f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}\n")
    print("| op | shape | dtype | eager, µs | fused, µs | eager ÷ fused |\n" + "| --- " * 6 + "|")
    for shape in SHAPES[:2]:
        for dtype in (torch.float32, torch.bfloat16):
            batch = Batch.of(shape, dtype, "cpu")
            for name in NAMES:
                print(row(name, batch, options.rounds), flush=True)


if __name__ == "__main__":
    main()
