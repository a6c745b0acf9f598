"""The density along the flow against closed forms in float64: Gaussians, and a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ddpmx import PREDICTIONS, SCHEDULES, Prediction, SpecError, Table
from ddpmx.sampling.density import Density, Probes, log_density
from ddpmx.sampling.flow import flow

MEANS = torch.tensor([[-0.7, 0.2, 0.5], [0.1, -0.4, 0.3], [0.6, 0.6, -0.5]], dtype=torch.float64)
VARIANCES = torch.tensor([[0.09, 0.06, 0.2], [0.04, 0.09, 0.05], [0.3, 0.07, 0.04]], dtype=torch.float64)
"""Of three equally likely Gaussians [3, 3]; the first alone is the Gaussian of the other tests."""
N = 12


def per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def ideal(
    table: Table, prediction: Prediction, components: int, channels: int = 1
) -> Callable[[Tensor, Tensor], Tensor]:
    """The ideal network for images [n, 3, 1, 1] of the first `components` Gaussians, in float64.

    Its output is repeated `channels` times, as for a network that learns a variance.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = (per_image(values, x) for values in table.at(t))
        mean, variance = MEANS[:components], VARIANCES[:components]
        alpha, points = signal.view(-1, 1, 1), x.flatten(1)[:, None]  # [n, 1, 1] and [n, 1, 3]
        noisy = alpha**2 * variance + sigma.view(-1, 1, 1) ** 2
        log_p = -0.5 * ((points - alpha * mean) ** 2 / noisy + noisy.log()).sum(-1, keepdim=True)
        expected = mean + alpha * variance / noisy * (points - alpha * mean)
        x_0 = (torch.softmax(log_p, 1) * expected).sum(1).view_as(x)
        target_x, target_eps = prediction.target(signal, sigma)
        return (target_x * x_0 + target_eps * (x - signal * x_0) / sigma).repeat(1, channels, 1, 1)

    return denoise


