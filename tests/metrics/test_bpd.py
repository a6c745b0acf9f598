"""Bits per dimension against the closed form for a linear network, whose terms are Gaussian integrals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from linear_network import TINY, Linear, best_gain, experiment_of, gaussian_data
from scipy import stats
from torch import Tensor, nn

import ddpmx
from ddpmx.data import Data
from ddpmx.metrics import Score, Subject
from ddpmx.metrics.bpd import Bpd
from ddpmx.schedules import Table
from ddpmx.spec.loading import load
from ddpmx.theory.variance import posterior
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.loop import train
from ddpmx.training.state import TrainState, prepare
from ddpmx.world import World


def measure(
    experiment: Experiment, data: Data, gain: Tensor, second: float | None = None, **options: object
) -> dict[str, Score]:
    subject = Subject(data, torch.empty(0), 0, experiment=experiment, network=Linear(gain, second))
    return Bpd(images=None, clip=False, **options).compute(subject)


def closed_form(data: Data, table: Table, gain: Tensor, log_variance: Tensor) -> tuple[float, float, float]:
    """(bound, prior, decoder) in bits per dimension, with the noise integrated out.

    KL_t = ½(r − 1 − log r + c_x0²·E(x_0 − gain·x_t)²/σ²) with r = lower/σ² and E(x_0 − gain·x_t)² = (1 −
    gain·signal)²·x_0² + gain²·sigma². The decoder is integrated by Gauss-Hermite quadrature for each of a
    pixel's 256 values.
    """
    x = data.test.pixels.numpy().astype(np.float64) / 127.5 - 1
    moment = (x**2).mean()
    q, signal, sigma, a = posterior(table), table.signal.numpy(), table.sigma.numpy(), gain.numpy()
    error = (1 - a * signal) ** 2 * moment + a**2 * sigma**2
    variance = log_variance.exp().numpy()
    ratio = q.log_lower.exp().numpy() / variance
    kl = 0.5 * (ratio - 1 - np.log(ratio) + q.c_x0.numpy() ** 2 * error / variance)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    values = np.arange(256) / 127.5 - 1
    mean = a[0] * (signal[0] * values[:, None] + sigma[0] * nodes)
    std = math.sqrt(variance[0])
    low = np.where(values == -1, -np.inf, values - 1 / 255)[:, None]
    high = np.where(values == 1, np.inf, values + 1 / 255)[:, None]
    mass = stats.norm.cdf((high - mean) / std) - stats.norm.cdf((low - mean) / std)
    cost = -(np.log(mass.clip(1e-300)) * weights).sum(1) / weights.sum()
    decoder = (cost * np.bincount(data.test.pixels.flatten().numpy(), minlength=256)).sum() / x.size
    snr, total = (signal[-1] / sigma[-1]) ** 2, signal[-1] ** 2 + sigma[-1] ** 2
    prior = 0.5 * (math.log1p(snr) + signal[-1] ** 2 * (moment - 1) / total)
    return (prior + kl[1:].sum() + decoder) / math.log(2), prior / math.log(2), decoder / math.log(2)


@pytest.mark.parametrize(
    ("variance", "schedule"), [("posterior", "linear"), ("beta", "cosine"), ("learned", "linear")]
)
def test_bpd_is_the_closed_form_on_gaussian_data(tmp_path: Path, variance: str, schedule: str) -> None:
    model = ", learned_variance: true" if variance == "learned" else ""
    experiment, data = experiment_of(tmp_path, 30, schedule, model), gaussian_data(400)
    q, gain = posterior(experiment.table), best_gain(experiment.table)
    log_variance = {
        "posterior": q.log_lower,
        "beta": q.log_upper,
        "learned": 0.3 * q.log_lower + 0.7 * q.log_upper,
    }[variance]
    options = {"timesteps": None} if variance == "learned" else {"timesteps": None, "variance": variance}
    scores = measure(experiment, data, gain, 0.4 if variance == "learned" else None, **options)
    for score, expected in zip(
        scores.values(), closed_form(data, experiment.table, gain, log_variance), strict=True
    ):
        low, high = score.interval
        assert abs(score.value - expected) < 2 * (high - low) / 2 + 1e-6  # four standard deviations
        assert high - low < 0.1


@pytest.mark.slow
def test_bpd_is_the_closed_form_to_a_thousandth(tmp_path: Path) -> None:
    """16 million pixels leave a standard deviation of 3e-4."""
    experiment, data = experiment_of(tmp_path, 6, "cosine"), gaussian_data(4000, size=64)
    gain = best_gain(experiment.table)
    scores = measure(experiment, data, gain, timesteps=None)
    truth = closed_form(data, experiment.table, gain, posterior(experiment.table).log_lower)
    assert [score.value for score in scores.values()] == pytest.approx(truth, abs=1e-3)


def test_a_subset_of_timesteps_estimates_the_whole_sum(tmp_path: Path) -> None:
    """The mean over seeds, each with 4 of 29 timesteps, is unbiased, and the interval has the right width."""
    experiment, data = experiment_of(tmp_path, 30), gaussian_data(300, size=8)
    gain = best_gain(experiment.table)
    exact = measure(experiment, data, gain, timesteps=None)["bpd"].value
    estimates = []
    for seed in range(12):
        subject = Subject(data, torch.empty(0), seed, experiment=experiment, network=Linear(gain))
        estimates.append(Bpd(images=None, clip=False, timesteps=4).compute(subject)["bpd"])
    error = np.mean([score.value for score in estimates]) - exact
    spread = np.mean([(score.interval[1] - score.interval[0]) / 3.92 for score in estimates])
    assert abs(error) < 4 * spread / math.sqrt(12)
    assert np.std([score.value for score in estimates], ddof=1) == pytest.approx(spread, rel=0.7)


def test_bpd_falls_with_more_timesteps(tmp_path: Path) -> None:
    data = gaussian_data(100)
    bits = []
    for timesteps in (5, 10, 30):
        experiment = experiment_of(tmp_path, timesteps, "cosine")
        bits.append(
            measure(experiment, data, best_gain(experiment.table), timesteps=None, variance="beta")[
                "bpd"
            ].value
        )
    assert bits == sorted(bits, reverse=True)


def test_bpd_falls_with_training(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        TINY.replace("steps: 12", "steps: 40").replace("cosine, timesteps: 20", "cosine, timesteps: 50")
    )
    experiment = build(load(path), torch.device("cpu"))

    def bits() -> float:
        subject = Subject(
            experiment.data, torch.empty(0), 0, experiment=experiment, network=experiment.network
        )
        return Bpd(images=50, timesteps=10, variance="beta").compute(subject)["bpd"].value

    before = bits()
    for _ in train(experiment, TrainState(), prepare(experiment), World(), lambda: False):
        pass
    assert bits() < before - 0.5


def test_self_conditioned_and_conditional_networks_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        TINY.replace("dim_mults: [1, 2]", "dim_mults: [1, 2], classes: true, self_condition: true")
    )
    experiment = build(load(path), torch.device("cpu"))
    calls: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            calls.append(x[:, 1:])
            assert torch.equal(labels, experiment.data.test.labels[: len(labels)])
            return 0.5 * x[:, :1]

    subject = Subject(experiment.data, torch.empty(0), 0, experiment=experiment, network=Spy())
    Bpd(images=8, timesteps=1).compute(subject)
    assert [bool(estimate.any()) for estimate in calls] == [False, True] * 2


def test_evaluate_writes_it(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        TINY.replace("samples: 8", "samples: 8, metrics: [{name: bpd, images: 20, timesteps: 3}]")
    )
    result = ddpmx("run", path, "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    header, *rows = (run / "log.csv").read_text().splitlines()
    assert {"bpd", "bpd_prior", "bpd_decoder"} <= set(header.split(","))
    assert float(dict(zip(header.split(","), rows[-1].split(","), strict=True))["bpd"]) > 0


def test_the_networks_variance_must_be_there(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, 30)
    with pytest.raises(ddpmx.SpecError, match="learns no variance"):
        measure(experiment, gaussian_data(4), best_gain(experiment.table), variance="learned")
