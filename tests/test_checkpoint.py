"""Checkpoints: exact, whole or not there, links that always resolve, nothing that unpickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from ddpmx import checkpoint
from ddpmx.ema import Ema
from ddpmx.errors import RunError, SpecError
from ddpmx.train import Trained, TrainState


def parts(seed: int, steps: int = 0) -> Trained:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    ema = Ema(network, 0.9, True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.randn(2, 1, 5, 5)).square().sum().backward()
        optimizer.step()
        ema.update(network, step + 1)
    return Trained(network, ema, optimizer)


def flat(trained: Trained) -> dict[str, torch.Tensor]:
    assert trained.ema is not None
    state = {
        f"{index}.{name}": value for index, values in trained.optimizer.state_dict()["state"].items() for name, value in values.items()
    }
    ema = {f"ema.{name}": value for name, value in trained.ema.state_dict().items()}
    return {**trained.network.state_dict(prefix="network."), **ema, **state}


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    saved, state = parts(0, steps=3), TrainState(step=3, epoch=1, loss_sum=0.1 + 0.2, best_loss=1 / 3, best_step=3, row={"epoch": 1})
    checkpoint.save(tmp_path, state, saved)
    loaded = parts(1)
    assert checkpoint.load(tmp_path / "last", loaded) == state
    wanted, got = flat(saved), flat(loaded)
    assert wanted.keys() == got.keys()
    for name in wanted:
        assert torch.equal(wanted[name], got[name]), name
        assert wanted[name].dtype == got[name].dtype, name


def test_last_and_best_always_resolve(tmp_path: Path) -> None:
    for step, best in ((1, -1), (2, 2), (3, 2)):
        checkpoint.save(tmp_path, TrainState(step=step, best_step=best), parts(0))
        checkpoint.prune(tmp_path, set())
        assert (tmp_path / "last" / "state.json").exists()
        assert (tmp_path / "best" / "state.json").exists()
    assert ((tmp_path / "last").resolve().name, (tmp_path / "best").resolve().name) == ("3", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "best", "last"]


def test_the_same_step_again_gets_the_new_counters(tmp_path: Path) -> None:
    for epoch in (0, 1):
        checkpoint.save(tmp_path, TrainState(step=5, epoch=epoch), parts(0))
    assert checkpoint.load(tmp_path / "last", parts(0)).epoch == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_file_is_named_and_nothing_unpickles(tmp_path: Path, name: str) -> None:
    checkpoint.save(tmp_path, TrainState(step=1), parts(0, steps=1))
    (tmp_path / "1" / name).write_bytes(pickle.dumps(print))
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(tmp_path / "last", parts(0))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "checkpoints", TrainState(step=1), parts(0))
    file = checkpoint.weights_file(tmp_path, "best")
    assert file.name == "ema.safetensors"
    with pytest.raises(SpecError, match="do not fit"):
        checkpoint.load_weights(nn.Linear(2, 2), file)
    with pytest.raises(SpecError, match="no such"):
        checkpoint.weights_file(tmp_path, "nowhere")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, TrainState(step=1), parts(0))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, TrainState(step=2), parts(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "best", "last"]
    assert checkpoint.load(tmp_path / "last", parts(1)).step == 1
