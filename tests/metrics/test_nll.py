"""Likelihood by the flow: closed forms of a linear network, and networks of every kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result
from linear_network import STD, experiment_of, gaussian_data
from torch import Tensor, nn

import ddpmx
from ddpmx.data import Data
from ddpmx.metrics import Score, Subject
from ddpmx.metrics.bpd import Bpd
from ddpmx.metrics.likelihood import LikelihoodMetric
from ddpmx.metrics.nll import Nll
from ddpmx.metrics.nll_uniform import NllUniform
from ddpmx.schedules import Table
from ddpmx.spec.loading import load
from ddpmx.training.experiment import Experiment, build


class Ideal(nn.Module):
    """Predicts E[x_0 | x_t] of pixels from N(0, STD²), at fractional indices too."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = self.table.at(t.double())
        gain = signal * STD**2 / (signal**2 * STD**2 + sigma**2)
        return self.factor * gain.float().view(-1, 1, 1, 1) * x


def score(metric: LikelihoodMetric | Bpd, experiment: Experiment, data: Data, network: nn.Module) -> Score:
    subject = Subject(data, torch.empty(0), 0, experiment=experiment, network=network)
    return metric.compute(subject)[metric.component_name]


def test_both_are_the_closed_form_of_gaussian_data_and_nll_is_at_most_bpd(tmp_path: Path) -> None:
    """With p = N(0, v), E −log₂ p is that of a Gaussian with the images' own second moment.

    The decoder's bits are measured by `bpd`, with other noise.
    """
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(100)
    table, network = experiment.table, Ideal(experiment.table)
    signal, sigma = float(table.signal[0]), float(table.sigma[0])
    v = signal**2 * STD**2 + sigma**2
    x = data.test.pixels.double() / 127.5 - 1

    def bits(moment: float) -> float:
        return 0.5 * math.log2(2 * math.pi * v) + moment / (2 * v * math.log(2))

    uniform = score(NllUniform(probes=1, steps=24), experiment, data, network)
    truth = bits(float(x.square().mean()) + (2 / 255) ** 2 / 12) + math.log2(255 / 2)
    assert uniform.value == pytest.approx(truth, abs=1e-3)

    options = {"images": None, "timesteps": None, "clip": False}
    subject = Subject(data, torch.empty(0), 0, experiment=experiment, network=network)
    bound = Bpd(**options).compute(subject)
    nll = score(Nll(probes=1, steps=24), experiment, data, network)
    noise = 0.5 * math.log2(2 * math.pi * math.e * sigma**2)  # −E log₂ q(z|x)
    truth = bits(signal**2 * float(x.square().mean()) + sigma**2) - noise + bound["bpd_decoder"].value
    assert nll.value == pytest.approx(truth, abs=0.02)
    assert nll.value < bound["bpd"].value
    assert nll.interval is not None
    assert nll.interval[0] < nll.value < nll.interval[1]
    assert nll.facts == {"sigma[0]": float(f"{sigma:.4g}")}
    # no model of independent pixels needs fewer bits than the entropy of the pixels' own frequencies
    frequency = data.test.pixels.flatten().bincount().double() / x.numel()
    entropy = -torch.xlogy(frequency, frequency).sum().item() / math.log(2)
    assert nll.value > entropy
    assert uniform.value > entropy


def test_the_interval_contains_the_integrations_error(tmp_path: Path) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(8)
    network = Ideal(experiment.table)
    rough, exact = (score(Nll(steps=steps, probes=1), experiment, data, network) for steps in (3, 48))
    spread = 1.96 * float(rough.values.std()) / math.sqrt(8)
    assert rough.value - rough.interval[0] > spread + abs(rough.value - exact.value)
    assert "integration's error" in rough.interval_note


@pytest.mark.parametrize("metric", [Nll, NllUniform])
def test_values_do_not_depend_on_the_batch(tmp_path: Path, metric: type[LikelihoodMetric]) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(5)
    network = Ideal(experiment.table)
    together = score(metric(steps=3, probes=2), experiment, data, network)
    evaluate = experiment.spec.evaluate.model_copy(update={"batch_size": 2})
    apart = replace(experiment, spec=experiment.spec.model_copy(update={"evaluate": evaluate}))
    torch.testing.assert_close(
        score(metric(steps=3, probes=2), apart, data, network).values, together.values, rtol=0, atol=1e-6
    )


def tiny(tmp_path: Path, model: str, extra: str = "") -> Experiment:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("{name: convnext_unet, dim: 8, dim_mults: [1, 2]}", model) + extra)
    return build(load(path), torch.device("cpu"))


