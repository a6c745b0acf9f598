"""Precision, recall and the kernel distance against counts, closed forms and simulations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_subjects import noise

from ddpmx import DATASETS, METRICS, SpecError, Subject
from ddpmx.data import Data, Images
from ddpmx.metrics.classifier import batched, classifier
from ddpmx.metrics.features import Pixels
from ddpmx.metrics.halves import halves, interval
from ddpmx.metrics.kernel_distance import kernel_score, mmd
from ddpmx.metrics.precision_recall import precision_recall, recalls_of_halves


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


def brute_force(drawn: np.ndarray, real: np.ndarray, k: int) -> tuple[float, float]:
    """(precision, recall), counted pair by pair."""

    def share(points: np.ndarray, centres: np.ndarray) -> float:
        inside = 0
        reach = [
            sorted(np.linalg.norm(centres - centre, axis=1))[k] for centre in centres
        ]  # [0] is the centre itself
        for point in points:
            inside += any(
                np.linalg.norm(point - centre) <= radius
                for centre, radius in zip(centres, reach, strict=True)
            )
        return inside / len(points)

    return share(drawn, real), share(real, drawn)


def features(data: Data, images: torch.Tensor) -> np.ndarray:
    return batched(classifier(data).network.features, images).numpy()


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_the_brute_force_count(digits: Data, k: int) -> None:
    ones = digits.train.pixels[digits.train.labels == 1][:40]
    for images in (digits.validation.pixels[:60], ones, torch.cat([ones[:20], noise(digits, 20)])):
        scores = METRICS.build("precision_recall", k=k).compute(Subject(digits, images))
        found = [scores[f"precision_recall.{name}"].value for name in ("precision", "recall")]
        assert found == pytest.approx(
            brute_force(features(digits, images), features(digits, digits.test.pixels), k), abs=1e-12
        )


def test_precision_and_recall_differ_for_images_of_one_class(digits: Data) -> None:
    """Images of one class look real, but do not cover the data."""
    ones = METRICS.build("precision_recall").compute(
        Subject(digits, digits.train.pixels[digits.train.labels == 1])
    )
    assert ones["precision_recall.precision"].value > 0.8
    assert ones["precision_recall.recall"].value < 0.2
    low, high = ones["precision_recall.precision"].interval
    assert low < ones["precision_recall.precision"].value <= high <= 1
    assert ones["precision_recall.precision"].floor > 0.8


def test_halves_recall_is_the_recall_of_the_halves() -> None:
    random = np.random.default_rng(0)
    drawn, real = (torch.from_numpy(random.standard_normal((n, 4))) for n in (90, 70))
    found = recalls_of_halves(drawn, real, 3)
    truth = [precision_recall(drawn[half], real, 3)[1] for half in halves(90)]
    assert found.tolist() == pytest.approx(truth, abs=1e-12)


def test_intervals_of_precision_and_recall_cover() -> None:
    """A simulation of a shifted and narrower Gaussian against a standard one in 4 dimensions."""
    random = np.random.default_rng(1)
    real = torch.from_numpy(random.standard_normal((300, 4)))

    def draw() -> torch.Tensor:
        return torch.from_numpy(0.7 + 0.8 * random.standard_normal((150, 4)))

    others = [precision_recall(draw(), real, 3)[1] for _ in range(150)]
    covered, widths = [], []
    for _ in range(25):
        drawn = draw()
        recall = precision_recall(drawn, real, 3)[1]
        low, high = interval(recall, recalls_of_halves(drawn, real, 3), 150)
        covered.append(low <= np.mean(others) <= high)
        widths.append(high - low)
    assert np.mean(covered) >= 0.8  # 25 intervals of 95 %: less than this by chance is 1 in 100
    assert 0.8 <= np.mean(widths) / (2 * 1.96 * np.std(others)) <= 1.5


def test_precision_recall_says_how_many_images_it_needs(digits: Data) -> None:
    with pytest.raises(SpecError, match="needs at least 8 generated images"):
        METRICS.build("precision_recall").compute(Subject(digits, digits.test.pixels[:7]))


def test_the_kernel_distance_is_its_definition() -> None:
    """Against the definition in loops."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((7, 5)), random.standard_normal((9, 5)) + 0.5

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    def own(points: np.ndarray) -> float:
        return float(np.mean([k(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]))

    truth = own(x) + own(y) - 2 * float(np.mean([k(a, b) for a in x for b in y]))
    assert mmd(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize(("shift", "widest"), [(4, 1.3), (0, 2.5)], ids=["a worse model", "a perfect model"])
def test_the_kernel_distance_is_unbiased_and_its_interval_covers(shift: int, widest: float) -> None:
    """The mean distance of few images is that of many, and the 95 % intervals contain it often enough."""
    random = np.random.default_rng(shift)

    def images(n: int, mean: int) -> torch.Tensor:
        return torch.from_numpy((2 + mean + random.integers(0, 5, (n, 1, 3, 3))).astype(np.uint8))

    real = images(400, 0)
    data = Data("small", Images(real), Images(real), Images(real))
    draws = [kernel_score(Subject(data, images(60, shift)), Pixels(), "test", 20, 50) for _ in range(50)]
    values = np.array(
        [mmd(images(60, shift).flatten(1).double(), real.flatten(1).double()) for _ in range(200)]
    )
    error = values.std() / 200**0.5
    exact = mmd(images(3000, shift).flatten(1).double(), real.flatten(1).double())
    assert abs(values.mean() - exact) < 5 * error
    covered = np.mean([low <= values.mean() <= high for low, high in (score.interval for score in draws)])
    assert covered >= 0.88
    assert (
        np.mean([high - low for low, high in (score.interval for score in draws)]) / (2 * 1.96 * values.std())
        <= widest
    )
