"""The gap of the bound between validation and training images, where it is known, and its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result
from linear_network import Linear, best_gain, experiment_of, gaussian_data
from scipy import stats
from torch import Tensor, nn

import ddpmx
from ddpmx.data import Data, Images
from ddpmx.metrics import Metric, Score, Subject
from ddpmx.metrics.bound_gap import BoundGap
from ddpmx.metrics.bpd import Bpd
from ddpmx.spec.loading import load
from ddpmx.theory.images_part import ImagesPart
from ddpmx.theory.scores import Draws, SpecScores
from ddpmx.theory.variance import posterior
from ddpmx.training.experiment import Experiment, build


class Memory(nn.Module):
    """Predicts one image, whatever it is shown."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.image.expand_as(x)


def splits(train: Tensor, validation: Tensor, train_labels: Tensor | None = None) -> Data:
    return Data("two", Images(train, train_labels), Images(validation))


def scores_of(
    metric: Metric, experiment: Experiment, network: nn.Module, data: Data, seed: int = 0
) -> dict[str, Score]:
    return metric.compute(Subject(data, torch.empty(0), seed, experiment=experiment, network=network))


def gap(experiment: Experiment, network: nn.Module, data: Data, seed: int = 0, **options: object) -> Score:
    return scores_of(BoundGap(**options), experiment, network, data, seed)["bound_gap"]


def test_it_is_exact_for_a_network_that_knows_nothing_but_its_training_image(tmp_path: Path) -> None:
    """KL_t = c_x0²·(x − x')²/2σ_t² nats for a validation image x' and the memorised x, and 0 for x itself."""
    experiment = experiment_of(tmp_path, 20)
    train, validation = (torch.full((3, 1, 8, 8), value, dtype=torch.uint8) for value in (100, 104))
    memory, other = 100 / 127.5 - 1, 104 / 127.5 - 1
    found = gap(experiment, Memory(torch.tensor(memory)), splits(train, validation), timesteps=None)
    q, table = posterior(experiment.table), experiment.table
    middle = 0.5 * (q.c_x0.square() * (memory - other) ** 2 / q.log_lower.exp())[1:].sum()
    std = math.exp(0.5 * float(q.log_lower[0]))
    masses = [
        stats.norm.cdf(x + 1 / 255, memory, std) - stats.norm.cdf(x - 1 / 255, memory, std)
        for x in (memory, other)
    ]
    signal, sigma = float(table.signal[-1]), float(table.sigma[-1])
    prior = 0.5 * signal**2 * (other**2 - memory**2) / (signal**2 + sigma**2)
    truth = (float(middle) + math.log(masses[0] / masses[1]) + prior) / math.log(2)
    assert truth > 0.1
    assert found.value == pytest.approx(truth, rel=1e-5)
    assert found.facts == {"training images": 3}


@pytest.mark.parametrize(
    ("options", "second"),
    [
        ({}, None),
        ({"variance": "beta", "clip": False}, None),
        ({"timesteps": None}, None),
        ({"timesteps": 3}, 0.4),
        ({"variance": "analytic"}, None),
    ],
)
def test_it_is_the_difference_of_the_bits_of_two_splits(
    tmp_path: Path, options: dict[str, object], second: float | None
) -> None:
    model = "" if second is None else ", learned_variance: true"
    experiment = experiment_of(tmp_path, 25, model=model)
    both = gaussian_data(30, size=8).train.pixels
    data, network = splits(both[:20], both[20:]), Linear(best_gain(experiment.table), second)
    found = gap(experiment, network, data, **options)
    bits = [
        scores_of(Bpd(images=10, reference=split, **options), experiment, network, data)["bpd"]
        for split in ("validation", "train")
    ]
    assert found.value == pytest.approx(bits[0].value - bits[1].value, rel=1e-9)
    assert torch.equal(found.values, bits[0].values - bits[1].values)
    assert found.facts == {"training images": 20, **bits[0].facts}
    assert (found.n, found.split, found.preprocessing) == (10, "validation", bits[0].preprocessing)
    paired = stats.ttest_rel(bits[0].values, bits[1].values).confidence_interval()
    assert found.interval == pytest.approx((paired.low, paired.high), rel=1e-6)
    fewer = gap(experiment, network, data, images=4, **options)
    assert fewer.n == 4
    assert torch.equal(fewer.values, found.values[:4])


