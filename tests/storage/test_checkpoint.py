"""Checkpoints: exact, written whole or not at all, with links that always resolve, and without pickles."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ddpmx import EMAS
from ddpmx.errors import RunError, SpecError
from ddpmx.storage import checkpoint, checkpoint_folder, manifest, sealed
from ddpmx.storage.misfit import misfit
from ddpmx.training.ema import Averages
from ddpmx.training.state import Trained, TrainState

ROW = {"epoch": 1, "step": 3, "train_loss": 1.0, "val_loss": 1 / 3, "seconds": 0.5, "images_per_second": 9.0}


def parts(seed: int, steps: int = 0) -> Trained:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    ema = Averages(network, EMAS.build("constant", decay=0.9))
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
        f"{index}.{name}": value
        for index, values in trained.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    ema = {f"ema.{name}": value for name, value in trained.ema.module.state_dict().items()}
    return {**trained.network.state_dict(prefix="network."), **ema, **state}


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    saved, state = (
        parts(0, steps=3),
        TrainState(step=3, epoch=1, loss_sum=0.1 + 0.2, best_loss=1 / 3, best_step=3, row=ROW),
    )
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
        checkpoint_folder.prune(tmp_path, ())
        assert (tmp_path / "last" / "state.json").exists()
        assert (tmp_path / "best" / "state.json").exists()
    assert ((tmp_path / "last").resolve().name, (tmp_path / "best").resolve().name) == ("3", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "best", "last"]


def test_the_same_step_again_gets_the_new_counters(tmp_path: Path) -> None:
    for epoch in (0, 1):
        checkpoint.save(tmp_path, TrainState(step=5, epoch=epoch), parts(0))
    assert checkpoint.load(tmp_path / "last", parts(0)).epoch == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")
DAMAGES = {
    "a pickle": lambda content: pickle.dumps(print),
    "torn": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "first byte": lambda content: flipped(content, 0),
    "a byte in the middle": lambda content: flipped(content, len(content) // 2),
    "last byte": lambda content: flipped(content, len(content) - 1),
    "not there": None,
}


def flipped(content: bytes, index: int) -> bytes:
    """The content with one bit of the byte at `index` flipped."""
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    tmp_path: Path, name: str, damage: str
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, TrainState(step=step), parts(0, steps=step))
    file, how = tmp_path / "2" / name, DAMAGES[damage]
    content = file.read_bytes()
    file.unlink() if how is None else file.write_bytes(how(content))
    with pytest.raises(RunError, match=f"2/{name} is damaged"):
        checkpoint.load(tmp_path / "2", parts(0))
    said: list[str] = []
    assert checkpoint_folder.newest_intact(tmp_path, said.append) == 1
    assert len(said) == 1
    assert f"2/{name} is damaged" in said[0]
    assert "step 1" in said[0]


def test_every_flipped_bit_of_the_counters_is_found(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, TrainState(step=1, loss_sum=0.1 + 0.2), parts(0, steps=1))
    file, whole = tmp_path / "1" / "state.json", manifest.read(tmp_path / "1")
    content = file.read_bytes()
    for index in range(len(content)):
        file.write_bytes(flipped(content, index))
        try:
            assert manifest.read(tmp_path / "1") == whole, index  # two spellings of the same number
        except RunError:
            continue


def test_only_damaged_checkpoints_are_an_error_that_names_all_but_none_at_all_is_not(tmp_path: Path) -> None:
    assert checkpoint_folder.newest_intact(tmp_path, print) is None
    for step in (1, 2):
        checkpoint.save(tmp_path, TrainState(step=step), parts(0))
        (tmp_path / str(step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="2/model.safetensors is damaged.*1/model.safetensors is damaged"):
        checkpoint_folder.newest_intact(tmp_path, print)


def test_a_checkpoint_of_an_early_version_without_checksums_is_read(tmp_path: Path) -> None:
    saved = parts(0, steps=2)
    checkpoint.save(tmp_path, TrainState(step=2), saved)
    file = tmp_path / "2" / "state.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({"train": content["train"], "optimizer": content["optimizer"]}))
    loaded = parts(1)
    assert checkpoint.load(tmp_path / "2", loaded) == TrainState(step=2)
    got = flat(loaded)
    assert all(torch.equal(tensor, got[name]) for name, tensor in flat(saved).items())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "checkpoints", TrainState(step=1), parts(0))
    file = checkpoint.weights_file(tmp_path, "best")
    assert file.name == "ema.safetensors"
    with pytest.raises(SpecError, match="do not fit"):
        checkpoint.load_weights(nn.Linear(2, 2), file)
    expected = load_file(file)
    assert misfit(expected, expected) == ""
    few = {name: torch.zeros(7) for name in list(expected)[:1]} | {
        f"other.{i}": torch.zeros(i) for i in range(5)
    }
    name, tensor = next(iter(expected.items()))
    said = misfit(few, expected)
    assert f"1 of another shape: {name} is [7] and should be {list(tensor.shape)}" in said
    assert ("missing: " in said) == (len(expected) > 1)
    assert said.endswith("5 not in the network: other.0 [0], other.1 [1], other.2 [2], …")


def test_weights_to_start_from_that_do_not_fit_name_tensors_and_shapes(
    ddpmx: Any, tiny: Path, tmp_path: Path
) -> None:
    network = nn.Linear(2, 3)
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    with pytest.raises(SpecError) as error:
        checkpoint.load_weights(nn.Linear(4, 3), file)
    assert str(error.value) == (
        f"the weights {file} do not fit this network: "
        "1 of another shape: weight is [3, 2] and should be [3, 4]"
    )
    result = ddpmx("run", tiny, "-s", f"train.init_from={file}", "--out", tmp_path / "runs")
    assert result.code == 2
    assert f"train.init_from: the weights {file} do not fit this network: " in result.err
    assert "2 not in the network: bias [3], weight [3, 2]" in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.glob("runs/*/*"))
    with pytest.raises(SpecError, match="no such"):
        checkpoint.weights_file(tmp_path, "nowhere")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, TrainState(step=1), parts(0))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, TrainState(step=2), parts(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "best", "last"]
    assert checkpoint.load(tmp_path / "last", parts(1)).step == 1
