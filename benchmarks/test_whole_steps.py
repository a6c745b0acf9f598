"""The share of the hot math in whole training and sampling steps of both networks, eager and fused."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from cases import CASES, Batch

import ddpmx
from ddpmx import ops

BATCH = 16
NETWORKS = {
    "convnext_unet": ((1, 28, 28), {"dim": 28, "dim_mults": [1, 2, 4]}),
    "ddpm_unet": ((3, 32, 32), {}),
}


def median_seconds(function: Callable[[], object], rounds: int = 15) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]


@pytest.mark.parametrize("kind", ["training", "sampling"])
@pytest.mark.parametrize("name", NETWORKS)
def test_share(benchmark: Any, name: str, kind: str) -> None:
    shape, options = NETWORKS[name]
    network = ddpmx.MODELS.build(name, **options).build(shape[0], shape[1])
    batch = Batch.of((BATCH, *shape), torch.float32, "cpu")
    t = torch.full((BATCH,), 7.0)
    case = CASES["noising and loss" if kind == "training" else "reverse_step, noise and clip"]

    def forward_backward() -> None:
        loss = (network(batch.x, t) - batch.noise).square().mean()
        loss.backward()
        network.zero_grad()

    @torch.no_grad()
    def forward() -> None:
        network(batch.x, t)

    with ops.use_backend("cpp"):
        eager, fused = (median_seconds(partial(case.run, way, batch)) for way in (case.eager, case.fused))
    benchmark.pedantic(forward_backward if kind == "training" else forward, rounds=3, warmup_rounds=1)
    step = benchmark.stats.stats.median
    benchmark.extra_info.update(
        batch=BATCH,
        **{
            "threads": torch.get_num_threads(),
            "eager hot math": f"{eager / (step + eager):.2%} of the step",
            "fused": f"{fused / (step + fused):.2%}",
        },
    )
