"""fd_cnn and is_cnn against their formulas, and the classifier behind them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_subjects import frechet, noise

from ddpmx import DATASETS, METRICS, SpecError
from ddpmx.data import Data, Images
from ddpmx.metrics import Subject
from ddpmx.metrics import classifier as module
from ddpmx.metrics.base import reference_note
from ddpmx.metrics.classifier import batched, classifier


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


def fd(images: torch.Tensor, data: Data, **parameters: object) -> float:
    return METRICS.build("fd_cnn", **parameters).compute(Subject(data, images))["fd_cnn"].value


def score(images: torch.Tensor, data: Data, **parameters: object) -> float:
    return METRICS.build("is_cnn", **parameters).compute(Subject(data, images))["is_cnn"].value


@pytest.mark.parametrize("reference", ["test", "train"])
def test_fd_cnn_is_the_frechet_distance_of_the_features(digits: Data, reference: str) -> None:
    features = classifier(digits).network.features
    real = digits.test.pixels if reference == "test" else digits.train.pixels
    for images in (digits.validation.pixels, noise(digits, 300)):
        truth = frechet(batched(features, images).numpy(), batched(features, real).numpy())
        assert fd(images, digits, reference=reference) == pytest.approx(truth, rel=1e-4)


def test_torchmetrics_agrees(digits: Data) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Eye(torch.nn.Module):
        num_features = 128

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return batched(classifier(digits).network.features, pixels)

    distance = FrechetInceptionDistance(Eye())
    distance.update(digits.test.pixels, real=True)
    distance.update(digits.validation.pixels, real=False)
    assert fd(digits.validation.pixels, digits) == pytest.approx(float(distance.compute()), rel=1e-4)


def test_is_cnn_is_the_formula(digits: Data) -> None:
    images = digits.validation.pixels
    logits = batched(classifier(digits).network, images).numpy()
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    divergence = (p * (np.log(p) - np.log(p.mean(0)))).sum(1)
    assert score(images, digits) == pytest.approx(
        np.exp(divergence.mean()), rel=1e-6
    )  # of float32 logits, batch by batch
    assert score(images.flip(0), digits) == pytest.approx(score(images, digits), rel=1e-6)


def test_real_images_are_close_and_noise_is_far(digits: Data) -> None:
    assert fd(digits.validation.pixels, digits) < 0.05 * fd(noise(digits, 180), digits)


def test_is_cnn_counts_the_classes_present(digits: Data) -> None:
    images, labels = digits.train.pixels, digits.train.labels
    one, two, ten = images[labels == 3][:50], torch.cat([images[labels == k][:50] for k in (3, 8)]), images
    assert score(one[:1].repeat(20, 1, 1, 1), digits) == pytest.approx(1, abs=1e-9)
    assert score(one, digits) == pytest.approx(1, abs=0.05)
    assert score(two, digits) == pytest.approx(2, abs=0.1)
    assert score(ten, digits) == pytest.approx(10, abs=0.3)


def test_two_images_are_enough_and_one_is_not(digits: Data) -> None:
    two = digits.test.pixels[:2]
    features = classifier(digits).network.features
    truth = frechet(batched(features, two).numpy(), batched(features, digits.test.pixels).numpy())
    assert fd(two, digits) == pytest.approx(truth, rel=1e-4)
    assert 1 <= score(two, digits) <= 2
    for metric in ("fd_cnn", "is_cnn"):
        with pytest.raises(SpecError, match="at least 2"):
            METRICS.build(metric).compute(Subject(digits, two[:1]))


def test_parts_of_is_cnn_are_always_the_same_ones(digits: Data) -> None:
    images = digits.validation.pixels
    assert score(images, digits, splits=4) == score(images, digits, splits=4) != score(images, digits)


def test_the_classifier_knows_digits(digits: Data) -> None:
    trained = classifier(digits)
    assert trained.split == "test"
    right = trained.network(digits.test.pixels).argmax(1) == digits.test.labels
    assert trained.accuracy == pytest.approx(right.double().mean().item())
    assert trained.accuracy >= 0.95


def test_the_classifier_is_the_same_each_time_and_disturbs_nothing(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = classifier(digits).network.state_dict()
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path))
    torch.manual_seed(12345)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.inference_mode():
        trained = classifier(digits).network.state_dict()
        METRICS.build("is_cnn").compute(Subject(digits, digits.test.pixels))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    cached = classifier(digits).network.state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, trained[name]), name
        assert torch.equal(tensor, cached[name]), name


def test_the_cached_classifier_is_used(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier(digits)

    def trains(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "_train", trains)
    assert classifier(digits).accuracy >= 0.95


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 9), (1, 28), (3, 33), (3, 100)])
def test_the_classifier_learns_at_any_size(
    channels: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two classes, by which half of an image is brighter: noise does not hide this."""
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "MIN_STEPS", 30)
    labels = torch.arange(80) % 2
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 200, (80, channels, size, size), dtype=np.uint8)
    )
    half = (torch.arange(size) < size // 2) == (labels[:, None] == 0)  # [80, size]: the brighter columns
    pixels += 55 * half[:, None, None, :].to(torch.uint8)
    parts = (slice(0, 40), slice(40, 60), slice(60, 80))
    train, validation, test = (Images(pixels[part], labels[part]) for part in parts)
    assert classifier(Data("halves", train, validation, test, ("left", "right"))).accuracy == 1.0


@pytest.mark.parametrize("metric", ["fd_cnn", "is_cnn"])
def test_unlabelled_data_need_labels(digits: Data, metric: str) -> None:
    bare = Data("bare", *(Images(images.pixels) for _, images in digits.splits()))
    with pytest.raises(SpecError, match="labelled set"):
        METRICS.build(metric).compute(Subject(bare, digits.test.pixels))


def test_a_set_without_a_test_split_is_compared_with_its_training_images(digits: Data) -> None:
    data = Data("no test", digits.train, digits.validation, None, digits.classes)
    metric = METRICS.build("pixel_fd")
    (score,) = metric.compute(Subject(data, digits.test.pixels)).values()
    (same,) = METRICS.build("pixel_fd", reference="train").compute(Subject(data, digits.test.pixels)).values()
    assert (score.split, score.value) == ("train", same.value)
    assert "compares with the training images" in reference_note(metric, data)
    assert (
        reference_note(metric, digits)
        == reference_note(METRICS.build("pixel_fd", reference="train"), data)
        == ""
    )
    with pytest.raises(SpecError, match="`reference: train`"):  # an explicit choice is not replaced
        METRICS.build("pixel_fd", reference="test").check(data)


def test_the_test_split_is_the_default_reference(digits: Data) -> None:
    (default,) = METRICS.build("pixel_fd").compute(Subject(digits, digits.test.pixels)).values()
    (named,) = (
        METRICS.build("pixel_fd", reference="test").compute(Subject(digits, digits.test.pixels)).values()
    )
    assert default == named


@pytest.mark.parametrize(
    "name", [name for name in METRICS.names() if "reference" in METRICS.get(name).model_fields]
)
def test_no_metric_has_another_default_reference(name: str) -> None:
    assert METRICS.build(name).reference is None


def test_images_of_another_shape_are_refused(digits: Data) -> None:
    with pytest.raises(SpecError, match=r"uint8 \[n, \*\[1, 8, 8\]\]"):
        fd(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), digits)


@pytest.mark.slow
@pytest.mark.skipif(
    "DDPMX_DATA" not in os.environ, reason="DDPMX_DATA names no folder with MNIST and Fashion-MNIST"
)
@pytest.mark.parametrize(("name", "least"), [("mnist", 0.985), ("fashion_mnist", 0.91)])
def test_the_classifier_is_good_at_full_size(name: str, least: float) -> None:
    assert classifier(DATASETS.build(name).load(Path())).accuracy >= least
