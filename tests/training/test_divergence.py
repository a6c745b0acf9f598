"""Steps that are not finite: what is told of them, what stop, skip and rollback do, and the verdict on a loss that only grew."""

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
from ddpmx.storage import checkpoint, checkpoint_folder
from ddpmx.storage.folder import RunFolder
from ddpmx.training.experiment import build
from ddpmx.training.loop import StepDone, train
from ddpmx.training.stability import BadStep, Stability, instability_message, verdict
from ddpmx.training.state import TrainState, prepare
from ddpmx.world import World

# Makes the loss of the second image of a batch NaN at these steps (from 0), until the run went back so many times.
BREAK = """
import torch
import ddpmx.runs.run, ddpmx.training.step
inner_train, inner_loss, run = ddpmx.runs.run.train, ddpmx.training.step.step_loss, {}

def train(experiment, state, *rest):
    run["state"] = state
    return inner_train(experiment, state, *rest)

def step_loss(experiment, network, batch, weighting=None):
    objective, loss = inner_loss(experiment, network, batch, weighting)
    ids, step = batch.noise.sample_ids, batch.noise.stream % 2**24
    if step in STEPS and len(run["state"].rollbacks) < TIMES:
        broken = torch.where(ids == ids[1], float("nan"), 0.0)
        return objective + broken, loss + broken
    return objective, loss

ddpmx.runs.run.train, ddpmx.training.step.step_loss = train, step_loss
"""


def broken(folder: Path, policy: str, steps: str, times: int = 99, budget: int = 7) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "broken.py").write_text(BREAK.replace("STEPS", steps).replace("TIMES", str(times)))
    text = SHORT.replace("steps: 7", f"steps: {budget}, on_nan: {policy}")
    (folder / "tiny.yaml").write_text(text + "plugins: [broken.py]\n")
    return folder


def diverged(run: Path) -> list[dict[str, object]]:
    return [event for event in RunFolder(run).events() if event["event"] == "diverged"]


def test_stop_leaves_the_weights_and_tells_what_is_needed(tmp_path: Path) -> None:
    code, said = command(broken(tmp_path, "stop", "{4}"), "run", "tiny.yaml")
    assert code == 1
    assert "diverged at step 5: the loss is nan" in said
    assert "Traceback" not in said
    run = only_run(tmp_path / "runs")
    (event,) = diverged(run)
    assert (event["action"], event["at_step"], event["loss"], event["bad_losses"]) == ("stop", 5, "nan", 1)
    assert len(event["images"]) == 1  # type: ignore[arg-type]
    assert sum(event["t_histogram"]) == 64  # type: ignore[call-overload]
    assert f"of images {event['images'][0]};" in said  # type: ignore[index]
    assert (run / "checkpoints" / "last").readlink().name == "4"
    assert json.loads((run / "status.json").read_text())["status"] == "failed"


def test_skip_leaves_batches_out_and_gives_up_after_ten_in_a_row(tmp_path: Path) -> None:
    code, said = command(broken(tmp_path / "few", "skip", "{1, 2, 3, 5}"), "run", "tiny.yaml")
    assert code == 0, said
    run = only_run(tmp_path / "few" / "runs")
    assert [(event["action"], event["step"]) for event in diverged(run)] == [
        ("skip", step) for step in (2, 3, 4, 6)
    ]
    losses, validation = ([row[key] for row in epochs(run)] for key in ("train_loss", "val_loss"))
    assert math.isnan(losses[1])  # both of its batches were left out
    assert all(map(math.isfinite, (losses[0], losses[2], losses[3])))
    assert validation[0] != validation[2]
    code, said = command(broken(tmp_path / "all", "skip", "range(2, 100)", budget=40), "run", "tiny.yaml")
    assert code == 1
    assert "diverged at step 13" in said
    assert "10 batches before it were skipped" in said


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = broken(tmp_path_factory.mktemp("rolled_back"), "rollback", "{5}", times=2)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 0, said
    assert "rolled back to step 4, continuing with 1/4 of the learning rate" in said
    return only_run(folder / "runs")