def mixture(seed: int, n: int) -> Data:
    """Training and validation images of one distribution, Gaussian with another deviation for each image."""
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(2 * n, 1, 8, 8)) * generator.uniform(0.05, 0.6, (2 * n, 1, 1, 1))
    pixels = torch.from_numpy(((images.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8))
    return splits(pixels[:n], pixels[n:])


def half_width(score: Score) -> float:
    return (score.interval[1] - score.interval[0]) / 2


@pytest.mark.slow
@pytest.mark.parametrize(("timesteps", "n"), [(3, 120), (None, 30)])
def test_the_interval_contains_no_gap_in_95_percent_of_cases(
    tmp_path: Path, timesteps: int | None, n: int
) -> None:
    """With few timesteps, most of the noise is that of the timesteps, which both splits share."""
    experiment = experiment_of(tmp_path, 20)
    network = Linear(best_gain(experiment.table))
    found = [gap(experiment, network, mixture(i, n), i, timesteps=timesteps) for i in range(400)]
    covered = np.mean([score.interval[0] <= 0 <= score.interval[1] for score in found])
    assert covered == pytest.approx(0.95, abs=0.033)  # three standard deviations
    variance = np.mean([half_width(score) ** 2 for score in found]) / stats.t.ppf(0.975, n - 1) ** 2
    assert variance == pytest.approx(np.var([score.value for score in found]), rel=0.25)


def test_the_gaps_of_two_networks_are_paired(tmp_path: Path) -> None:
    """Their difference varies far less over images and noise than two gaps of independent images would."""
    experiment = experiment_of(tmp_path, 20)
    networks = [Linear(scale * best_gain(experiment.table)) for scale in (1, 0.97)]
    drawn = [[gap(experiment, each, mixture(i, 40), i, timesteps=3) for each in networks] for i in range(30)]
    truth = np.std([one.value - other.value for one, other in drawn])
    single = np.std([one.value for one, _ in drawn])
    found = []
    for pair in drawn:
        specs = [
            SpecScores((0,), (each.value,), Draws("images", each.values.numpy()[None]), variance)
            for each in pair
            for variance in [(half_width(each) / stats.t.ppf(0.975, 39)) ** 2]
        ]
        assert [spec.excess for spec in specs] == pytest.approx([0, 0], abs=1e-12)
        found.append(ImagesPart(specs).sd(0, 1))
    assert np.mean(found) == pytest.approx(truth, rel=0.4)
    assert np.mean(found) < 0.5 * single


def test_each_split_is_shown_with_its_own_labels_and_progress_never_falls(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("dim_mults: [1, 2]", "dim_mults: [1, 2], classes: true"))
    experiment = build(load(path), torch.device("cpu"))
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            seen.append(labels)
            return 0.5 * x

    fractions: list[float] = []
    subject = Subject(experiment.data, torch.empty(0), 0, experiment=experiment, network=Spy())
    subject = replace(subject, progress=lambda what, done, total: fractions.append(done / total))
    BoundGap(images=8, timesteps=1).compute(subject)
    train, validation = experiment.data.train, experiment.data.validation
    for labels, images in zip(seen, (train, train, validation, validation), strict=True):
        assert torch.equal(labels, images.labels[:8])
    assert fractions == [0, 0.25, 0.5, 0.75]


def test_a_single_image_is_refused() -> None:
    pixels = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    for data, split in ((splits(pixels, pixels[:1]), "validation"), (splits(pixels[:1], pixels), "training")):
        with pytest.raises(ddpmx.SpecError, match=f"the {split} split of 'two' has a single image"):
            BoundGap().check(data)


def test_a_run_measures_it(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    metrics = "samples: 8, metrics: [{name: bound_gap, images: 20, timesteps: 2}]"
    path.write_text(TINY.replace("samples: 8", metrics))
    result = ddpmx("run", path, "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    header, *rows = (run / "log.csv").read_text().splitlines()
    measured = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert -5 < float(measured["bound_gap"]) < 5
    evaluated = ddpmx("evaluate", run, "--metrics", "bound_gap")
    assert evaluated.code == 0, evaluated.err
    assert "bound_gap" in evaluated.out
