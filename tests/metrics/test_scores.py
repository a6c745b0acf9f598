"""Facts beside a metric's value: intervals that cover, floors, provenance; features are computed once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_subjects import frechet

from ddpmx import DATASETS, METRICS, Score, SpecError, Subject
from ddpmx.data import Data, Images
from ddpmx.metrics import features as module
from ddpmx.metrics.classifier import classifier
from ddpmx.metrics.features import weights_hash
from ddpmx.metrics.frechet import Reference
from ddpmx.metrics.halves import halves, interval


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


def gaussian(n: int, seed: int, mean: float = 128.0, spread: float = 20.0, size: int = 4) -> torch.Tensor:
    """Images whose pixels are independent normal numbers, rounded."""
    values = mean + spread * np.random.default_rng(seed).standard_normal((n, 1, size, size))
    return torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def normal_data() -> Data:
    return Data("normal", Images(gaussian(4000, 1)), Images(gaussian(10, 2)), Images(gaussian(2000, 3)))


def pixel_fd(images: torch.Tensor, data: Data, **parameters: object) -> Score:
    return METRICS.build("pixel_fd", **parameters).compute(Subject(data, images))["pixel_fd"]


def test_halves_are_halves_and_the_same_each_time() -> None:
    for n in (4, 5, 101):
        chosen = halves(n, 50)
        assert (chosen.sum(1) == n // 2).all()
        assert torch.equal(chosen, halves(n, 50))
    assert halves(40, 2000).double().mean(0).sub(0.5).abs().max() < 0.05  # five standard deviations


@pytest.mark.parametrize("n", [51, 200])
def test_the_interval_of_a_mean_is_the_textbooks(n: int) -> None:
    values = torch.from_numpy(np.random.default_rng(n).standard_normal(n))
    chosen = halves(n, 4000).double()
    low, high = interval(float(values.mean()), chosen @ values / (n // 2), n)
    assert (low + high) / 2 == pytest.approx(float(values.mean()))
    assert (high - low) / 2 == pytest.approx(1.96 * float(values.std()) / n**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("mean", "spread", "widest"),
    [(138.0, 24.0, 1.2), (128.0, 20.0, 2.5)],
    ids=["a worse model", "a perfect model"],
)
def test_the_interval_covers_where_the_distance_lies_on_average(
    normal_data: Data, mean: float, spread: float, widest: float
) -> None:
    """A simulation with new images of one Gaussian each time; 300 images bias the distance upwards."""
    reference = Reference(normal_data.test.pixels.flatten(1).float())
    draws = [gaussian(300, seed, mean, spread) for seed in range(100, 400)]
    true = torch.tensor([reference.distance(images.flatten(1).float()) for images in draws])
    scores = [pixel_fd(images, normal_data) for images in draws[:60]]
    covered = np.mean([low <= true.mean() <= high for low, high in (score.interval for score in scores)])
    widths = np.mean([high - low for low, high in (score.interval for score in scores)])
    assert covered >= 0.88  # 60 intervals of 95 %: less than this by chance is 1 in 100
    assert 0.85 <= widths / (2 * 1.96 * true.std()) <= widest


def test_pixel_fd_is_the_frechet_distance_of_the_pixels(digits: Data) -> None:
    drawn = digits.validation.pixels
    for reference, real in (("test", digits.test), ("train", digits.train)):
        truth = frechet(drawn.flatten(1).numpy(), real.pixels.flatten(1).numpy())
        assert pixel_fd(drawn, digits, reference=reference).value == pytest.approx(truth, rel=1e-6)
    few = drawn[:20]  # fewer than pixels
    assert pixel_fd(few, digits).value == pytest.approx(
        frechet(few.flatten(1).numpy(), digits.test.pixels.flatten(1).numpy()), rel=1e-5
    )


def test_pixel_fd_of_shifted_images_is_the_shift() -> None:
    images = gaussian(500, 0)
    data = Data("normal", Images(images), Images(images), Images(images))
    assert pixel_fd(images + 3, data).value == pytest.approx(16 * 3**2, rel=1e-9)


def test_pixel_fd_refuses_large_images() -> None:
    images = Images(torch.zeros(4, 3, 33, 33, dtype=torch.uint8))
    with pytest.raises(SpecError, match="3×32×32"):
        METRICS.build("pixel_fd").check(Data("large", images, images, images))


def test_a_score_says_where_it_comes_from(digits: Data) -> None:
    score = METRICS.build("fd_cnn").compute(Subject(digits, digits.validation.pixels, seed=7))["fd_cnn"]
    assert (score.n, score.split, score.seed, score.better) == (len(digits.validation), "test", 7, "lower")
    assert score.extractor == weights_hash(classifier(digits).network.state_dict())
    assert len(score.extractor) == 16
    other = METRICS.build("is_cnn").compute(Subject(digits, digits.validation.pixels))["is_cnn"]
    assert (other.extractor, other.split, other.better) == (score.extractor, None, "higher")
    assert other.interval[0] < other.value < other.interval[1]
    assert json.loads(json.dumps(score.fields()))["interval"] == list(score.interval)
    again = METRICS.build("fd_cnn").compute(Subject(digits, digits.validation.pixels, seed=7))["fd_cnn"]
    assert again == score


def test_the_hash_sees_every_weight() -> None:
    tensors = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    assert weights_hash(dict(reversed(tensors.items()))) == weights_hash(tensors)
    for changed in (
        {"b": torch.ones(4)},
        {"a": torch.tensor([0.0, 0.0, -0.0])},
        {"a": torch.zeros(3, dtype=torch.float64)},
    ):
        assert weights_hash({**tensors, **changed}) != weights_hash(tensors)


@pytest.mark.parametrize(
    ("n", "used", "others", "split"),
    [
        (300, 300, 1700, "test"),
        (1500, 1500, 2000, "train"),  # more than half of the test split
        (5000, 1000, 1000, "test"),
    ],
)
def test_the_floor_is_the_distance_of_disjoint_real_images(
    normal_data: Data, n: int, used: int, others: int, split: str
) -> None:
    """d·s²·(1 + (d + 1)/4)·(1/n + 1/N) on average for n and N images, to first order.

    It varies by 13 %.
    """
    score = pixel_fd(gaussian(n, 9), normal_data)
    expected = 16 * 20**2 * (1 / used + 1 / others) * (1 + 17 / 4)
    assert (score.floor_n, score.floor_split) == (used, split)
    assert score.floor == pytest.approx(expected, rel=0.4)


def test_a_floor_uses_held_out_images_first(normal_data: Data) -> None:
    """The test split is compared with; 30 of the 40 validation images take the generated ones' place."""
    held_out = replace(
        normal_data, validation=Images(gaussian(40, 5)), test=Images(gaussian(50, 6)), fingerprint=""
    )
    for n, split in ((25, "test"), (30, "validation"), (41, "train")):
        score = pixel_fd(gaussian(n, 9), held_out)
        assert (score.floor_n, score.floor_split) == (n, split)
    whole = pixel_fd(held_out.validation.pixels, held_out)  # 40 of 40 images
    assert whole.floor == pytest.approx(whole.value)


