"""Moments of a network against closed forms on Gaussian data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from linear_network import STD, Linear, best_gain, experiment_of, gaussian_data
from torch import Tensor, nn

from ddpmx.training.experiment import Experiment
from ddpmx.training.moments import (
    index_passes,
    measure_moments,
    moment_images,
    pixel_variance,
    sampler_passes,
)


def gaussian(tmp_path: Path, timesteps: int = 50, model: str = "") -> Experiment:
    return replace(experiment_of(tmp_path, timesteps, "cosine", model), data=gaussian_data(2000))


def test_gamma_is_the_closed_form_on_gaussian_data(tmp_path: Path) -> None:
    """For the exact network 1 − Γ = signal²·s²/(signal²·s² + sigma²), also at high noise."""
    experiment = gaussian(tmp_path)
    table, indices = experiment.table, [0.0, 10.0, 30.0, 45.0, 49.0]
    network = Linear(best_gain(table))
    moments = measure_moments(experiment, network, indices)
    images = experiment.data.train.pixels[: moments.images]
    power = float((images.double() / 127.5 - 1).square().mean())
    for t in indices:
        signal, sigma = float(table.signal[int(t)]), float(table.sigma[int(t)])
        gain = float(best_gain(table)[int(t)])
        # ε̂ = (x_t − signal·gain·x_t)/sigma, and x_t has the mean square of these images
        rest = 1 - (1 - signal * gain) ** 2 / sigma**2 * (signal**2 * power + sigma**2)
        gamma = moments.gamma(t)
        assert 1 - gamma.value == pytest.approx(rest, abs=5 * gamma.error + 1e-6)
        exact = (signal * STD) ** 2 / ((signal * STD) ** 2 + sigma**2)
        assert 1 - gamma.value == pytest.approx(exact, rel=0.15)


def test_the_error_is_small_where_there_is_hardly_any_signal(tmp_path: Path) -> None:
    """A mean of ‖ε̂‖² alone would be off by more than the whole of 1 − Γ there."""
    experiment = gaussian(tmp_path)
    table = experiment.table
    gamma = measure_moments(experiment, Linear(best_gain(table)), [48.0]).gamma(48.0)
    signal, sigma = float(table.signal[48]), float(table.sigma[48])
    rest = (signal * STD) ** 2 / ((signal * STD) ** 2 + sigma**2)
    values = moment_images(experiment.image_shape) * 256
    assert (2 / values) ** 0.5 > rest
    assert gamma.error < rest / 5


def test_the_error_is_the_spread_over_seeds(tmp_path: Path) -> None:
    experiment = gaussian(tmp_path)
    network, found = Linear(best_gain(experiment.table) * 0.7), []
    for seed in range(40):
        evaluate = experiment.spec.evaluate.model_copy(update={"seed": seed})
        spec = experiment.spec.model_copy(update={"evaluate": evaluate})
        found.append(measure_moments(replace(experiment, spec=spec), network, [25.0]).gamma(25.0))
    spread = torch.tensor([gamma.value for gamma in found], dtype=torch.float64).std()
    mean = sum(gamma.error for gamma in found) / len(found)
    assert 0.5 * mean < float(spread) < 1.5 * mean  # the images are the same in all seeds


def test_the_batch_size_and_the_mode_of_the_network_do_not_matter(tmp_path: Path) -> None:
    experiment = gaussian(tmp_path)
    network = nn.Sequential()
    network.forward = Linear(best_gain(experiment.table)).forward  # type: ignore[method-assign]
    network.train()
    whole = measure_moments(experiment, network, [5.0, 20.5 // 1])
    evaluate = experiment.spec.evaluate.model_copy(update={"batch_size": 7})
    spec = experiment.spec.model_copy(update={"evaluate": evaluate})
    parts = measure_moments(replace(experiment, spec=spec), network, [20.0, 5.0])
    assert network.training
    assert {t: gamma.value for t, gamma in whole.gammas.items()} == pytest.approx(
        {t: gamma.value for t, gamma in parts.gammas.items()}, rel=1e-6
    )


class Spy(nn.Module):
    """Records what it is called with, and predicts x_0 = 0."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, ...]] = []
        self.outputs = outputs

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        self.calls.append((x, *condition))
        return torch.zeros(len(x), self.outputs, *x.shape[2:])


def test_a_network_with_classes_estimates_and_variances(tmp_path: Path) -> None:
    """It gets the images' labels, its own estimate of x_0, and only its first channels count."""
    more = ", classes: true, self_condition: true, learned_variance: true"
    experiment = experiment_of(tmp_path, 20, "cosine", more)
    spy = Spy(outputs=2)
    moments = measure_moments(experiment, spy, [19.0, 7.5])
    count = moment_images(experiment.image_shape)
    first, second = spy.calls[:2]
    assert first[0].shape[1] == 2  # the estimate as a further channel
    assert bool((first[0][:, 1] == 0).all())
    labels = experiment.data.train.labels
    assert labels is not None
    seen = torch.cat([call[2][: len(call[2]) // 2] for call in spy.calls[0::2]])[:count]
    assert torch.equal(seen, labels[:count])
    assert len(spy.calls) == 4 * -(-count // (experiment.spec.evaluate.batch_size // 2))
    assert sum(len(call[0]) for call in spy.calls) == 2 * index_passes(experiment)
    assert set(moments.gammas) == {19.0, 7.5}
    assert torch.equal(first[1], second[1])


def test_the_variance_is_that_of_the_pixels(tmp_path: Path) -> None:
    experiment = gaussian(tmp_path)
    x = experiment.data.train.pixels.double() / 127.5 - 1
    expected = float(x.var(0, correction=0).mean())
    assert pixel_variance(experiment.data.train) == pytest.approx(expected, rel=1e-6)


def test_few_images_are_used_with_several_noises(tmp_path: Path) -> None:
    experiment = replace(gaussian(tmp_path), data=gaussian_data(3))
    moments = measure_moments(experiment, Linear(best_gain(experiment.table)), [25.0])
    assert moments.images == moment_images(experiment.image_shape) >= 32
    assert 0 < moments.gamma(25.0).error < 0.1


def test_the_passes_are_those_of_the_samplers_indices(tmp_path: Path) -> None:
    experiment = gaussian(tmp_path)
    sampler = experiment.spec.sampler
    analytic = sampler.model_copy(update={"variance": "analytic", "steps": 7})
    assert sampler_passes(experiment, sampler) == 0
    assert sampler_passes(experiment, analytic) == 7 * 2 * moment_images(experiment.image_shape)
