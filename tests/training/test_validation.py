"""The validation loss by timestep, against the closed form for a linear network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result, only_run
from linear_network import Linear, best_gain, experiment_of, gaussian_data

from ddpmx.components.registry import TIMES
from ddpmx.data import Data
from ddpmx.spec import loading as spec_file
from ddpmx.theory.variance import posterior
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.loop import EpochDone, train
from ddpmx.training.state import TrainState, prepare
from ddpmx.training.validation import Validated, validate
from ddpmx.world import World


def measured(experiment: Experiment, data: Data) -> tuple[Experiment, Validated]:
    """The experiment with these data, and the validation of its best linear network on the test images."""
    experiment = replace(experiment, data=replace(data, validation=data.test))
    return experiment, validate(experiment, Linear(best_gain(experiment.table)), World())


def test_loss_and_bits_over_t_are_the_linear_networks(tmp_path: Path) -> None:
    """Squared error (1 − gain·signal)²·E x_0² + gain²·sigma²; bits c_x0²·error/(2·lower·log 2)."""
    experiment, validated = measured(experiment_of(tmp_path, 30), gaussian_data(1500, size=8))
    table, gain, q = experiment.table, best_gain(experiment.table), posterior(experiment.table)
    moment = float((experiment.data.test.pixels.double() / 127.5 - 1).square().mean())
    error = (1 - gain * table.signal).square() * moment + gain.square() * table.sigma.square()
    bits = 0.5 * q.c_x0.square() * error / q.log_lower.exp() / math.log(2)
    lists = validated.by_timestep(experiment)
    assert lists["t"] == pytest.approx([(i + 0.5) * 30 / 25 - 0.5 for i in range(25)])
    for index, (loss, bits_per_dim, n) in enumerate(
        zip(lists["loss"], lists["bits"], lists["n"], strict=True)
    ):
        inside = validated.t[validated.t * 25 // 30 == index]
        not_decoder = inside[inside > 0]
        tolerance = 5 * math.sqrt(2 / (64 * n))
        assert loss == pytest.approx(float(error[inside].mean()), rel=tolerance)
        if len(not_decoder):
            assert bits_per_dim == pytest.approx(float(bits[not_decoder].mean()), rel=tolerance)


def test_the_ranges_add_up(tmp_path: Path) -> None:
    experiment, validated = measured(experiment_of(tmp_path, 100, "cosine"), gaussian_data(333, size=8))
    lists = validated.by_timestep(experiment)
    assert sum(lists["n"]) == 333
    assert sum(lists["share"]) == pytest.approx(1)
    assert np.average(lists["loss"], weights=lists["n"]) == pytest.approx(validated.loss)
    assert np.allclose(
        lists["share"], np.array(lists["loss"]) * lists["n"] / validated.losses.sum().item()
    )  # uniform times
    assert all(low > high for low, high in zip(lists["log_snr"], lists["log_snr"][1:], strict=False))


def test_the_share_counts_how_t_is_drawn(tmp_path: Path) -> None:
    experiment, validated = measured(experiment_of(tmp_path, 100, "cosine"), gaussian_data(333, size=8))
    plain = np.array(validated.by_timestep(experiment)["share"])
    normal = TIMES.build("logit_normal", mean=-1.0)
    skewed = replace(experiment, spec=experiment.spec.model_copy(update={"time": normal}))
    drawn = normal.probabilities(experiment.table).numpy()
    expected = [
        (validated.losses.numpy() * drawn[validated.t])[(validated.t * 25 // 100 == i).numpy()].sum()
        for i in range(25)
    ]
    assert np.allclose(validated.by_timestep(skewed)["share"], np.array(expected) / np.sum(expected))
    unbiased = normal.model_copy(update={"unbiased": True})
    unbiased_experiment = replace(experiment, spec=experiment.spec.model_copy(update={"time": unbiased}))
    assert np.allclose(validated.by_timestep(unbiased_experiment)["share"], plain)


def test_a_schedule_without_posterior_has_no_bits(tmp_path: Path) -> None:
    _, validated = measured(experiment_of(tmp_path, 1, "cosine"), gaussian_data(20, size=8))
    assert validated.bits is None
    assert torch.equal(validated.t, torch.zeros(20, dtype=torch.int64))


def test_each_evaluation_writes_its_curves(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        TINY.replace("steps: 12", "epochs: 3, steps: 60").replace("samples: 8", "samples: 8, every_epochs: 2")
    )
    assert ddpmx("run", path, "--out", tmp_path / "runs").code == 0
    events = [
        json.loads(line) for line in (only_run(tmp_path / "runs") / "metrics.jsonl").read_text().splitlines()
    ]
    curves = [event for event in events if event["event"] == "per_t"]
    assert [event["epoch"] for event in curves] == [2, 3]
    rows = {event["epoch"]: event for event in events if event["event"] == "epoch"}
    for event in curves:
        assert all(value is not None for value in event["bits"][1:])
        assert np.average(event["loss"], weights=event["n"]) == pytest.approx(
            rows[event["epoch"]]["val_loss"]
        )


@pytest.mark.parametrize(
    ("budget", "evaluated"),
    [
        (
            "train={epochs: 5, batch_size: 64}",
            [False, True, False, True, True],
        ),  # every second epoch and the last
        (
            "train={epochs: 9, batch_size: 64, patience: 1, lr: 1e-20, ema: null}",
            [False, True],
        ),  # patience ends: no loss is below the first
        ("train={steps: 3, batch_size: 64, epochs: null}", [False, True, True]),
    ],
)
def test_the_bound_is_computed_where_an_evaluation_is_due(
    tiny: Path, budget: str, evaluated: list[bool]
) -> None:
    overrides = ["dataset={name: digits, limit: 64}", "evaluate.every_epochs=2", "train=null", budget]
    experiment = build(spec_file.load(tiny, overrides), torch.device("cpu"))
    events = train(experiment, TrainState(), prepare(experiment), World(), lambda: False)
    assert [event.validated.bits is not None for event in events if isinstance(event, EpochDone)] == evaluated


@pytest.mark.parametrize(
    "schedule", ["{name: flow, timesteps: 30}", "{name: cosine, timesteps: 40, zero_terminal_snr: true}"]
)
def test_a_range_beside_pure_noise_has_no_log_snr(tiny: Path, schedule: str) -> None:
    """The middle of the last range is between two indices, and the log-SNR is infinite at one of them."""
    tiny.write_text(TINY.replace("{name: cosine, timesteps: 20}", schedule) + "prediction: v\n")
    experiment = build(spec_file.load(tiny), torch.device("cpu"))
    validated = validate(experiment, experiment.network, World())
    log_snr = validated.by_timestep(experiment)["log_snr"]
    assert log_snr[-1] is None
    assert None not in log_snr[1:-1]
