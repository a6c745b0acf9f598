"""Learned weightings and loss-aware times: what they learn, and that both are resumed exactly."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import Result, command, only_run
from safetensors.torch import load_file
from scipy import stats

from ddpmx.components.registry import WEIGHTINGS
from ddpmx.errors import SpecError
from ddpmx.models.embedding import LOG_SNR_BOUND
from ddpmx.ops import Noise, Purpose, stream
from ddpmx.spec import loading as spec_file
from ddpmx.spec.checks import check
from ddpmx.spec.schema import json_schema
from ddpmx.storage import checkpoint
from ddpmx.times.loss_aware import LossHistory
from ddpmx.training.batch import Batch
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.loop import StepDone, train
from ddpmx.training.objective import batch_loss, draw_step, step_loss
from ddpmx.training.state import Trained, TrainState, prepare
from ddpmx.training.validation import validate
from ddpmx.weightings.learned import LogLoss
from ddpmx.world import World

Run = Callable[..., Result]
CPU = torch.device("cpu")
LEARNED = "loss.weighting={name: learned, base: {name: min_snr, gamma: 3.0}}"
AWARE = "time=loss_aware"


def experiment_of(tiny: Path, *overrides: str) -> Experiment:
    return build(spec_file.load(tiny, overrides), CPU)


def steps(experiment: Experiment, state: TrainState, trained: Trained, until: int) -> list[float]:
    """Train up to a step; returns the losses."""
    losses = []
    for event in train(experiment, state, trained, World(), lambda: state.step >= until):
        if isinstance(event, StepDone):
            losses.append(event.loss)
    return losses


# -- the learned weighting


def test_the_learned_objective_is_loss_over_exp_u_plus_u(tiny: Path) -> None:
    experiment = experiment_of(tiny, LEARNED)
    t, ids, x_start = torch.tensor([0, 7, 19]), torch.arange(3), torch.zeros(3, 1, 8, 8)
    module = WEIGHTINGS.build("learned").module()
    assert module is not None
    batch = Batch(x_start, t, Noise(0, stream(Purpose.NOISE, 4), ids))
    base = batch_loss(experiment, experiment.network, batch)
    drawn = replace(draw_step(experiment, ids, 4), t=t).batch(x_start)
    fixed = experiment_of(tiny, "loss.weighting={name: min_snr, gamma: 3.0}")
    assert torch.equal(experiment.coefficients.weight, fixed.coefficients.weight)
    objective, loss = step_loss(experiment, experiment.network, drawn, module)
    assert torch.equal(objective, base)  # u starts at 0
    torch.nn.init.normal_(module.linear.weight)
    torch.nn.init.constant_(module.linear.bias, 0.3)
    u = module(experiment.table.log_snr[t].float()).detach()
    assert u.std() > 0.1
    objective, loss = step_loss(experiment, experiment.network, drawn, module)
    torch.testing.assert_close(loss, base * (-u).exp())
    torch.testing.assert_close(objective, base * (-u).exp() + u)


def test_u_learns_the_logarithm_of_the_loss() -> None:
    """At the optimum of mean(loss/exp(u) + u), exp(u) is the loss at that log-SNR."""
    log_snr = torch.linspace(-10, 10, 200)
    loss = 0.5 + 0.4 * torch.tanh(log_snr / 3)
    module = LogLoss()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        u = module(log_snr)
        objective = (loss * (-u).exp() + u).mean()
        objective.backward()
        return float(objective.detach())

    optimizer.step(closure)
    np.testing.assert_allclose(module(log_snr).detach().exp(), loss, rtol=0.02)


def test_the_features_are_of_log_sigma_over_4_at_normal_frequencies() -> None:
    module = LogLoss()
    quantiles = stats.halfnorm.ppf((np.arange(64) + 0.5) / 64)
    log_snr = torch.tensor([-3.0, 5.0])
    log_sigma = -0.5 * log_snr.double().numpy()
    angle = 2 * np.pi * quantiles * log_sigma[:, None] / 4
    features = math.sqrt(2) * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    weight = torch.randn(128, generator=torch.Generator().manual_seed(0))
    module.linear.weight.data[0] = weight
    np.testing.assert_allclose(module(log_snr).detach(), features @ weight.double().numpy(), rtol=1e-4)


def test_training_moves_u_and_validation_does_not_see_it(tiny: Path) -> None:
    experiment = experiment_of(tiny, LEARNED)
    fixed = experiment_of(tiny, "loss.weighting={name: min_snr, gamma: 3.0}")
    trained = prepare(experiment)
    assert trained.weighting is not None
    steps(experiment, TrainState(), trained, 3)
    u = trained.weighting(experiment.coefficients.log_snr).detach()
    assert float(u.abs().max()) > 1e-4
    fixed.network.load_state_dict(experiment.network.state_dict())
    assert (
        validate(experiment, experiment.network, World()).loss == validate(fixed, fixed.network, World()).loss
    )


def test_infinite_log_snrs_are_limited_to_the_bound(tiny: Path) -> None:
    log_snr = experiment_of(
        tiny, LEARNED, "schedule={name: flow, timesteps: 20}", "prediction=velocity"
    ).coefficients.log_snr
    assert float(log_snr.min()) == -LOG_SNR_BOUND


def test_an_unsuitable_base_is_refused_at_its_field(tiny: Path) -> None:
    with pytest.raises(SpecError, match="should not be a learned weighting"):
        spec_file.load(tiny, ["loss.weighting={name: learned, base: learned}"])
    with pytest.raises(SpecError, match="'min_snrr'"):
        spec_file.load(tiny, ["loss.weighting={name: learned, base: min_snrr}"])
    with pytest.raises(SpecError, match="at index 0") as error:
        check(spec_file.load(tiny, ["loss.weighting={name: learned, base: vlb}"]))
    assert error.value.field == "loss.weighting"


def test_the_schema_of_a_weighting_in_a_weighting_ends() -> None:
    for _ in range(2):
        blocks = {
            block.get("title"): block
            for block in json_schema()["$defs"]["LossSpec"]["properties"]["weighting"]["anyOf"]
        }
        names, inner = blocks["learned"]["properties"]["base"]["anyOf"]
        assert names["enum"] == WEIGHTINGS.names()
        assert inner["required"] == ["name"]
        assert "gamma" in blocks["min_snr"]["properties"]


# -- timesteps drawn by their losses


def test_the_loop_records_the_losses_of_the_timesteps_drawn(tiny: Path) -> None:
    """One step of 64 images: its 64 losses are recorded, and their mean is the step's loss."""
    experiment = experiment_of(tiny, AWARE, "train.accumulate=3")
    trained = prepare(experiment)
    history = trained.time
    assert isinstance(history, LossHistory)
    (loss,) = steps(experiment, TrainState(), trained, 1)
    assert int(history.counts.sum()) == 64
    assert float(history.losses.sum()) / 64 == pytest.approx(
        loss, rel=1e-5
    )  # uniform still: the importance is 1
    plain = experiment_of(tiny)
    assert steps(plain, TrainState(), prepare(plain), 1) == pytest.approx([loss], rel=1e-5)


