"""`ddpmx steps`: what it promises is what `bpd` measures, and no grid is better on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHORT, Result, only_run
from linear_network import Linear, best_gain, experiment_of, gaussian_data
from ruamel.yaml import YAML
from torch import Tensor, nn

from ddpmx.components.registry import SAMPLERS
from ddpmx.metrics import Subject
from ddpmx.metrics.bpd import Bpd
from ddpmx.metrics.chain import Chain, ChainVariance
from ddpmx.runs.chain_errors import ChainErrors
from ddpmx.training.experiment import Experiment
from ddpmx.training.moments import measure_moments

Run = Callable[..., Result]
SKIPS = (29.0, 20.0, 12.5, 5.0, 1.0)


class Half(nn.Module):
    """Predicts x_0 = 0.5 from anything, so that the bound does not depend on the noise."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)


def measured(experiment: Experiment, network: nn.Module, variance: str, clip: bool) -> Tensor:
    """The bits of each validation image by the metric."""
    sampler = SAMPLERS.build("ddpm", timesteps=SKIPS, variance=variance)
    evaluate = experiment.spec.evaluate.model_copy(update={"sampler": sampler})
    experiment = replace(experiment, spec=experiment.spec.model_copy(update={"evaluate": evaluate}))
    subject = Subject(experiment.data, torch.empty(0), 0, experiment=experiment, network=network)
    metric = Bpd(images=None, chain="sampler", reference="validation", timesteps=None, clip=clip)
    values = metric.compute(subject)["bpd"].values
    assert values is not None
    return values


def promised(experiment: Experiment, network: nn.Module, variance: ChainVariance, clip: bool) -> Tensor:
    chain = Chain(experiment, SKIPS[::-1], variance)
    moments = measure_moments(experiment, network, SKIPS) if variance == "analytic" else None
    return ChainErrors(experiment, network, experiment.data.validation, clip).bits(chain, moments)


@pytest.mark.parametrize("variance", ["posterior", "beta", "analytic"])
def test_the_promise_is_the_metric_to_rounding(tmp_path: Path, variance: ChainVariance) -> None:
    """For a network whose bound does not depend on the noise, as the two draw different ε."""
    experiment = experiment_of(tmp_path, 30)  # digits
    for clip in (True, False):
        metric, found = (of(experiment, Half(), variance, clip) for of in (measured, promised))
        np.testing.assert_allclose(found, metric, rtol=1e-6)


def test_the_promise_is_the_metric_within_its_interval(tmp_path: Path) -> None:
    data = gaussian_data(300)
    experiment = replace(experiment_of(tmp_path, 30), data=replace(data, validation=data.test))
    network = Linear(best_gain(experiment.table))
    metric, found = (of(experiment, network, "posterior", True) for of in (measured, promised))
    difference = metric - found
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / len(difference) ** 0.5
    assert float(difference.std()) < 0.1 * float(metric.mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained run with 20 timesteps."""
    from ddpmx.runs.run import run
    from ddpmx.spec.loading import load

    out = tmp_path_factory.mktemp("steps")
    text = SHORT.replace("limit: 100", "limit: 200").replace("metrics: [pixel_fd]", "metrics: []")
    (out / "tiny.yaml").write_text(text)
    return run(load(out / "tiny.yaml"), out=out / "runs", device=torch.device("cpu"))


def done(result: Result) -> Result:
    assert result.code == 0, result.err
    return result


@pytest.mark.parametrize("variance", ["posterior", "beta", "analytic"])
def test_no_grid_is_better_on_the_same_images(trained: Path, ddpmx: Run, variance: str) -> None:
    """The trailing grid has whole indices, so it is one of the chains that were searched."""
    result = done(ddpmx("steps", trained, "-n", "2,4,20", "--variance", variance, "--json", "--images", "30"))
    found = json.loads(result.out)
    assert [one["evaluations"] for one in found] == [2, 4, 20]
    for one in found:
        steps = one["timesteps"]
        assert len(steps) == one["evaluations"]
        assert steps[0] == 19
        assert steps == sorted(steps, reverse=True)
        # the search interpolates the decoder's term
        assert one["others"]["trailing"]["more_bits"] > -1e-3
        low, high = one["interval"]
        assert low < one["bits"] < high
    assert found[2]["timesteps"] == list(range(19, -1, -1))
    assert found[2]["others"]["trailing"]["more_bits"] == pytest.approx(0, abs=1e-9)


def test_the_block_can_be_pasted_into_a_spec(trained: Path, ddpmx: Run, tmp_path: Path) -> None:
    out = done(ddpmx("steps", trained, "-n", "3", "--images", "10", "--no-clip")).out
    assert "3 evaluations:" in out
    assert "# trailing: +" in out
    block = YAML(typ="safe").load(out)
    assert set(block) == {"sampler"}
    assert block["sampler"]["clip"] is None
    (tmp_path / "spec.yaml").write_text(f"{SHORT}\n{out}")
    assert done(ddpmx("validate", tmp_path / "spec.yaml"))


def test_fewer_candidates_keep_both_ends(trained: Path, ddpmx: Run) -> None:
    (found,) = json.loads(
        done(ddpmx("steps", trained, "-n", "5", "--candidates", "5", "--images", "5", "--json")).out
    )
    assert found["timesteps"] == [19, 14, 10, 5, 0]


def test_progress_is_shown_on_stderr_only(trained: Path, ddpmx: Run) -> None:
    result = done(ddpmx("steps", trained, "-n", "3", "--images", "5"))
    assert all(line.startswith(("#", "sampler:", "  ")) for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", "1"), "-n: a chain needs at least 2 evaluations"),
        (("-n", "21"), "-n: should be at most the schedule's 20 timesteps, not 21"),
        (("-n", "9", "--candidates", "8"), "-n: should be at most --candidates: 8 timesteps, not 9"),
        (("-n", "ten"), "-n: should be whole numbers separated by commas, such as 5,10,20, not 'ten'"),
        (("--variance", "learned"), "is not one of"),
        (("--images", "1"), "not in the range"),
        (("-s", "model.dim=16"), "do not fit this network"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    trained: Path, ddpmx: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = ddpmx("steps", trained, *arguments)
    assert result.code == 2
    assert message in result.err


def test_a_folder_that_is_no_run(ddpmx: Run, tmp_path: Path) -> None:
    assert ddpmx("steps", tmp_path).code == 2
    assert not (tmp_path / "runs").exists()


def test_classes_and_a_learned_variance(tmp_path: Path, ddpmx: Run) -> None:
    """The network gets the images' labels, and its own variance is not used."""
    more = ", classes: true, learned_variance: true, self_condition: true}"
    text = SHORT.replace("dim_mults: [1, 2]}", f"dim_mults: [1, 2]{more}").replace("steps: 7", "steps: 1")
    (tmp_path / "tiny.yaml").write_text(text.replace("metrics: [pixel_fd]", "metrics: []"))
    done(ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs"))
    run = only_run(tmp_path / "runs")
    out = done(ddpmx("steps", run, "-n", "3", "--images", "5", "--json")).out
    assert np.isfinite(json.loads(out)[0]["bits"])
