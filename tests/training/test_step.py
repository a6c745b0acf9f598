"""A training step: its plan, its parts, and that a loss that is not finite changes no weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpmx.spec.loading import load
from ddpmx.training.experiment import build
from ddpmx.training.loop import epoch_order
from ddpmx.training.state import TrainState, prepare
from ddpmx.training.step import Trainer
from ddpmx.world import World


def trainer_of(tiny: Path, *overrides: str, network: nn.Module | None = None) -> Trainer:
    experiment = build(load(tiny, overrides), torch.device("cpu"))
    experiment = experiment if network is None else replace(experiment, network=network)
    return Trainer(experiment, prepare(experiment), World())


def test_a_plan_follows_the_state_and_does_not_change_it(tiny: Path) -> None:
    trainer = trainer_of(tiny, "train.warmup_steps=10", "model.classes=true")
    order, state = epoch_order(1000, 0, 0), TrainState(step=4, batch=2, rollbacks=[{}, {}])
    before = copy.deepcopy(state)
    plan = trainer.plan(state, order)
    assert state == before
    assert torch.equal(plan.ids, order[128:192])
    assert (plan.scheduled_lr, plan.lr) == (pytest.approx(0.5e-3), pytest.approx(0.125e-3))
    assert plan.zero_loss == pytest.approx(1.0)  # of ε, whose variance is 1
    again = trainer.plan(state, order)
    assert torch.equal(plan.draws.t, again.draws.t)
    assert torch.equal(plan.draws.labels, again.draws.labels)


class Counting(nn.Module):
    """A network with one weight, whose outputs are NaN if `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.sizes: list[int] = []
        self.broken = False

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x * self.weight * (float("nan") if self.broken else 1)


def test_parts_of_a_batch_add_up_to_it(tiny: Path) -> None:
    results = {}
    for accumulate in (1, 3):
        network = Counting()
        trainer = trainer_of(tiny, f"train.accumulate={accumulate}", network=network)
        result = trainer.take(trainer.plan(TrainState(), torch.arange(1000)))
        assert sum(network.sizes) == 64
        assert len(network.sizes) == accumulate
        assert result.loss == pytest.approx(float(result.losses.mean()), rel=1e-5)
        results[accumulate] = (result.loss, result.grad_norm, float(network.weight.detach()))
    assert results[1] == pytest.approx(results[3], rel=1e-5)


def test_a_step_that_is_not_finite_changes_no_weights(tiny: Path) -> None:
    network = Counting()
    trainer = trainer_of(tiny, network=network)
    trainer.take(trainer.plan(TrainState(), torch.arange(1000)))
    weight, average = network.weight.detach().clone(), trainer.trained.averaged.weight.clone()
    assert float(weight) != 1
    network.broken = True
    result = trainer.take(trainer.plan(TrainState(step=1, batch=1), torch.arange(1000)))
    assert not result.is_finite
    assert int(result.losses.isnan().sum()) == 64
    assert torch.equal(network.weight, weight)
    assert torch.equal(trainer.trained.averaged.weight, average)
