"""What a call costs beside the math, on one tiny image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import LAST, STEP

from ddpmx import ops

X, IDS, V = torch.randn(1, 1, 8, 8), torch.arange(1), torch.rand(1)
WIDE = V.view(1, 1, 1, 1)
KEY: dict[str, Any] = {"seed": 1, "sample_ids": IDS, "stream": 2}
CALLS: dict[str, Callable[[], object]] = {
    "normal": lambda: ops.normal(IDS, 2, 1, (1, 8, 8)),
    "add_noise": lambda: ops.add_noise(X, V, V, **KEY),
    "weighted_loss": lambda: ops.weighted_loss(X, X, V, V, V, **KEY),
    "reverse_step with noise": lambda: ops.reverse_step(X, X, STEP, clip=1.0, want_m=False, **KEY),
    "reverse_step": lambda: ops.reverse_step(X, X, LAST, clip=1.0, **KEY),
    "eager add_noise": lambda: WIDE * X + WIDE * torch.randn_like(X),
    "eager reverse step": lambda: 0.4 * X + 0.6 * (1.1 * X - 0.5 * X).clamp(-1, 1) + 0.1 * torch.randn_like(X),
    "operator alone": lambda: torch.ops.ddpmx.add_noise.default(X, V, V, IDS, 2, 1, None, X),
}


@pytest.mark.parametrize("call", CALLS)
def test_call(benchmark: Any, call: str) -> None:
    with ops.use_backend("cpp"):
        benchmark.pedantic(CALLS[call], rounds=20, iterations=2000, warmup_rounds=1)