# -- resuming, and processes


SMALL = (LEARNED, AWARE, "schedule.timesteps=4", "dataset.limit=200", "evaluate.grid=1")
TOTAL, STOP = 6, 3


def straight(tiny: Path, *overrides: str) -> Trained:
    """Train without a stop, in this process."""
    experiment = experiment_of(tiny, *overrides, f"train.steps={TOTAL}")
    trained = prepare(experiment)
    steps(experiment, TrainState(), trained, TOTAL)
    assert isinstance(trained.time, LossHistory)
    assert (
        trained.time.probabilities().unique().numel() == 4
    )  # the draws depend on the losses of the steps before
    return trained


def different(wanted: Trained, checkpoint_: Path) -> list[str]:
    """Names of a checkpoint's tensors that differ from those of `wanted` in any bit."""
    names = []
    for file, part in {
        "model": wanted.network,
        "ema": wanted.averaged,
        "weighting": wanted.weighting,
        "time": wanted.time,
    }.items():
        assert part is not None
        found, state = load_file(checkpoint_ / f"{file}.safetensors"), part.state_dict()
        assert found.keys() == state.keys()
        names += [f"{file}.{name}" for name in state if not torch.equal(found[name], state[name])]
    return names


def test_learned_parts_are_resumed_from_a_checkpoint_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    every = (*SMALL, "model.self_condition=true", "model.learned_variance=true")
    wanted, state = straight(tiny, *every), TrainState()
    for until in (STOP, TOTAL):
        torch.manual_seed(until)
        experiment = experiment_of(tiny, *every, f"train.steps={TOTAL}")
        parts = prepare(experiment)
        if state.step:
            state = checkpoint.load(tmp_path / "last", parts)
        steps(experiment, state, parts, until)
        checkpoint.save(tmp_path, state, parts)
    assert different(wanted, tmp_path / "last") == []


def test_a_resumed_run_equals_one_without_a_stop_and_plots_its_u(
    ddpmx: Run, tiny: Path, tmp_path: Path
) -> None:
    arguments = [argument for override in SMALL for argument in ("-s", override)]
    for budget in (STOP, TOTAL):
        done = ddpmx(
            "run",
            tiny,
            "--out",
            tmp_path,
            "--resume",
            "--device",
            "cpu",
            *arguments,
            "-s",
            f"train.steps={budget}",
        )
        assert done.code == 0, done.err
    run = only_run(tmp_path)
    assert different(straight(tiny, *SMALL), run / "checkpoints" / "last") == []
    ElementTree.parse(run / "plots" / "learned_weight.svg")
    assert "u of the learned weighting" in (run / "report.html").read_text()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny: Path, tmp_path: Path) -> None:
    arguments = [argument for override in SMALL for argument in ("-s", override)]
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(20000 + (os.getpid() + 7) % 20000),
    )
    command(
        tmp_path,
        "run",
        "tiny.yaml",
        "--device",
        "cpu",
        *arguments,
        "-s",
        f"train.steps={TOTAL}",
        launcher=launcher,
    )
    wanted, last = straight(tiny, *SMALL), only_run(tmp_path / "runs") / "checkpoints" / "last"
    for file, part in {"weighting": wanted.weighting, "time": wanted.time, "model": wanted.network}.items():
        assert part is not None
        found, state = load_file(last / f"{file}.safetensors"), part.state_dict()
        for name in state:
            torch.testing.assert_close(found[name], state[name], rtol=1e-2, atol=1e-3)
