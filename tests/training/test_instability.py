"""Losses that are finite and unstable: spikes, growth, recovery, and the verdict on them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SHORT, TINY, Result, epochs, only_run
from forked import Death, command, differing

from ddpmx.spec.loading import load
from ddpmx.training.experiment import build
from ddpmx.training.loop import StepDone, train
from ddpmx.training.stability import Stability, instability_message, verdict
from ddpmx.training.state import TrainState, prepare
from ddpmx.world import World


def test_the_verdict_on_a_finite_loss() -> None:
    fine = {"stretch": 0.9, "lowest_stretch": 0.1, "validation": 0.9, "lowest_validation": 0.1}
    assert verdict(**fine) == ""
    assert "over the last 100 steps it is 2, 20 times its lowest" in verdict(**{**fine, "stretch": 2.0})
    assert "on the validation images it is 3, 30 times its lowest" in verdict(**{**fine, "validation": 3.0})
    assert "nan" in verdict(**{**fine, "validation": math.nan})
    assert verdict(stretch=5.0, lowest_stretch=math.inf, validation=1.0, lowest_validation=1.0) == ""


def test_the_loss_is_averaged_over_whole_stretches() -> None:
    state = TrainState()
    for step in range(250):
        state.add_loss(1.0 if step < 100 else 3.0, 4)
    assert (state.stretch_loss, state.lowest_stretch, state.stretch_steps) == (3.0, 1.0, 50)


def steady(steps: int, loss: float = 0.1) -> Stability:
    stability = Stability()
    for step in range(1, steps + 1):
        stability.add_step(step, loss, 1.0)
    return stability


def test_a_loss_that_follows_the_weights_of_its_timesteps_is_stable() -> None:
    """One batch in 16 has a timestep of weight 3,000: its loss is 1,000 times the others'."""
    stability = Stability()
    for step in range(1, 1001):
        zero_loss = 300.0 if step % 16 == 0 else 0.3
        stability.add_step(step, zero_loss * (1.5 if step < 20 else 0.5), zero_loss)
    assert stability.instability(1000, False) is None


def test_a_spike_is_reported_and_whether_it_recovered() -> None:
    stability = steady(150)
    for step, loss in ((151, 7.5), (152, 12.5), (153, 6.0)):
        stability.add_step(step, loss, 1.0)
    facts = {
        "at_step": 152,
        "factor": 12.5,
        "of": "that of a network that outputs 0",
        "recovered": False,
        "now": pytest.approx(0.1),
    }
    assert stability.instability(153, False) == facts
    for step in range(154, 253):
        stability.add_step(step, 0.1, 1.0)
    assert not stability.instability(252, False)["recovered"]
    stability.add_step(253, 0.1, 1.0)
    assert stability.instability(253, False) == {
        **facts,
        "recovered": True,
        "now": pytest.approx((97 * 0.1 + 26) / 100),
    }
    assert not stability.instability(253, True)["recovered"]
    assert instability_message({**facts, "recovered": True, "now": 0.1}) == (
        "training was unstable: at step 152 the loss was 12.5 times that of a network that outputs 0;"
        " it recovered: over the last 100 steps it is 0.1 times that of a network that outputs 0"
    )


def test_a_network_that_outputs_0_after_a_spike_has_not_recovered() -> None:
    stability = steady(100)
    stability.add_step(101, 50.0, 1.0)
    for step in range(102, 402):
        stability.add_step(step, 1.05, 1.0)
    assert not stability.instability(401, False)["recovered"]


def test_a_rise_without_a_spike_is_reported() -> None:
    stability = steady(100, 0.01)
    for step in range(101, 201):
        stability.add_step(step, 0.5, 1.0)
    for step in range(201, 301):
        stability.add_step(step, 0.01, 1.0)
    facts = stability.instability(300, False)
    assert (facts["at_step"], facts["of"], facts["recovered"]) == (
        200,
        "the lowest earlier mean of 100 steps",
        True,
    )
    assert facts["factor"] == pytest.approx(50)


