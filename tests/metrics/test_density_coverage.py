"""Density and coverage against the package of their authors, closed forms and simulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_subjects import noise
from prdc import compute_prdc

from ddpmx import DATASETS, METRICS, Score, SpecError, Subject
from ddpmx.data import Data
from ddpmx.metrics import neighbours
from ddpmx.metrics.classifier import batched, classifier
from ddpmx.metrics.density_coverage import balls_around
from ddpmx.metrics.halves import halves, interval


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


def measured(data: Data, images: torch.Tensor, **fields: object) -> dict[str, Score]:
    return METRICS.build("density_coverage", **fields).compute(Subject(data, images))


def normal(n: int, seed: int, d: int = 4, mean: float = 0.0, spread: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(mean + spread * np.random.default_rng(seed).standard_normal((n, d)))


@pytest.mark.parametrize("k", [1, 5])
def test_scores_are_those_of_prdc(digits: Data, k: int) -> None:
    features = classifier(digits).network.features
    real = batched(features, digits.test.pixels).numpy()
    ones = digits.train.pixels[digits.train.labels == 1][:40]
    for images in (digits.validation.pixels, ones, torch.cat([ones[:20], noise(digits, 20)])):
        truth = compute_prdc(real, batched(features, images).numpy(), nearest_k=k)
        scores = measured(digits, images, k=k)
        assert list(scores) == ["density", "coverage"]
        for name, score in scores.items():
            assert score.value == pytest.approx(truth[name], abs=1e-9)


def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = normal(90, 0), normal(70, 1, mean=0.5)
    whole = balls_around(real, generated, 5)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    parts = balls_around(real, generated, 5)
    assert (parts.density, parts.coverage) == (whole.density, whole.coverage)
    assert torch.equal(parts.coverage_of_halves, whole.coverage_of_halves)


def test_values_of_halves_are_those_of_the_halves() -> None:
    real, generated = normal(90, 0), normal(71, 1, mean=0.5)
    found = balls_around(real, generated, 3)
    each = [balls_around(real, generated[half], 3) for half in halves(71)]
    assert found.density_of_halves().tolist() == pytest.approx([one.density for one in each], abs=1e-12)
    assert found.coverage_of_halves.tolist() == pytest.approx([one.coverage for one in each], abs=1e-12)


def test_a_perfect_model_has_the_expected_values() -> None:
    """Density is 1 on average; coverage is 1 − (N−1)…(N−k)/((N+n−1)…(N+n−k)) (Naeem et al., lemma 2)."""
    n_real, n, k = 100, 80, 5
    found = [balls_around(normal(n_real, seed), normal(n, seed + 1000), k) for seed in range(200)]
    expected = 1 - np.prod([(n_real - i) / (n_real + n - i) for i in range(1, k + 1)])
    assert np.mean([one.density for one in found]) == pytest.approx(1, abs=0.02)
    assert np.mean([one.coverage for one in found]) == pytest.approx(expected, abs=0.01)


def test_intervals_cover() -> None:
    real = normal(300, 1)

    def drawn(seed: int) -> torch.Tensor:
        return normal(150, seed, mean=0.4, spread=0.8)

    means = np.mean(
        [[one.density, one.coverage] for s in range(150) if (one := balls_around(real, drawn(s), 5))], 0
    )
    covered = []
    for seed in range(1000, 1030):
        one = balls_around(real, drawn(seed), 5)
        bounds = [
            interval(one.density, one.density_of_halves(), 150),
            interval(one.coverage, one.coverage_of_halves, 150),
        ]
        covered.append([low <= mean <= high for (low, high), mean in zip(bounds, means, strict=True)])
    assert (np.mean(covered, 0) >= 0.8).all()  # 30 intervals of 95 %: less than this by chance is 1 in 100


def test_images_of_one_class_are_dense_and_cover_little(digits: Data) -> None:
    scores = measured(digits, digits.train.pixels[digits.train.labels == 1])
    assert scores["density"].value > 0.8
    assert scores["coverage"].value < 0.2
    low, high = scores["coverage"].interval
    assert 0 <= low < scores["coverage"].value < high < 0.25
    assert scores["coverage"].floor > 0.8


def test_too_few_images_are_an_error(digits: Data) -> None:
    with pytest.raises(SpecError, match="at least 4 generated images"):
        measured(digits, digits.test.pixels[:3])
    with pytest.raises(SpecError, match="needs at least 202 real images, not 180"):
        measured(digits, digits.test.pixels, k=100)
