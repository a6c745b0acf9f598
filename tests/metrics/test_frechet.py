"""The Fréchet distance in cases that are known exactly, and from sets to themselves."""

from __future__ import annotations

import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from ddpmx.components.registry import DATASETS
from ddpmx.data import Data
from ddpmx.metrics import frechet
from ddpmx.metrics.frechet import Reference


def spread(rows: int, deviations: Tensor) -> Tensor:
    """Uncorrelated features with mean 0 and these standard deviations; powers of 2 are exact in float32."""
    columns = torch.from_numpy(hadamard(rows)).double()[:, 1 : len(deviations) + 1]
    return (columns * deviations).float()


def powers(low: int, high: int, count: int) -> Tensor:
    return 2.0 ** torch.linspace(low, high, count, dtype=torch.float64).round()


@pytest.mark.parametrize(("rows", "others"), [(128, 64), (32, 32), (64, 16), (16, 128)])
def test_it_is_exact_for_deviations_of_every_size(rows: int, others: int) -> None:
    count = min(rows, others) - 1
    a, b = powers(-12, 12, count), powers(12, -12, count)
    a[0] = b[1] = 0  # a constant feature
    x, y = spread(rows, a), spread(others, b) + 0.5
    unbiased_a, unbiased_b = (values * (n / (n - 1)) ** 0.5 for values, n in ((a, rows), (b, others)))
    truth = 0.25 * count + float((unbiased_a - unbiased_b).square().sum())
    assert Reference(y).distance(x) == pytest.approx(truth, rel=1e-12)
    assert Reference(x).distance(y) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(2, 5), (9, 40), (40, 40), (41, 40), (300, 40)])
@pytest.mark.parametrize("kind", ["full", "constant features", "equal features", "one image again and again"])
def test_the_distance_of_a_set_to_itself_is_0_and_never_negative(n: int, d: int, kind: str) -> None:
    features = 200 * torch.rand(n, d, generator=torch.Generator().manual_seed(n + d))
    if kind == "constant features":
        features[:, ::3] = 17
    elif kind == "equal features":
        features[:, 1::2] = features[:, ::2][:, : d // 2]
    elif kind == "one image again and again":
        features[:] = features[0]
    size = float(features.double().square().sum() / n)
    for same in (features, features.flip(0)):
        assert 0 <= Reference(features).distance(same) < 1e-12 * size


def test_so_it_is_for_pixels_that_never_change() -> None:
    data: Data = DATASETS.build("digits").load(".")  # type: ignore[arg-type]
    pixels = data.train.pixels.flatten(1).float()
    assert 0 <= Reference(pixels).distance(pixels) < 1e-9


def test_the_rows_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(500, 20, generator=generator) * scale for scale in (1.0, 3.0))
    whole = Reference(y).distance(x)
    monkeypatch.setattr(frechet, "ROWS", 64)
    assert Reference(y).distance(x) == pytest.approx(whole, rel=1e-12)