@pytest.mark.parametrize("name", ["convnext_unet", "ddpm_unet"])
def test_the_gradient_of_a_frozen_network_is_that_of_the_network(tmp_path: Path, name: str) -> None:
    """The kernels leave out the gradients of the weights, and give the same one of the images."""
    experiment = tiny(tmp_path, f"{{name: {name}, dim: 16, dim_mults: [1, 2]}}")
    x, t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(3) * 2.0
    probe = x.flip(0)

    def gradient() -> Tensor:
        images = x.clone().requires_grad_()
        return torch.autograd.grad(experiment.output(network, images, t), images, probe)[0]

    network = experiment.network.eval()
    with torch.no_grad():
        for parameter in network.parameters():  # some are 0 at first
            parameter += 0.1
    before = gradient()
    network.requires_grad_(False)
    torch.testing.assert_close(gradient(), before)
    assert bool(before.any())


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("{name: convnext_unet, dim: 8, dim_mults: [1, 2], classes: true, self_condition: true}", ""),
        ("{name: ddpm_unet, dim: 8, dim_mults: [1, 2], learned_variance: true}", ""),
        ("{name: ddpm_unet, dim: 8, dim_mults: [1, 2]}", "prediction: v\n"),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_of_every_kind_are_measured(tmp_path: Path, model: str, extra: str, precision: str) -> None:
    experiment = tiny(tmp_path, model, extra)
    train = experiment.spec.train.model_copy(update={"precision": precision})
    experiment = replace(experiment, spec=experiment.spec.model_copy(update={"train": train}))
    for metric in (Nll(images=2, steps=2, probes=1), NllUniform(images=2, steps=2, probes=1)):
        result = score(metric, experiment, experiment.data, experiment.network)
        assert math.isfinite(result.value)
        assert (result.n, result.split, result.values_of) == (2, "test", "images")


def test_the_flow_gets_the_images_own_labels_and_no_estimate(tmp_path: Path) -> None:
    experiment = tiny(
        tmp_path, "{name: convnext_unet, dim: 8, dim_mults: [1, 2], classes: true, self_condition: true}"
    )
    labels = experiment.data.test.labels

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, given: Tensor) -> Tensor:
            assert labels is not None
            assert torch.equal(given, labels[:4])
            assert not bool(x[:, 1:].any())
            return 0.5 * x[:, :1]

    assert math.isfinite(score(NllUniform(images=4, steps=2), experiment, experiment.data, Spy()).value)


def test_the_network_is_as_before_even_after_a_failure(tmp_path: Path) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(4)
    network = Ideal(experiment.table).train()

    def stop(what: str, done: int, total: int) -> None:
        assert not network.factor.requires_grad
        raise KeyboardInterrupt

    subject = Subject(data, torch.empty(0), 0, stop, experiment, network)
    with pytest.raises(KeyboardInterrupt):
        Nll(steps=2, probes=1).compute(subject)
    assert network.training
    assert network.factor.requires_grad


def test_progress_ends_just_before_the_total(tmp_path: Path) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(130, size=2)
    calls: list[tuple[int, int]] = []
    subject = Subject(
        data,
        torch.empty(0),
        0,
        lambda what, done, total: calls.append((done, total)),
        experiment,
        Ideal(experiment.table),
    )
    NllUniform(steps=2).compute(subject)
    (total,) = {total for _, total in calls}
    assert [done for done, _ in calls] == list(range(total))  # in two batches


@pytest.mark.parametrize("metric", [Nll, NllUniform])
def test_a_schedule_without_noise_at_index_0_is_refused(
    tmp_path: Path, metric: type[LikelihoodMetric]
) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(4)
    sigma = experiment.table.sigma.clone()
    sigma[0] = 0
    clean = replace(experiment, table=replace(experiment.table, sigma=sigma))
    with pytest.raises(ddpmx.SpecError, match="index 0 has none"):
        score(metric(), clean, data, Ideal(clean.table))


def test_the_networks_variance_must_be_there(tmp_path: Path) -> None:
    experiment, data = experiment_of(tmp_path, 30, "cosine"), gaussian_data(4)
    with pytest.raises(ddpmx.SpecError, match="learns no variance"):
        score(Nll(variance="learned"), experiment, data, Ideal(experiment.table))


@pytest.mark.slow
def test_evaluate_writes_them(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    few = "images: 3, steps: 2, probes: 1"
    path.write_text(
        TINY.replace("steps: 12", "steps: 3").replace(
            "samples: 8", f"samples: 8, metrics: [{{name: nll, {few}}}, {{name: nll_uniform, {few}}}]"
        )
    )
    result = ddpmx("run", path, "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (scores,) = [event["scores"] for event in events if event.get("scores")]
    assert set(scores) == {"nll", "nll_uniform"}
    assert scores["nll"]["facts"]["sigma[0]"] > 0
