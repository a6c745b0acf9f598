"""Helpers for tests of metrics: images of noise, and the Fréchet distance computed with scipy."""

import numpy as np
import scipy.linalg
import torch

from ddpmx.data import Data


def noise(data: Data, n: int, low: int = 0, high: int = 256, seed: int = 0) -> torch.Tensor:
    """Pixels drawn uniformly from low … high − 1."""
    values = np.random.default_rng(seed).integers(
        low, high, (n, data.channels, data.size, data.size), dtype=np.uint8
    )
    return torch.from_numpy(values)


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) in float64; the root comes from the eigenvalues of ΣΣ' itself."""
    a, b = (np.cov(features.astype(np.float64), rowvar=False) for features in (one, other))
    cross = np.sqrt(scipy.linalg.eigvals(a @ b).real.clip(0)).sum()
    return float(
        ((one.mean(0, dtype=np.float64) - other.mean(0, dtype=np.float64)) ** 2).sum()
        + a.trace()
        + b.trace()
        - 2 * cross
    )