def data(table: Table, components: int) -> Tensor:
    """States at index 0, [N, 3, 1, 1]."""
    generator = torch.Generator().manual_seed(0)
    which = torch.arange(N) % components
    x_0 = MEANS[which] + VARIANCES[which].sqrt() * torch.randn(N, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    return (table.signal[0] * x_0 + table.sigma[0] * noise).view(N, 3, 1, 1)


def gaussian_log_p(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((x - mean) ** 2 / variance + (2 * math.pi * variance).log()).sum(-1)


def measured(
    table: Table, name: str, components: int, steps: int, x: Tensor, probes: Probes | None = None
) -> Density:
    prediction = PREDICTIONS.build(name)
    exact = Probes(None, 0, torch.arange(len(x)))
    return log_density(
        ideal(table, prediction, components), flow(table, prediction, steps), x, probes or exact
    )


CASES = [
    ("linear", {"timesteps": 200, "rescale": True}, "epsilon"),
    ("cosine", {"timesteps": 50}, "v"),
    ("cosine", {"timesteps": 7}, "v"),  # each interval is divided
    ("edm", {"timesteps": 40}, "edm"),  # variance exploding
    ("exponential", {"timesteps": 100}, "x_start"),
    ("flow", {"timesteps": 1000}, "velocity"),  # the last two end in pure noise
    ("linear", {"timesteps": 200, "rescale": True, "zero_terminal_snr": True}, "v"),
]


@pytest.mark.parametrize(("schedule", "options", "prediction"), CASES)
def test_a_gaussian_s_density_is_its_closed_form(
    schedule: str, options: dict[str, object], prediction: str
) -> None:
    """For a Gaussian the flow is linear: it scales x − signal·μ like the standard deviation of each pixel.

    So the model's density, which starts from N(0, signal² + sigma²) and not from the data's own marginal, is
    known too: that at the last index at the scaled point, times the scale.
    """
    table = SCHEDULES.build(schedule, **options).table()
    x = data(table, 1)
    first, last = (
        (table.signal[i] * MEANS[0], (table.signal[i] ** 2 * VARIANCES[0] + table.sigma[i] ** 2).sqrt())
        for i in (0, -1)
    )
    x_last = last[0] + (x.flatten(1) - first[0]) / first[1] * last[1]
    prior = (table.signal[-1] ** 2 + table.sigma[-1] ** 2) * torch.ones(3, dtype=torch.float64)
    truth = gaussian_log_p(x_last, torch.zeros(3), prior) + (last[1] / first[1]).log().sum()
    density = measured(table, prediction, 1, 120, x)
    assert torch.allclose(density.log_p, truth, rtol=0, atol=1e-6)
    # the difference from coarse steps is an upper bound of the error, and not a wild one
    error, bound = (density.log_p - truth).abs(), (density.log_p - density.coarse).abs()
    assert bool((error <= bound + 1e-8).all())
    assert bool((bound < 1e-4).all())


@pytest.mark.parametrize(("schedule", "options", "prediction"), CASES[-2:])
def test_a_mixture_s_density_is_its_closed_form(
    schedule: str, options: dict[str, object], prediction: str
) -> None:
    """Where the schedule ends in pure noise, the ideal flow's density is that of the noisy data."""
    table = SCHEDULES.build(schedule, **options).table()
    x = data(table, 3)
    noisy = table.signal[0] ** 2 * VARIANCES + table.sigma[0] ** 2
    each = gaussian_log_p(x.flatten(1)[:, None], table.signal[0] * MEANS, noisy)  # [N, 3]
    truth = torch.logsumexp(each, 1) - math.log(3)
    density = measured(table, prediction, 3, 160, x)
    assert torch.allclose(density.log_p, truth, rtol=0, atol=1e-6)


def test_the_error_falls_with_the_fourth_power_of_the_step() -> None:
    table = SCHEDULES.build("cosine", timesteps=4).table()
    x = data(table, 3)
    truth = measured(table, "v", 3, 240, x).log_p
    errors = [(measured(table, "v", 3, steps, x).log_p - truth).abs().mean().item() for steps in (30, 60)]
    assert 3.5 < math.log2(errors[0] / errors[1]) < 4.6


def test_an_error_of_epsilon_is_resolved_at_much_noise() -> None:
    """x_0 = (x − sigma·ε)/signal multiplies it by more than 4,000 at the last index of this schedule."""
    table, prediction = SCHEDULES.build("cosine", timesteps=200).table(), PREDICTIONS.build("epsilon")
    assert table.sigma[-1] / table.signal[-1] > 4000
    x, probes = data(table, 1), Probes(None, 0, torch.arange(N))
    exact = ideal(table, prediction, 1)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return exact(x, t) + 0.1 * torch.tanh(x)

    few, many = (log_density(denoise, flow(table, prediction, steps), x, probes).log_p for steps in (32, 90))
    assert torch.allclose(few, many, rtol=0, atol=2e-3)


def test_probes_estimate_the_exact_density_without_bias() -> None:
    """Within four standard errors of 200 probes of each image."""
    table = SCHEDULES.build("flow", timesteps=100).table()
    x = data(table, 3)[:4]
    exact = measured(table, "velocity", 3, 12, x).log_p
    ids = torch.arange(4).repeat_interleave(200)
    many = x.repeat_interleave(200, 0)
    # an image's probe depends on its id, so that copies get their own ids
    probes = Probes(1, 5, torch.arange(len(ids)))
    estimates = measured(table, "velocity", 3, 12, many, probes).log_p.view(4, 200)
    standard_error = estimates.std(dim=1) / math.sqrt(200)
    assert bool((standard_error > 0).all())
    assert bool(((estimates.mean(1) - exact).abs() < 4 * standard_error).all())


def test_more_probes_are_their_mean_and_images_do_not_depend_on_their_batch() -> None:
    table = SCHEDULES.build("cosine", timesteps=20).table()
    x, ids = data(table, 3), torch.arange(N) + 100
    together = measured(table, "v", 3, 8, x, Probes(3, -1, ids)).log_p
    parts = [
        measured(table, "v", 3, 8, x[part], Probes(3, -1, ids[part])).log_p
        for part in (slice(0, 5), slice(5, N))
    ]
    assert torch.allclose(together, torch.cat(parts), rtol=0, atol=1e-12)
    one, three = Probes(1, 0, ids).signs(x), Probes(3, 0, ids).signs(x)
    assert torch.equal(one[0], three[0])
    assert not torch.equal(three[0], three[1])
    assert all(bool((signs.abs() == 1).all()) for signs in three)


def test_the_trace_is_exact_up_to_64_dimensions() -> None:
    for side, count in ((8, 0), (9, 1)):
        images = torch.zeros(2, 1, side, side, dtype=torch.float64)
        assert len(Probes(None, 0, torch.arange(2)).signs(images)) == count
        assert len(Probes(2, 0, torch.arange(2)).signs(images)) == 2


def test_a_learned_variance_is_left_out() -> None:
    table, prediction = SCHEDULES.build("cosine", timesteps=20).table(), PREDICTIONS.build("v")
    x, steps = data(table, 1), flow(table, prediction, 8)
    probes = Probes(None, 0, torch.arange(N))
    plain, doubled = (
        log_density(ideal(table, prediction, 1, channels), steps, x, probes).log_p for channels in (1, 2)
    )
    assert torch.equal(plain, doubled)


@pytest.mark.parametrize("steps", [2, 7, 60])
def test_steps_join_from_the_first_to_the_last_index(steps: int) -> None:
    for schedule, options, prediction in CASES:
        table = SCHEDULES.build(schedule, **options).table()
        both = flow(table, PREDICTIONS.build(prediction), steps)
        for part in (both.fine, both.coarse):
            assert part[0].start.t == 0
            assert part[-1].end.t == table.timesteps - 1
            assert all(a.end == b.start for a, b in pairwise(part))
            assert all(step.start.u < step.end.u for step in part)
            middles = [step for step in part if step.middle is not None]
            assert all(step.start.t < step.middle.t < step.end.t for step in middles)
            assert len(part) - len(middles) == (not bool(table.log_snr[-1].isfinite()))
        assert 1 <= len(both.fine) <= 2 * steps + 2
        assert len(both.coarse) <= len(both.fine) // 2 + 1
        assert {step.start.t for step in both.coarse} <= {step.start.t for step in both.fine}


@pytest.mark.parametrize(
    ("log_snr", "prediction", "match"),
    [
        ([math.inf, 0.0, -2.0], "v", "index 0 has none"),
        ([4.0], "v", "at least 2 timesteps"),
        ([4.0, 0.0, -math.inf], "epsilon", "at index 2"),
    ],
)
def test_schedules_without_a_flow_are_refused(log_snr: list[float], prediction: str, match: str) -> None:
    levels = torch.tensor(log_snr, dtype=torch.float64)
    table = Table(torch.sigmoid(levels).sqrt(), torch.sigmoid(-levels).sqrt())
    with pytest.raises(SpecError, match=match):
        flow(table, PREDICTIONS.build(prediction), 8)


def test_a_network_without_gradient_is_refused() -> None:
    table, prediction = SCHEDULES.build("cosine", timesteps=20).table(), PREDICTIONS.build("v")

    def detached(x: Tensor, t: Tensor) -> Tensor:
        return x.detach()

    with pytest.raises(SpecError, match="there is none"):
        log_density(detached, flow(table, prediction, 4), data(table, 1), Probes(None, 0, torch.arange(N)))