def test_floors_of_all_metrics_of_features_are_at_the_same_n(digits: Data) -> None:
    """100 generated images, where half of the 180 test images are too few.

    Coverage depends on the number of real images too, and keeps all of them even where half would do.
    """
    images = digits.train.pixels[:100]
    few = METRICS.build("density_coverage").compute(Subject(digits, images[:80]))["coverage"]
    assert (few.floor_n, few.floor_split) == (80, "validation")
    for name in ("fd_cnn", "precision_recall", "density_coverage"):
        for score in METRICS.build(name).compute(Subject(digits, images)).values():
            assert (score.n, score.floor_n, score.floor_split) == (100, 100, "validation")
    score = METRICS.build("is_cnn").compute(Subject(digits, digits.train.pixels[:200]))["is_cnn"]
    assert (score.n, score.floor_n, score.floor_split) == (200, 180, "test")


def test_too_few_images_have_a_reason_instead_of_an_interval(normal_data: Data) -> None:
    score = pixel_fd(gaussian(3, 1), normal_data)
    assert score.interval is None
    assert "4 images" in score.interval_note
    tiny = replace(normal_data, test=normal_data.test.take(torch.arange(3)), fingerprint="")
    without = pixel_fd(gaussian(5000, 1), tiny)
    assert (without.floor, without.floor_n, without.floor_split) == (None, 0, None)


def test_features_are_computed_once(digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of generated images once per subject, those of real ones once per machine."""
    made: list[int] = []
    extract = module.extract

    def counted(extractor: module.Extractor, pixels: torch.Tensor, done: module.Done) -> torch.Tensor:
        made.append(len(pixels))
        return extract(extractor, pixels, done)

    classifier(digits)
    monkeypatch.setattr(module, "extract", counted)
    monkeypatch.setattr("ddpmx.metrics.subject.extract", counted)
    files = Path(module.cache_root()) / "features"
    for file in files.iterdir() if files.exists() else ():
        file.unlink()
    for _ in range(2):
        subject = Subject(digits, digits.train.pixels[:77])
        for name in ("fd_cnn", "is_cnn"):
            METRICS.build(name).compute(subject)
    assert sorted(made) == [77, 77, len(digits.test)]
    changed = digits.test.pixels.clone()
    changed[0, 0, 0, 0] ^= 1
    METRICS.build("fd_cnn").compute(
        Subject(replace(digits, test=Images(changed, digits.test.labels)), digits.train.pixels[:77])
    )
    assert sorted(made) == [77, 77, 77, len(digits.test), len(digits.test)]


def test_slow_work_reports_its_progress(normal_data: Data) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    subject = Subject(
        normal_data,
        gaussian(40, 1),
        progress=lambda what, done, total: seen.setdefault(what, []).append((done, total)),
    )
    METRICS.build("pixel_fd").compute(subject)
    assert {what: calls[-1] for what, calls in seen.items()} == {
        "features": (40, 40),
        "interval of the distance": (200, 200),
    }
