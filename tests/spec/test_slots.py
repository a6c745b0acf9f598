"""Type checkers and editors know the classes of the components in a spec. `make check` runs mypy on this
file."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from ddpmx import (
    Dataset,
    Ema,
    Metric,
    Model,
    Optimizer,
    Plan,
    Prediction,
    Sampler,
    Schedule,
    Table,
    Time,
    Tracker,
    Weighting,
)
from ddpmx.data import Data
from ddpmx.spec.evaluation import EvaluateSpec
from ddpmx.spec.schema import LossSpec, Spec, TrainSpec
from ddpmx.weightings.learned import Learned

SPEC = {
    "name": "a",
    "dataset": {"name": "digits", "limit": 100},
    "model": {"name": "convnext_unet", "dim": 8, "dim_mults": [1]},
    "schedule": {"name": "cosine", "timesteps": 20},
    "evaluate": {"metrics": ["pixel_fd"]},
    "track": [{"name": "jsonl", "path": "events.jsonl"}],
}


def test_slots_have_the_classes_of_their_kinds() -> None:
    spec = Spec.model_validate(SPEC)
    assert isinstance(assert_type(spec.dataset, Dataset), Dataset)
    assert isinstance(assert_type(spec.model, Model), Model)
    assert isinstance(assert_type(spec.schedule, Schedule), Schedule)
    assert isinstance(assert_type(spec.prediction, Prediction), Prediction)
    assert isinstance(assert_type(spec.time, Time), Time)
    assert isinstance(assert_type(spec.loss.weighting, Weighting), Weighting)
    assert isinstance(assert_type(spec.sampler, Sampler), Sampler)
    assert isinstance(assert_type(spec.evaluate.sampler, Sampler), Sampler)
    assert isinstance(assert_type(spec.train.optimizer, Optimizer), Optimizer)
    assert isinstance(assert_type(spec.train.ema, Ema | None), Ema)
    assert isinstance(assert_type(spec.evaluate.metrics, tuple[Metric, ...])[0], Metric)
    assert isinstance(assert_type(spec.track, tuple[Tracker, ...])[0], Tracker)
    assert isinstance(assert_type(Learned().base, Weighting), Weighting)


def test_calls_on_slots_have_their_types() -> None:
    spec = Spec.model_validate(SPEC)
    table = assert_type(spec.schedule.table(), Table)
    assert isinstance(assert_type(spec.sampler.plan(table, spec.prediction), Plan), Plan)
    assert isinstance(assert_type(spec.dataset.load(Path()), Data), Data)
    assert assert_type(spec.time.draw(torch.zeros(1, dtype=torch.float64), table), Tensor).shape == (1,)
    assert assert_type(spec.loss.weighting.weights(table, spec.prediction), Tensor).shape == (20,)
    assert isinstance(assert_type(spec.model.build(1, 8), nn.Module), nn.Module)
    with pytest.raises(AttributeError):
        spec.sampler.plans(table)  # type: ignore[attr-defined]


@pytest.mark.parametrize("block", [Spec, TrainSpec, LossSpec, EvaluateSpec, Learned])
def test_the_written_class_of_a_slot_is_that_of_its_registry(block: type[BaseModel]) -> None:
    kinds = {
        "DATASETS": Dataset,
        "EMAS": Ema,
        "MODELS": Model,
        "SCHEDULES": Schedule,
        "PREDICTIONS": Prediction,
        "TIMES": Time,
        "WEIGHTINGS": Weighting,
        "SAMPLERS": Sampler,
        "OPTIMIZERS": Optimizer,
        "METRICS": Metric,
        "TRACKERS": Tracker,
    }
    slots = [text for text in map(str, block.__annotations__.values()) if "Slot(" in text]
    assert slots
    for text in slots:
        written, registry = text.split("Annotated[")[1].split(", Slot(")
        assert kinds[registry.replace(")", ",").split(",")[0]].__name__ == written.removesuffix(" | None")