def test_rollback_goes_on_from_the_last_checkpoint_with_half_the_learning_rate(rolled_back: Path) -> None:
    assert [(event["action"], event["step"], event["at_step"]) for event in diverged(rolled_back)] == [
        ("rollback", 4, 6)
    ] * 2
    steps = [event for event in RunFolder(rolled_back).events() if event["event"] == "step"]
    assert [(event["step"], event["lr"]) for event in steps] == [(7, 1e-3 / 4)]
    assert [row["step"] for row in epochs(rolled_back)] == [2, 4, 6, 7]


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(
            Death("checkpoints/.4.", 2, "os.rename"), marks=pytest.mark.slow
        ),  # before its new counters
        Death(".metrics.jsonl", 1, "os.rename"),  # after them, before the log is cut
        pytest.param(Death(".metrics.jsonl", 2, "os.rename"), marks=pytest.mark.slow),  # the second time
    ],
)
def test_a_kill_while_going_back_changes_nothing(death: Death, tmp_path: Path, rolled_back: Path) -> None:
    broken(tmp_path, "rollback", "{5}", times=2)
    assert command(tmp_path, "run", "tiny.yaml", death=death)[0] == -9
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(only_run(tmp_path / "runs"), rolled_back) == []


def test_rollback_starts_from_the_beginning_before_there_is_a_checkpoint_and_gives_up_after_three(
    tmp_path: Path,
) -> None:
    code, said = command(broken(tmp_path, "rollback", "{1}"), "run", "tiny.yaml")
    assert code == 1
    assert "already rolled back 3 times" in said
    run = only_run(tmp_path / "runs")
    assert [(event["action"], event["at_step"]) for event in diverged(run)] == [("rollback", 2)] * 3 + [
        ("stop", 2)
    ]
    assert checkpoint_folder.steps(run / "checkpoints") == [0]
    assert len(checkpoint.counters(run / "checkpoints" / "0").rollbacks) == 3


def test_the_facts_of_a_bad_step() -> None:
    ids, t = torch.tensor([7, 8, 9, 10]), torch.tensor([0, 19, 5, 19])
    weight = torch.arange(20.0)
    step = BadStep(ids, t, torch.tensor([1.0, math.inf, 2.0, math.nan]), math.nan, 3.0)
    facts = step.facts(12, 20, weight, [torch.tensor([1.0, -4.0])])
    assert facts == {
        "at_step": 12,
        "loss": "nan",
        "grad_norm": 3.0,
        "t_histogram": [1, 0, 1, 0, 0, 0, 0, 0, 0, 2],
        "largest_loss_weight": 19.0,
        "largest_parameter": 4.0,
        "bad_losses": 2,
        "images": [8, 10],
    }
    finite = BadStep(ids, t, torch.tensor([1.0, 4.0, 2.0, 3.0]), 2.5, math.inf).facts(
        12, 20, weight, [torch.ones(1)]
    )
    assert (finite["grad_norm"], finite["bad_losses"], finite["images"]) == ("inf", 0, [8, 10, 9, 7])


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
        nothing = 300.0 if step % 16 == 0 else 0.3
        stability.add_step(step, nothing * (1.5 if step < 20 else 0.5), nothing)
    assert stability.instability(1000, False) is None


def test_a_spike_is_told_and_whether_it_recovered() -> None:
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
        "training was unstable: at step 152 the loss was 12.5 times that of a network that outputs 0; it recovered:"
        " over the last 100 steps it is 0.1 times that of a network that outputs 0"
    )


def test_a_network_that_says_nothing_after_a_spike_has_not_recovered() -> None:
    stability = steady(100)
    stability.add_step(101, 50.0, 1.0)
    for step in range(102, 402):
        stability.add_step(step, 1.05, 1.0)
    assert not stability.instability(401, False)["recovered"]


def test_a_rise_without_a_spike_is_told() -> None:
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
def test_sound_training_is_no_alarm(loss: str, tmp_path: Path) -> None:
    """Clip 100 with bounded gradients: single losses are 50 times the median, by what is drawn."""
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


# One step at 40 times the learning rate throws the network off; it finds back.
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
ddpmx.training.step.learning_rate = lambda train, step, total: inner(train, step, total) * (40 if step == 5 else 1)
"""


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("shaken")
    (folder / "tiny.yaml").write_text(SHAKEN)
    (folder / "shaken.py").write_text(SHAKE)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 0, said
    return only_run(folder / "runs"), said


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


def test_rollback_goes_back_to_before_the_loss_grew(tmp_path: Path) -> None:
    """Real growth: without a bound on the gradient it ends in NaN two steps after a checkpoint whose loss had grown already."""
    text = SHORT.replace(
        "steps: 7", "epochs: 8, grad_clip: null, optimizer: sgd, ema: null, on_nan: rollback"
    ).replace("lr: 1e-3", "lr: 0.3")
    (tmp_path / "tiny.yaml").write_text(text)
    command(tmp_path, "run", "tiny.yaml")
    first = diverged(only_run(tmp_path / "runs"))[0]
    assert (first["action"], first["step"], first["at_step"]) == ("rollback", 2, 5)
