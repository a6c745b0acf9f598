"""The overhead of a call, on one tiny image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import pytest
import torch
from cases import LAST, STEP
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from ddpmx import Noise, ops


class Key(TypedDict):
    """The keywords that determine noise."""

    seed: int
    sample_ids: Tensor
    stream: int


X, IDS, V = torch.randn(1, 1, 8, 8), torch.arange(1), torch.rand(1)
WIDE = V.view(1, 1, 1, 1)
KEY: Key = {"seed": 1, "sample_ids": IDS, "stream": 2}
CALLS: dict[str, Callable[[], object]] = {
    "normal": lambda: ops.normal(IDS, 2, 1, (1, 8, 8)),
    "add_noise": lambda: ops.add_noise(X, V, V, **KEY),
    "weighted_loss": lambda: ops.weighted_loss(X, X, V, V, V, **KEY),
    "reverse_step with noise": lambda: ops.reverse_step(X, X, STEP, clip=1.0, want_m=False, **KEY),
    "reverse_step": lambda: ops.reverse_step(X, X, LAST, clip=1.0, **KEY),
    "add_noise of a Noise": lambda: ops.add_noise(X, V, V, noise=Noise(1, 2, IDS)),
    "weighted_loss of a Noise": lambda: ops.weighted_loss(X, X, V, V, V, noise=Noise(1, 2, IDS)),
    "reverse_step of a Noise": lambda: ops.reverse_step(
        X, X, STEP, clip=1.0, want_m=False, noise=Noise(1, 2, IDS)
    ),
    "eager add_noise": lambda: WIDE * X + WIDE * torch.randn_like(X),
    "eager reverse step": lambda: (
        0.4 * X + 0.6 * (1.1 * X - 0.5 * X).clamp(-1, 1) + 0.1 * torch.randn_like(X)
    ),
    "operator alone": lambda: torch.ops.ddpmx.add_noise.default(X, V, V, IDS, 2, 1, None, X),
}


@pytest.mark.parametrize("call", CALLS)
def test_call(benchmark: BenchmarkFixture, call: str) -> None:
    with ops.use_backend("cpp"):
        benchmark.pedantic(CALLS[call], rounds=20, iterations=2000, warmup_rounds=1)
