"""Which measurements a run makes: those that it counts are those that it computes, and none twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddpmx.runs.forecast import Forecast
from ddpmx.runs.measurements import computed_after_training, during_training
from ddpmx.spec.loading import load
from ddpmx.training.experiment import build
from ddpmx.training.pacing import Pacing

PLAIN = "weights={checkpoint: last, ema_std: 0}"
"""Weights that are not the run's own."""
STEPS = "sampler: {name: ddim, steps: 3}"


def counts(tiny: Path, *overrides: str) -> tuple[int, int]:
    """How often the metrics are measured during a training of five epochs, and after it."""
    spec = load(tiny, ["train={epochs: 5, steps: null}", "evaluate.metrics=[pixel_fd]", *overrides])
    pacing = Pacing.from_spec(spec, 1437, spec.schedule.table())
    return during_training(spec, pacing), len(computed_after_training(spec, pacing))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("evaluate.every_epochs=2",), (3, 0)),  # after 2, 4 and 5 epochs
        (("evaluate.every_epochs=2", PLAIN), (2, 1)),  # the average after 2 and 4
        (("evaluate.every_epochs=5", PLAIN), (1, 1)),
        (("evaluate.every_epochs=9", PLAIN), (0, 1)),
        (("evaluate.every_steps=50", PLAIN), (2, 1)),  # of 115 steps
        (("evaluate.metrics=[]", PLAIN), (0, 0)),
        (("evaluate.over={evaluate.sampler.steps: [3, 5, 7]}", "weights.checkpoint=last"), (1, 2)),
        (("evaluate.over={evaluate.sampler.steps: [3, 5, 7]}",), (1, 3)),  # the best epoch may be any
        (("evaluate.over={evaluate.sampler.steps: [3, 5, 7]}", "evaluate.every_epochs=1"), (5, 2)),
        (("evaluate.over={evaluate.sampler.steps: [3, 5]}", PLAIN), (1, 2)),
        (("evaluate.over={weights.ema_std: [0, null]}", PLAIN, "evaluate.every_epochs=9"), (0, 2)),
        (("evaluate.over={evaluate.metrics: [[pixel_fd], [is_cnn]]}", PLAIN), (1, 2)),
    ],
)
def test_nothing_is_computed_twice(tiny: Path, overrides: tuple[str, ...], expected: tuple[int, int]) -> None:
    assert counts(tiny, *overrides) == expected


def test_the_estimate_at_the_start_has_each_measurement_with_its_own_sampler_and_samples(tiny: Path) -> None:
    """If a step of 64 images takes 192 s, a forward pass of one image takes 1 s."""
    over = "evaluate.sampler.steps: [3, 5], evaluate.samples: [100, 200]"
    evaluate = f"evaluate={{samples: 100, grid: 0, every_epochs: 9, metrics: [pixel_fd], over: {{{over}}}}}"
    spec = load(tiny, [evaluate, PLAIN])
    experiment = build(spec, torch.device("cpu"))
    pacing = Pacing.from_spec(spec, 1437, experiment.table)
    parts = Forecast(experiment, pacing, 0).parts(192.0)
    assert parts["sampling"] == pytest.approx(3 * 100 + 3 * 200 + 5 * 100 + 5 * 200)