@pytest.mark.parametrize("loss", ["{norm: l1}", "{weighting: {name: vlb, clip: 100.0}}"])
def test_sound_training_raises_no_alarm(loss: str, tmp_path: Path) -> None:
    """With clip 100 and clipped gradients, some losses are 50 times the median, by the timesteps drawn."""
    text = TINY.replace("timesteps: 20", "timesteps: 500").replace("steps: 12", "steps: 40, grad_clip: 1.0")
    (tmp_path / "tiny.yaml").write_text(f"{text}loss: {loss}\n")
    experiment = build(load(tmp_path / "tiny.yaml"), torch.device("cpu"))
    state = TrainState()
    losses = [
        event.loss
        for event in train(experiment, state, prepare(experiment), World(), lambda: False)
        if isinstance(event, StepDone)
    ]
    assert len(losses) == 40
    assert state.instability(40, False) is None
    assert 0 < state.spike < 2
    if "100" in loss:
        assert max(losses) > 50 * sorted(losses)[20]


# One step at 40 times the learning rate makes training unstable; it recovers.
SHAKEN = (
    TINY.replace("dataset: digits", "dataset: {name: digits, limit: 700}").replace(
        "steps: 12, batch_size: 64, lr: 1e-3",
        "epochs: 5, batch_size: 16, lr: 3e-3, grad_clip: null, ema: null",
    )
    + "plugins: [shaken.py]\n"
)


SHAKE = """
import ddpmx.training.step
inner = ddpmx.training.step.learning_rate
ddpmx.training.step.learning_rate = lambda train, step, total: (
    inner(train, step, total) * (40 if step == 5 else 1)
)
"""


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("shaken")
    (folder / "tiny.yaml").write_text(SHAKEN)
    (folder / "shaken.py").write_text(SHAKE)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 0, said
    return only_run(folder / "runs"), said


@pytest.mark.slow
def test_a_run_that_was_unstable_and_recovered_says_so_everywhere(
    shaken: tuple[Path, str], ddpmx: Callable[..., Result]
) -> None:
    run, said = shaken
    facts = [row["unstable"] for row in epochs(run)]
    assert [fact["recovered"] for fact in facts] == [False, False, False, False, True]
    assert all("verdict" not in row for row in epochs(run))
    assert 6 <= facts[-1]["at_step"] <= 20
    text = instability_message(facts[-1])
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["why"]) == ("finished", text)
    assert said.count("warning: training was unstable") == 2  # in its epoch, and at the end
    assert said.count(f"warning: {text}") == 1
    assert text in (run / "report.html").read_text()
    compared = ddpmx("compare", run, "--html", run.parent / "compare.html")
    assert f"tiny: {text}." in compared.out
    assert f"tiny: {text}." in (run.parent / "compare.html").read_text()


@pytest.mark.slow
def test_a_kill_changes_nothing_of_the_verdict(shaken: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SHAKEN)
    (tmp_path / "shaken.py").write_text(SHAKE)
    assert command(tmp_path, "run", "tiny.yaml", death=Death("epoch-0002.png", operation="open"))[0] == -9
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(only_run(tmp_path / "runs"), shaken[0]) == []


def test_a_run_whose_loss_grows_says_so_everywhere(tmp_path: Path) -> None:
    text = SHORT.replace("steps: 7", "epochs: 8, optimizer: sgd, ema: null").replace("lr: 1e-3", "lr: 1.0")
    (tmp_path / "tiny.yaml").write_text(text)
    code, said = command(tmp_path, "run", "tiny.yaml")
    assert code == 0, said
    run = only_run(tmp_path / "runs")
    rows = epochs(run)
    assert rows[-1]["val_loss"] > 10 * min(row["val_loss"] for row in rows)
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["why"]) == ("finished", rows[-1]["verdict"])
    assert f"warning: {status['why']}" in said
    assert "times its lowest" in (run / "report.html").read_text()
