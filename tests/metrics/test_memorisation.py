"""The share of copies, calibrated by planted ones; the two nearest images against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpmx import DATASETS, METRICS, Score, SpecError, Subject
from ddpmx.data import Data, Images
from ddpmx.metrics import nearest_images
from ddpmx.metrics.nearest_images import different, two_nearest


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


def measured(data: Data, images: torch.Tensor, **fields: float) -> Score:
    return METRICS.build("memorisation", **fields).compute(Subject(data, images))["memorisation"]


def noisy(pixels: torch.Tensor, amount: int) -> torch.Tensor:
    """The images with whole numbers in ±amount added."""
    change = np.random.default_rng(1).integers(-amount, amount + 1, pixels.shape)
    return (pixels.int() + torch.from_numpy(change)).clamp(0, 255).byte()


def fresh(data: Data, n: int) -> torch.Tensor:
    """Mixtures of two training images of different classes: none is a copy."""
    labels, random = data.train.labels, np.random.default_rng(0)
    assert labels is not None
    chosen = [(labels == label).nonzero().flatten()[random.integers(100, size=n)] for label in (0, 1)]
    a, b = (data.train.pixels[index].int() for index in chosen)
    return ((a + b) // 2).byte()


@pytest.mark.parametrize("k", [0, 1, 17, 40])
def test_planted_copies_are_counted(digits: Data, k: int) -> None:
    images = torch.cat([noisy(digits.train.pixels[:k], 6), fresh(digits, 40 - k)])
    score = measured(digits, images)
    assert score.value == k / 40
    low, high = score.interval
    assert 0 <= low <= score.value <= high <= 1
    assert high - low >= 0.999 * 3 / 40
    assert (score.better, score.n, score.split, score.facts) == (
        "lower",
        40,
        "train",
        {"training images": 1437},
    )


def test_an_interval_is_that_of_a_share(digits: Data) -> None:
    """1.96·√(p(1 − p)/n) for a share p of n images."""
    images = torch.cat([digits.train.pixels[:100], fresh(digits, 300)])
    low, high = measured(digits, images).interval
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 * 0.75 / 400), rel=0.15)


@pytest.mark.parametrize("flip", [False, True])
def test_a_mirrored_copy_counts_where_training_mirrors(digits: Data, flip: bool) -> None:
    rows = torch.arange(100).view(1, 1, 10, 10).expand(30, 1, 10, 10)
    random = np.random.default_rng(0)
    train = torch.from_numpy(random.integers(0, 256, rows.shape, dtype=np.uint8))
    data = Data("random", Images(train), Images(train[:2]), flip=flip)
    score = measured(data, torch.cat([train[:3], noisy(train[3:10].flip(-1), 3)]))
    assert score.value == (1.0 if flip else 0.3)
    assert score.facts.get("mirror images") == ("included" if flip else None)


def test_a_symmetric_image_is_one_image(digits: Data) -> None:
    """Its mirror image is no second neighbour that would hide a copy, nor is an exact duplicate."""
    random = np.random.default_rng(0)
    half = torch.from_numpy(random.integers(0, 256, (20, 1, 8, 4), dtype=np.uint8))
    symmetric = torch.cat([half, half.flip(-1)], -1)
    for flip in (False, True):
        train = torch.cat([symmetric, symmetric])
        data = Data("symmetric", Images(train), Images(train[:2]), flip=flip)
        for images in (symmetric[:4], noisy(symmetric[:4], 2)):
            score = measured(data, images)
            assert score.value == 1
            assert score.facts["different training images"] == 20
            assert score.facts["training images"] == 40


def test_a_mirrored_duplicate_hides_no_copy() -> None:
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8))
    train = torch.cat([images, images.flip(-1)])
    copies = noisy(images[:4], 2)
    assert different(train, flip=True).tolist() == [*range(20)]
    assert different(train, flip=False).tolist() == [*range(40)]
    for flip in (False, True):
        assert measured(Data("both", Images(train), Images(train[:2]), flip=flip), copies).value == 1


def test_the_floor_is_the_share_among_held_out_images(digits: Data) -> None:
    score = measured(digits, digits.test.pixels)
    assert score.floor == score.value
    assert score.floor_n == len(digits.test.pixels) == score.n
    assert score.value < 0.02
    few = measured(digits, digits.train.pixels[:20])
    assert (few.value, few.floor_n) == (1, 20)
    without_test = replace(digits, test=None, fingerprint="")
    assert (
        measured(without_test, digits.validation.pixels).floor
        == measured(digits, digits.validation.pixels).value
    )


def test_the_ratio_is_a_field(digits: Data) -> None:
    shares = [measured(digits, digits.validation.pixels, ratio=ratio).value for ratio in (0.1, 0.6, 0.99)]
    assert shares == sorted(shares)
    assert shares[2] > 0.9 > shares[0]


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("flip", [False, True])
def test_nearest_images_are_those_of_brute_force(
    size: int, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several chunks; images of 40×40 have more values than float32 adds exactly."""
    monkeypatch.setattr(nearest_images, "ROWS", 7)
    monkeypatch.setattr(nearest_images, "BLOCK", 11)
    random = np.random.default_rng(size)
    train = torch.from_numpy(random.integers(0, 256, (60, 1, size, size), dtype=np.uint8))
    images = torch.cat([noisy(train[:20], 1), noisy(train[20:30].flip(-1), 9), train[30:35]])
    found = two_nearest(images, train, flip)
    for index, image in enumerate(images):
        forms = [image.long(), image.long().flip(-1)] if flip else [image.long()]
        squared = torch.stack([(train.long() - form).square().flatten(1).sum(1) for form in forms]).amin(0)
        order = squared.argsort()[:2]
        assert found.indices[index].tolist() == order.tolist()
        assert found.distances[index].tolist() == squared[order].double().sqrt().tolist()


def test_images_that_float32_cannot_tell_apart_are_told_apart() -> None:
    """All 40 training images are a single step of one value from each other, at a large distance."""
    train = torch.full((40, 3, 40, 40), 255, dtype=torch.uint8)
    for index in range(1, 40):
        train[index, 0, 0, :index] -= 1
    image = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    found = two_nearest(image, train, False)
    assert found.indices.tolist() == [[39, 38]]
    assert found.distances.square().round().tolist() == [
        [4800 * 255**2 - (255**2 - 254**2) * k for k in (39, 38)]
    ]


def test_too_few_images_are_an_error(digits: Data) -> None:
    with pytest.raises(SpecError, match="at least 4 generated images, not 3"):
        measured(digits, digits.test.pixels[:3])
    same = digits.train.pixels[:1].expand(9, -1, -1, -1).contiguous()
    with pytest.raises(SpecError, match="2 different ones are needed"):
        measured(Data("same", Images(same), Images(same)), digits.test.pixels[:9])
    with pytest.raises(SpecError, match="single training image"):
        METRICS.build("memorisation").check(Data("one", Images(same[:1]), Images(same)))
