"""The kernel distance of `kid`: an unbiased squared maximum mean discrepancy (MMD²)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Split
from .features import Extractor
from .floors import floor_images
from .halves import COUNT, halves, interval
from .score import Score
from .subject import Subject

SEED = 2020
"""torch-fidelity's seed, which gives the same subsets."""
ROWS = 1000
"""Rows of a kernel matrix in memory at a time."""


def kernel_score(
    subject: Subject, extractor: Extractor, split: Split, subsets: int, subset_size: int
) -> Score:
    """Mean MMD² over random subsets, each of all images if there are fewer than `subset_size`.

    Bińkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    generated, real = subject.features(extractor), subject.real_features(extractor, split)
    n = len(generated)
    value, standard_error = _mean_mmd(generated, real, subsets, subset_size)
    floor = floor_images(subject, extractor, split, real, n)
    has_floor = len(floor.part) >= 2
    bounds, note, half_values = None, "needs 4 images", None
    if n >= 4:
        half_values = _values_of_halves(generated, real, subject)
        bounds, note = interval(value, half_values, n, extra=standard_error), f"{COUNT} random halves"
    return Score(
        value=value,
        better="lower",
        n=n,
        seed=subject.seed,
        split=split,
        extractor=extractor.hash,
        preprocessing=extractor.preprocessing,
        interval=bounds,
        interval_note=note,
        floor=_mean_mmd(floor.part, floor.others, subsets, subset_size)[0] if has_floor else None,
        floor_n=len(floor.part) if has_floor else 0,
        floor_split=floor.split if has_floor else None,
        depends_on_n=False,
        values=half_values,
    )


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ for each pair of the features x [n, d] and y [m, d]: [n, m]."""
    return (x @ y.T / x.shape[1] + 1).pow(3)


def mmd(x: Tensor, y: Tensor) -> float:
    """mean k(x, x') + mean k(y, y') − 2 mean k(x, y), without pairs of an image with itself.

    Gretton et al. 2012, JMLR 13, eq. 3.
    """
    return _mean_within(x) + _mean_within(y) - 2 * float(kernel(x, y).mean())


def _mean_within(x: Tensor) -> float:
    """mean k(x, x') over pairs of different images."""
    k = kernel(x, x)
    return float((k.sum() - k.trace()) / (len(x) * (len(x) - 1)))


def _mean_mmd(generated: Tensor, real: Tensor, subsets: int, subset_size: int) -> tuple[float, float]:
    """The mean MMD² over the subsets, and its standard error."""
    size = min(subset_size, len(generated), len(real))
    random = np.random.RandomState(SEED)
    values = []
    for _ in range(subsets):
        x = generated[torch.from_numpy(random.choice(len(generated), size, replace=False))]
        y = real[torch.from_numpy(random.choice(len(real), size, replace=False))]
        values.append(mmd(x.double(), y.double()))
    return float(np.mean(values)), float(np.std(values)) / subsets**0.5


def _values_of_halves(generated: Tensor, real: Tensor, subject: Subject) -> Tensor:
    """MMD² [COUNT] of halves of the generated images to all real ones, without the constant mean k(y, y')."""
    n = len(generated)
    in_half = halves(n).double()  # [COUNT, n]
    size = n // 2
    total = torch.zeros(len(in_half), dtype=torch.float64)
    for start in range(0, n, ROWS):
        rows = generated[start : start + ROWS]
        within = kernel(rows, generated)  # [rows, n]
        within[torch.arange(len(rows)), start + torch.arange(len(rows))] = 0
        across = kernel(rows, real).mean(1)  # [rows]
        rows_in_half = in_half[:, start : start + ROWS]  # [COUNT, rows]
        # mean k(x, x') − 2 mean k(x, y) over the images of each half
        total += (rows_in_half * (in_half @ within.double().T)).sum(1) / (size * (size - 1))
        total -= 2 * rows_in_half @ across.double() / size
        subject.progress("interval of the kernel distance", min(n, start + ROWS), n)
    return total
