"""A run that is resumed with another budget reports the jump of its learning rate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result, only_run

from ddpmx.spec.schema import TrainSpec
from ddpmx.storage.folder import RunFolder
from ddpmx.training.learning_rate import budget_note, learning_rate

Run = Callable[..., Result]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_jump_is_reported_with_both_rates(schedule: str) -> None:
    train = TrainSpec(lr=1e-3, lr_schedule=schedule)
    before = learning_rate(train, 19, 20)
    said = budget_note(train, 20, 40, before)
    assert f"{schedule} now ends at step 40" in said
    assert f"from {before:.3g} in step 20 to 0.0005 in step 21" in said
    halved = budget_note(train, 20, 40, before, 0.5)
    assert f"from {before / 2:.3g} in step 20 to 0.00025 in step 21" in halved
    shorter = budget_note(train, 10, 20, learning_rate(train, 9, 40))
    rates = f"from {learning_rate(train, 9, 40):.3g} in step 10 to 0.0005 in step 11"
    assert f"ends at step 20, so the learning rate goes {rates}" in shorter


def test_there_is_no_note_if_the_rate_does_not_jump() -> None:
    for schedule in ("constant", "cosine", "linear"):
        train = TrainSpec(lr=1e-3, lr_schedule=schedule, warmup_steps=5)
        for done in range(21):
            assert budget_note(train, done, 20, learning_rate(train, done - 1, 20)) == ""
        assert (
            budget_note(train, 3, 40, learning_rate(train, 2, 20)) == ""
        )  # the warm-up is the same for any budget
    constant = TrainSpec(lr=1e-3)
    assert budget_note(constant, 20, 40, 1e-3) == ""


@pytest.mark.slow
def test_a_longer_budget_of_a_finished_run(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY.replace(
            "steps: 12, batch_size: 64, lr: 1e-3", "steps: 10, batch_size: 16, lr: 1e-3, lr_schedule: cosine"
        )
    )
    tiny.write_text(tiny.read_text().replace("dataset: digits", "dataset: {name: digits, limit: 32}"))
    assert ddpmx("run", tiny, "--out", tmp_path / "runs").code == 0
    run = only_run(tmp_path / "runs")
    low, middle = 5e-4 * (1 + math.cos(0.9 * math.pi)), 5e-4 * (1 + math.cos(0.5 * math.pi))
    note = f"goes from {low:.3g} in step 10 to {middle:.3g} in step 11"
    same = ddpmx("run", tiny, "--run", run)
    assert same.code == 0, same.err
    assert "learning rate" not in same.err
    state = run / "checkpoints" / "last" / "state.json"  # as an older version wrote it
    content = json.loads(state.read_text())
    assert content["train"].pop("lr") == pytest.approx(low)
    state.write_text(json.dumps({"train": content["train"], "optimizer": content["optimizer"]}))
    longer = ddpmx("run", tiny, "--run", run, "-s", "train.steps=20")
    assert longer.code == 0, longer.err
    assert longer.err.count(note) == 1
    rates = {event["step"]: event["lr"] for event in RunFolder(run).events() if event["event"] == "step"}
    assert rates == {10: pytest.approx(low), 20: pytest.approx(5e-4 * (1 + math.cos(0.95 * math.pi)))}
    again = ddpmx("run", tiny, "--run", run, "-s", "train.steps=30")
    assert again.code == 0, again.err
    assert (
        f"goes from {rates[20]:.3g} in step 20 to {5e-4 * (1 + math.cos(2 / 3 * math.pi)):.3g} in step 21"
        in again.err
    )
