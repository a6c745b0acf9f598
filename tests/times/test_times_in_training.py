"""Time distributions in specs and in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result, epochs, only_run
from torch import Tensor

from ddpmx import ops
from ddpmx.errors import SpecError
from ddpmx.images import to_model
from ddpmx.ops import Purpose, stream
from ddpmx.spec.checks import check
from ddpmx.spec.loading import load
from ddpmx.training.experiment import build
from ddpmx.training.loop import StepDone, epoch_order, train
from ddpmx.training.objective import draw_step, step_loss, timesteps
from ddpmx.training.state import TrainState, prepare
from ddpmx.training.validation import validate
from ddpmx.world import World

Run = Callable[..., Result]


def test_an_impossible_unbiased_is_refused_with_its_field(tiny: Path) -> None:
    tiny.write_text(TINY + "time: {name: logit_normal, std: 0.001, unbiased: true}\n")
    with pytest.raises(SpecError, match="never draws index 0") as error:
        check(load(tiny))
    assert error.value.field == "time.unbiased"


def test_training_is_multiplied_by_the_importance_and_validation_is_not(tiny: Path) -> None:
    def first_losses(time: str) -> tuple[Tensor, Tensor, Tensor, float]:
        """The first step's t, its loss from the loop and computed by hand, and the validation loss."""
        tiny.write_text(TINY + f"time: {time}\n")
        experiment = build(load(tiny), torch.device("cpu"))
        ids = epoch_order(len(experiment.data.train), 0, 0)[:64]
        t = timesteps(experiment, ids, 0)
        images = to_model(experiment.data.train.pixels[ids])
        loss, _ = step_loss(experiment, experiment.network, draw_step(experiment, ids, 0).batch(images))
        mean = (loss * experiment.spec.time.importance(experiment.table)[t]).mean().detach()
        validation = validate(experiment, experiment.network, World()).loss
        first = next(train(experiment, TrainState(), prepare(experiment), World(), lambda: True))
        assert isinstance(first, StepDone)
        return t, torch.tensor(first.loss), mean.float(), validation

    t, plain, plain_by_hand, validation = first_losses("logit_normal")
    t_unbiased, unbiased, unbiased_by_hand, validation_unbiased = first_losses(
        "{name: logit_normal, unbiased: true}"
    )
    assert torch.equal(t, t_unbiased)
    torch.testing.assert_close(plain, plain_by_hand, rtol=1e-5, atol=0)
    torch.testing.assert_close(unbiased, unbiased_by_hand, rtol=1e-5, atol=0)
    assert float((unbiased / plain - 1).abs()) > 0.01
    assert validation_unbiased == validation


def test_a_batchs_stratified_times_do_not_depend_on_how_it_is_split(
    ddpmx: Run, tiny: Path, tmp_path: Path
) -> None:
    tiny.write_text(TINY + "time: stratified\n")
    for accumulate in (1, 3):
        assert (
            ddpmx(
                "run", tiny, "--out", tmp_path / str(accumulate), "-s", f"train.accumulate={accumulate}"
            ).code
            == 0
        )
    whole, parts = (
        [row["train_loss"] for row in epochs(only_run(tmp_path / str(accumulate)))] for accumulate in (1, 3)
    )
    assert parts == pytest.approx(whole, rel=1e-4)


def test_every_timestep_of_a_step_is_in_its_stratum(tiny: Path) -> None:
    """u_0 is the first image's number, so the times depend only on the seed, the step and the ids."""
    tiny.write_text(TINY + "time: stratified\n")
    experiment = build(load(tiny), torch.device("cpu"))
    ids = torch.tensor([5, 3, 9, 0])
    first = float(ops.uniform(ids[:1], stream(Purpose.TIME, 7), experiment.spec.seed))
    expected = [int((first + i / 4) % 1 * experiment.table.timesteps) for i in range(4)]
    assert timesteps(experiment, ids, 7).tolist() == expected
    assert (
        timesteps(replace(experiment, spec=experiment.spec.model_copy(update={"seed": 1})), ids, 7).tolist()
        != expected
    )
