"""Comparison of several ways to do the same work. Each way has its own process, and their rounds alternate.

Each process has one thread. Processor time does not count waiting for other programs, so use it on a shared
machine. Ratios are taken within a round; the reported ratio is their median.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

Make = Callable[[], Callable[[], object]]
"""Called once in the way's process. The function that it returns runs one round."""


@dataclass(frozen=True)
class Cost:
    """The cost of one way."""

    wall: list[float]
    """The wall seconds of each round."""
    processor: list[float]
    """The processor seconds of each round."""
    megabytes: float
    """The peak of the resident memory, minus that of the process once torch is imported."""

    def median(self, clock: str = "processor") -> float:
        """The median of the rounds' `wall` or `processor` seconds."""
        return statistics.median(getattr(self, clock))


def compare(ways: dict[str, Make], rounds: int, keep_memory: frozenset[str] = frozenset()) -> dict[str, Cost]:
    """Run all ways, after one warm-up round each.

    Those in `keep_memory` call `ddpmx.process.allocator.keep_memory`, as training does.
    """
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name, make in ways.items():
        ours, theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, make, name in keep_memory), daemon=True).start()
        pipes[name] = ours
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("round")
            spent = pipe.recv()
            if number > 0:  # round 0 is the warm-up
                times[name].append(spent)
    costs = {}
    for name, pipe in pipes.items():
        pipe.send("end")
        wall, processor = zip(*times[name], strict=True)
        costs[name] = Cost(list(wall), list(processor), pipe.recv())
    return costs


def ratio(costs: dict[str, Cost], slow: str, fast: str, clock: str = "processor") -> float:
    """The speed-up of `fast` over `slow`: the median of the rounds' ratios."""
    pairs = zip(getattr(costs[slow], clock), getattr(costs[fast], clock), strict=True)
    return statistics.median(a / b for a, b in pairs)


def table(costs: dict[str, Cost], baseline: str) -> str:
    """A table with a row for each way, compared with the way `baseline`."""
    lines = [
        "| way | processor s | wall s | times as fast | memory above torch, MB | of the baseline's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, cost in costs.items():
        memory = f"{cost.megabytes / costs[baseline].megabytes:.0%}"
        numbers = f"{cost.median():.3g} | {cost.median('wall'):.3g} | {ratio(costs, baseline, name):.2f}"
        lines.append(f"| {name} | {numbers} | {cost.megabytes:,.0f} | {memory} |")
    return "\n".join(lines)


def _work(pipe: Connection, make: Make, keep: bool) -> None:
    import torch

    torch.set_num_threads(1)
    before = _resident()
    if keep:
        from ddpmx.process.allocator import keep_memory

        keep_memory()
    run = make()
    while pipe.recv() == "round":
        gc.collect()
        started = time.perf_counter(), time.process_time()
        run()
        pipe.send((time.perf_counter() - started[0], time.process_time() - started[1]))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before)


def _resident() -> float:
    return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
