"""Steps that are not finite: their report, and what stop, skip and rollback do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import SHORT, epochs, only_run
from forked import Death, command, differing

from ddpmx.storage import checkpoint, checkpoint_folder
from ddpmx.storage.folder import RunFolder
from ddpmx.training.stability import BadStep

# Makes the loss of a batch's second image NaN at STEPS (from 0), until the run was rolled back TIMES times.
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


def test_stop_keeps_the_weights_and_reports_the_facts(tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_skip_fails_after_ten_batches_in_a_row(tmp_path: Path) -> None:
    code, said = command(broken(tmp_path / "few", "skip", "{1, 2, 3, 5}"), "run", "tiny.yaml")
    assert code == 0, said
    run = only_run(tmp_path / "few" / "runs")
    assert [(event["action"], event["step"]) for event in diverged(run)] == [
        ("skip", step) for step in (2, 3, 4, 6)
    ]
    losses, validation = ([row[key] for row in epochs(run)] for key in ("train_loss", "val_loss"))
    assert math.isnan(losses[1])  # both of its batches were skipped
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


def test_rollback_resumes_from_the_last_checkpoint_with_half_the_learning_rate(rolled_back: Path) -> None:
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
        # after them, before the log is cut
        pytest.param(Death(".metrics.jsonl", 1, "os.rename"), marks=pytest.mark.slow),
        pytest.param(Death(".metrics.jsonl", 2, "os.rename"), marks=pytest.mark.slow),  # the second time
    ],
)
def test_a_kill_during_a_rollback_changes_nothing(death: Death, tmp_path: Path, rolled_back: Path) -> None:
    broken(tmp_path, "rollback", "{5}", times=2)
    assert command(tmp_path, "run", "tiny.yaml", death=death)[0] == -9
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(only_run(tmp_path / "runs"), rolled_back) == []


@pytest.mark.slow
def test_rollback_restarts_without_a_checkpoint_and_fails_after_three(
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


def test_rollback_goes_back_to_before_the_loss_grew(tmp_path: Path) -> None:
    """Without clipping, the loss is NaN two steps after a checkpoint whose loss had already grown."""
    text = SHORT.replace(
        "steps: 7", "epochs: 8, grad_clip: null, optimizer: sgd, ema: null, on_nan: rollback"
    ).replace("lr: 1e-3", "lr: 0.3")
    (tmp_path / "tiny.yaml").write_text(text)
    command(tmp_path, "run", "tiny.yaml")
    first = diverged(only_run(tmp_path / "runs"))[0]
    assert (first["action"], first["step"], first["at_step"]) == ("rollback", 2, 5)
