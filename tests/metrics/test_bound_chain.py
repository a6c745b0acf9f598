"""The bound of a sampler's chain: closed forms for skips, the best variance, and input that cannot work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHORT, Result, only_run
from linear_network import STD, Linear, best_gain, experiment_of, gaussian_data
from test_bpd import closed_form
from torch import Tensor

from ddpmx.components.registry import SAMPLERS
from ddpmx.errors import SpecError
from ddpmx.metrics import Score, Subject
from ddpmx.metrics.bpd import Bpd
from ddpmx.metrics.chain import Chain
from ddpmx.samplers import Sampler
from ddpmx.schedules import Table
from ddpmx.theory.variance import posterior
from ddpmx.training.experiment import Experiment, check_data

SKIPS = (29.0, 20.0, 13.0, 5.0, 1.0)
Run = Callable[..., Result]


def with_sampler(experiment: Experiment, sampler: Sampler) -> Experiment:
    evaluate = experiment.spec.evaluate.model_copy(update={"sampler": sampler})
    return replace(experiment, spec=experiment.spec.model_copy(update={"evaluate": evaluate}))


def ddpm(**parameters: object) -> Sampler:
    return SAMPLERS.build("ddpm", **parameters)


def measure(experiment: Experiment, gain: Tensor, **options: object) -> dict[str, Score]:
    subject = Subject(experiment.data, torch.empty(0), 0, experiment=experiment, network=Linear(gain))
    return Bpd(**{"images": None, "clip": False, "timesteps": None, "chain": "sampler", **options}).compute(
        subject
    )


@pytest.fixture
def gaussian(tmp_path: Path) -> Experiment:
    return replace(experiment_of(tmp_path, 30), data=gaussian_data(400))


@pytest.mark.parametrize("variance", ["posterior", "beta", "analytic"])
def test_a_chain_of_skips_has_the_closed_form(gaussian: Experiment, variance: str) -> None:
    experiment = with_sampler(gaussian, ddpm(timesteps=SKIPS, variance=variance))
    gain, indices = best_gain(gaussian.table), torch.tensor(SKIPS[::-1]).long()
    table = Table(gaussian.table.signal[indices], gaussian.table.sigma[indices])
    q = posterior(table)
    left = STD**2 * table.sigma**2 / ((table.signal * STD) ** 2 + table.sigma**2)  # Var(x_0 | x_t)
    best = (q.log_lower.exp() + q.c_x0**2 * left).log()
    best[0] = q.log_lower[0]  # the decoder's
    log_variance = {"posterior": q.log_lower, "beta": q.log_upper, "analytic": best}[variance]
    scores = measure(experiment, gain)
    truth = closed_form(experiment.data, table, gain[indices], log_variance)
    for score, expected in zip(scores.values(), truth, strict=True):
        low, high = score.interval
        assert abs(score.value - expected) < 2 * (high - low) / 2 + 3e-3
    assert ("error of σ²" in scores["bpd"].facts) == (variance == "analytic")


def test_analytic_is_the_best_variance_of_each_step(gaussian: Experiment) -> None:
    """Paired by image, for an exact network."""
    gain = best_gain(gaussian.table)
    bits = {}
    for variance in ("analytic", "posterior", "beta"):
        experiment = with_sampler(gaussian, ddpm(timesteps=SKIPS, variance=variance))
        bits[variance] = measure(experiment, gain)["bpd"].values
    for other in ("posterior", "beta"):
        difference = bits[other] - bits["analytic"]
        assert float(difference.mean()) > 5 * float(difference.std()) / len(difference) ** 0.5


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_the_chain_of_all_timesteps_is_the_default_one(gaussian: Experiment, variance: str) -> None:
    gain = best_gain(gaussian.table)
    experiment = with_sampler(gaussian, ddpm(variance=variance))
    for timesteps in (None, 7):
        own = measure(experiment, gain, timesteps=timesteps)["bpd"]
        every = measure(experiment, gain, timesteps=timesteps, chain="all", variance=variance)["bpd"]
        assert torch.equal(own.values, every.values)
        assert own.preprocessing != every.preprocessing


def test_few_steps_are_all_evaluated_by_default(gaussian: Experiment) -> None:
    experiment = with_sampler(gaussian, ddpm(timesteps=SKIPS))
    default, every = (measure(experiment, best_gain(gaussian.table), timesteps=n)["bpd"] for n in (20, None))
    assert torch.equal(default.values, every.values)
    assert default.preprocessing == "8-bit pixels, chain of the sampler"
    some = measure(experiment, best_gain(gaussian.table), timesteps=3)["bpd"]
    assert some.preprocessing == "8-bit pixels, chain of the sampler, 4 of its timesteps"


def test_fractional_indices_lie_between_whole_ones(gaussian: Experiment) -> None:
    """The coefficients of a chain are those of the table at its indices."""
    chain = Chain(gaussian, (0.0, 7.25, 29.0), "posterior")
    indices = torch.tensor(chain.indices, dtype=torch.float64)
    signal, sigma = gaussian.table.at(indices)
    c = chain.coefficients
    assert torch.equal(c.signal, signal)
    assert torch.equal(c.sigma, sigma)
    assert c.time.tolist() == [0.0, 7.25, 29.0]
    whole = Chain(gaussian, tuple(map(float, range(30))), "posterior").coefficients
    for name in ("signal", "sigma", "target_x", "target_eps", "time", "x0_from_x", "x0_from_output"):
        found = getattr(whole, name)
        np.testing.assert_allclose(found.float(), getattr(gaussian.coefficients, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sampler", "message"),
    [
        ({"chain": "sampler"}, SAMPLERS.build("ddim"), "evaluate.sampler should be ddpm, not ddim"),
        ({"chain": "sampler"}, ddpm(steps=1), "at least 2 timesteps"),
        ({"variance": "learned"}, ddpm(), "the network learns no variance"),
    ],
)
def test_chains_that_do_not_exist(
    gaussian: Experiment, options: dict[str, str], sampler: Sampler, message: str
) -> None:
    experiment = with_sampler(gaussian, sampler)
    with pytest.raises(SpecError, match=message):
        measure(experiment, best_gain(gaussian.table), **{"chain": "all", **options})


def test_a_chain_of_another_sampler_is_refused_before_the_training(gaussian: Experiment) -> None:
    evaluate = gaussian.spec.evaluate.model_copy(update={"metrics": (Bpd(chain="sampler"),)})
    spec = gaussian.spec.model_copy(update={"evaluate": evaluate})
    with pytest.raises(SpecError, match="should be ddpm, not ddim") as caught:
        check_data(spec, gaussian.data)
    assert caught.value.field == "evaluate.metrics.0.chain"


def test_timesteps_are_compared_on_one_training(tmp_path: Path, ddpmx: Run) -> None:
    """Lists of timesteps vary like any other field, and each image's bits are kept."""
    (tmp_path / "tiny.yaml").write_text(SHORT.replace("train: {steps: 7", "train: {steps: 1"))
    assert ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs").code == 0
    run = only_run(tmp_path / "runs")
    over = "evaluate.sampler.timesteps=[19, 9, 0],[19, 4.5, 1],[19,12,5,0]"
    changes = ("-s", "evaluate.sampler=null", "-s", "evaluate.sampler=ddpm", "--over", over, "--json")
    metric = "evaluate.metrics=[{name: bpd, chain: sampler, images: 20}]"
    result = ddpmx("evaluate", run, "-s", metric, *changes)
    assert result.code == 0, result.err
    events = json.loads(result.out)
    assert [event["sampler"]["timesteps"] for event in events] == [[19, 9, 0], [19, 4.5, 1], [19, 12, 5, 0]]
    assert len({event["metrics"]["bpd"] for event in events}) == 3
    assert len({event["values"] for event in events}) == 3
