"""The cost of a step of `ddpmx.sample` without the network, which is replaced by a constant.

OMP_NUM_THREADS=1 python benchmarks/sampling_cost.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

import ddpmx
from ddpmx import ops

SHAPES = [(1, 1, 8, 8), (16, 3, 32, 32)]
STEPS, ROUNDS = 100, 40


def microseconds(function: Callable[[], object], steps: int) -> tuple[float, float]:
    """The processor time per step of the fastest and of the median round. Other load only adds to it."""
    function()
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        function()
        spent.append((time.process_time() - started) / steps * 1e6)
    return min(spent), sorted(spent)[ROUNDS // 2]


def main() -> None:
    torch.set_num_threads(1)
    table = ddpmx.SCHEDULES.build("linear", timesteps=STEPS).table()
    for shape in SHAPES:
        output, x, ids = torch.randn(shape), torch.randn(shape), torch.arange(shape[0])
        for name in ("ddim", "dpmpp_2m", "ddpm"):
            plan = ddpmx.SAMPLERS.build(name, steps=STEPS).plan(table)

            def whole(
                plan: ddpmx.Plan = plan, shape: tuple[int, ...] = shape, output: torch.Tensor = output
            ) -> object:
                return ddpmx.sample(lambda x, t: output, plan, shape)

            best, median = microseconds(whole, STEPS)
            print(f"{list(shape)} {name}: {best:.1f} µs per step at best, {median:.1f} median")
        best, median = microseconds(
            lambda x=x, ids=ids: [ops.normal(ids, i, 0, x.shape[1:]) for i in range(STEPS)], STEPS
        )
        print(f"{list(shape)} ddpm's noise alone: {best:.1f} µs at best, {median:.1f} median")


if __name__ == "__main__":
    main()
