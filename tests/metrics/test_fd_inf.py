"""The extrapolated Fréchet distance: against independent fits, and on Gaussians with a known distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result
from metric_subjects import noise
from torch import Tensor

import ddpmx
from ddpmx.components.registry import DATASETS
from ddpmx.data import Data
from ddpmx.metrics import Subject, fd_inf
from ddpmx.metrics.extrapolation import SIZES, Extrapolation, order, windows
from ddpmx.metrics.fd_inf import FdInf
from ddpmx.metrics.frechet import Reference
from ddpmx.metrics.halves import halves, interval

REPETITIONS = 100


def features(n: int, d: int, seed: int, spread: float = 1.0) -> Tensor:
    """Gaussian features with standard deviations from `spread` to `spread`/30, not centred."""
    generator = torch.Generator().manual_seed(seed)
    deviations = spread * torch.logspace(0, -1.5, d, dtype=torch.float64)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) * deviations + 3).float()


def independent(real: Tensor, generated: Tensor, chosen: Tensor | None = None) -> tuple[float, float]:
    """(value, slope) by numpy's polyfit, from distances of the same subsets that need no covariances."""
    ordered = order(len(generated))
    if chosen is not None:
        ordered = ordered[chosen[ordered]]
    reference, n = Reference(real), len(ordered)
    sizes, means = [], []
    for same in windows(n, generated.shape[1]):
        subsets = [ordered[(start + torch.arange(size)) % n] for start, size in same]
        sizes.append(len(subsets[0]))
        means.append(np.mean([reference.distance(generated[subset]) for subset in subsets]))
    slope, value = np.polyfit(1 / np.array(sizes), means, 1)
    return float(value), float(slope)


@pytest.mark.parametrize(("n", "d", "count"), [(20, 3, 50), (203, 12, 150), (64, 40, 30), (50, 60, 100)])
def test_it_is_the_line_through_distances_of_the_same_subsets(n: int, d: int, count: int) -> None:
    real, generated = features(count, d, 1), features(n, d, 2, 1.3)
    generated[:, 0] = 7  # a feature without variance
    extrapolation = Extrapolation(Reference(real), generated)
    assert extrapolation.line() == pytest.approx(independent(real, generated), rel=1e-6)
    for half in halves(n, 3):
        assert extrapolation.line(half) == pytest.approx(independent(real, generated, half), rel=1e-6)


@pytest.mark.parametrize("n", [10, 20, 57, 1000])
@pytest.mark.parametrize(("dimension", "count"), [(128, 4), (2048, 2)])
def test_sizes_are_even_from_a_quarter_and_windows_use_all_images_alike(
    n: int, dimension: int, count: int
) -> None:
    found = windows(n, dimension)
    sizes = [same[0].size for same in found]
    assert len(set(sizes)) == SIZES == 8
    assert (sizes[0], sizes[-1]) == (round(n / 4), n)
    assert max(np.diff(sizes)) - min(np.diff(sizes)) <= 1
    for same in found[:-1]:
        uses = torch.zeros(n)
        assert len(same) == count
        for start, size in same:
            uses[(start + torch.arange(size)) % n] += 1
        assert uses.max() - uses.min() <= 2
    assert [tuple(window) for window in found[-1]] == [(0, n)]


def known(dimension: int) -> tuple[Reference, Tensor, float]:
    """An exact reference, deviations of the generated features, and the distance of their distributions.

    The reference's sample covariance is made exact by rotating its rows' own axes away.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4 * dimension, dimension, generator=generator, dtype=torch.float64)
    rows = torch.linalg.qr(rows - rows.mean(0)).Q * (len(rows) - 1) ** 0.5  # covariance 1, mean 0
    deviations = torch.logspace(0, -1, dimension, dtype=torch.float64)
    other = deviations * torch.linspace(0.7, 1.2, dimension, dtype=torch.float64)
    return Reference(rows * deviations), other, float((deviations - other).square().sum())


@pytest.mark.slow
def test_it_has_no_bias_where_the_plain_distance_has_and_covers_95_percent() -> None:
    dimension, n = 16, 160
    reference, deviations, truth = known(dimension)
    plain, found, covered = [], [], []
    for seed in range(REPETITIONS):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(n, dimension, generator=generator, dtype=torch.float64) * deviations
        extrapolation = Extrapolation(reference, images)
        value = extrapolation.line().value
        half_values = torch.tensor([extrapolation.line(half).value for half in halves(n, 20)])
        low, high = interval(value, half_values, n)
        plain.append(reference.distance(images))
        found.append(value)
        covered.append(low <= truth <= high)
    assert np.mean(plain) - truth > 5 * np.std(found) / REPETITIONS**0.5
    assert abs(np.mean(found) - truth) < 0.2 * (np.mean(plain) - truth)
    assert np.std(found) < 1.15 * np.std(plain)
    assert np.mean(covered) > 0.89  # halves are extrapolated from fewer images, which makes them wide


def test_a_perfect_model_scatters_around_0() -> None:
    reference, _, _ = known(8)
    deviations = torch.logspace(0, -1, 8, dtype=torch.float64)
    found = [
        Extrapolation(reference, torch.randn(200, 8, generator=generator, dtype=torch.float64) * deviations)
        .line()
        .value
        for generator in map(torch.Generator().manual_seed, range(30))
    ]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 4 * np.std(found) / 30**0.5


def digits() -> Data:
    return DATASETS.build("digits").load(".")  # type: ignore[arg-type, no-any-return]


def test_the_score_has_its_reference_and_says_when_its_line_is_bent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fd_inf, "COUNT", 5)
    data = digits()
    few, enough = (
        FdInf(reference="train").compute(Subject(data, noise(data, n)))["fd_inf"] for n in (40, 256)
    )
    assert few.facts == {"reference images": len(data.train), "fewer images than 2 × features": 256}
    assert enough.facts == {"reference images": len(data.train)}
    assert enough.interval[0] < enough.value < enough.interval[1]
    assert (enough.n, enough.split, len(enough.values)) == (256, "train", 5)
    assert enough.floor < 0.1 * enough.value
    assert (enough.floor_n, enough.floor_split, enough.depends_on_n) == (256, "train", False)
    assert few.depends_on_n
    for metric, samples, says in (
        (FdInf(), 255, "255 generated images are fewer than 2 × its 128 feature dimensions"),
        (FdInf(), 256, ""),
        (
            FdInf(features="inception"),
            4095,
            "4,095 generated images are fewer than 2 × its 2,048 feature dimensions",
        ),
    ):
        assert says in (note := metric.samples_note(data, samples))
        assert bool(says) == bool(note)


def test_too_few_images_are_refused() -> None:
    data = digits()
    with pytest.raises(ddpmx.SpecError, match="needs at least 20 generated images, not 19"):
        FdInf().compute(Subject(data, noise(data, 19)))


@pytest.mark.slow
def test_a_run_measures_it(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("samples: 8", "samples: 20, metrics: [{name: fd_inf, reference: train}]"))
    result = ddpmx("run", path, "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    evaluated = ddpmx("evaluate", run, "--metrics", "fd_inf")
    assert evaluated.code == 0, evaluated.err
    assert "fd_inf" in evaluated.out
    assert "fewer than 2 × its 128 feature dimensions" in evaluated.out + evaluated.err
