"""The kernel distance: an unbiased squared maximum mean discrepancy, without the Fréchet distance's bias in n."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Split
from .features import Extractor
from .halves import COUNT, halves, interval, real_parts
from .score import Score
from .subject import Subject

SEED = 2020  # torch-fidelity's: the subsets hold the same images as there
ROWS = 1000


def kernel_score(
    subject: Subject, extractor: Extractor, split: Split, subsets: int, subset_size: int
) -> Score:
    """Mean MMD² of random subsets, of all images where there are fewer than `subset_size` (Bińkowski et al. 2018, section 4)."""
    drawn, real = subject.features(extractor), subject.real_features(extractor, split)
    n = len(drawn)
    value, chance = _mean_mmd(drawn, real, subsets, subset_size)
    some, others = real_parts(real, n)
    enough = len(some) >= 2
    return Score(
        value=value,
        better="lower",
        n=n,
        seed=subject.seed,
        split=split,
        extractor=extractor.hash,
        preprocessing=extractor.preprocessing,
        interval=interval(value, _of_halves(drawn, real, subject), n, chance=chance) if n >= 4 else None,
        interval_note=f"{COUNT} random halves" if n >= 4 else "needs 4 images",
        floor=_mean_mmd(some, others, subsets, subset_size)[0] if enough else None,
        floor_n=len(some) if enough else 0,
    )


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ of each pair, [n, m] of features [n, d] and [m, d]."""
    return (x @ y.T / x.shape[1] + 1).pow(3)


def mmd(x: Tensor, y: Tensor) -> float:
    """mean k(x, x') + mean k(y, y') − 2 mean k(x, y), pairs of an image with itself left out (Gretton et al. 2012, eq. 3)."""
    return _within(x) + _within(y) - 2 * float(kernel(x, y).mean())


def _within(x: Tensor) -> float:
    k = kernel(x, x)
    return float((k.sum() - k.trace()) / (len(x) * (len(x) - 1)))


def _mean_mmd(drawn: Tensor, real: Tensor, subsets: int, subset_size: int) -> tuple[float, float]:
    """The mean over subsets, and its standard error."""
    size = min(subset_size, len(drawn), len(real))
    random = np.random.RandomState(SEED)
    found = []
    for _ in range(subsets):
        some = drawn[torch.from_numpy(random.choice(len(drawn), size, replace=False))]
        found.append(
            mmd(some.double(), real[torch.from_numpy(random.choice(len(real), size, replace=False))].double())
        )
    return float(np.mean(found)), float(np.std(found)) / subsets**0.5


def _of_halves(drawn: Tensor, real: Tensor, subject: Subject) -> Tensor:
    """MMD² [COUNT] between halves of the drawn images and all real ones, but for the real ones' own term, a constant."""
    n = len(drawn)
    chosen = halves(n).double()  # [COUNT, n]
    size = n // 2
    total = torch.zeros(len(chosen), dtype=torch.float64)
    for start in range(0, n, ROWS):
        rows = drawn[start : start + ROWS]
        within = kernel(rows, drawn)
        within[torch.arange(len(rows)), start + torch.arange(len(rows))] = 0
        across = kernel(rows, real).mean(1)
        mine = chosen[:, start : start + ROWS]
        total += (mine * (chosen @ within.double().T)).sum(1) / (size * (size - 1))
        total -= 2 * mine @ across.double() / size
        subject.progress("interval of the kernel distance", min(n, start + ROWS), n)
    return total
