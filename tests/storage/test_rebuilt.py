"""Averages that are rebuilt from snapshots, against averages that were tracked all along."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result
from safetensors.torch import load_file
from torch import Tensor, nn

from ddpmx.emas.power import Power
from ddpmx.errors import SpecError
from ddpmx.spec.loading import load
from ddpmx.storage import checkpoint, snapshots
from ddpmx.storage.folder import RunFolder, to_yaml
from ddpmx.storage.rebuilt import StoredAverages, averaged_weights, rebuild
from ddpmx.training.ema import Averages
from ddpmx.training.state import Trained, TrainState

Run = Callable[..., Result]
STEPS = 1000
DIRECT = (0.02, 0.03, 0.07, 0.15, 0.2, 0.25)
ERRORS = {0.02: 0.03, 0.03: 0.01, 0.07: 0.001, 0.15: 0.003, 0.2: 0.007, 0.25: 0.036}
"""The profiles' errors, rounded up."""


class Network(nn.Module):
    """Two layers and a batch norm, whose buffers are not averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def train(folder: RunFolder, trained: Trained, direct: Averages, steps: range) -> None:
    """Train with noisy gradients, as a run does: averages, snapshots, and a checkpoint at the end."""
    averages = trained.ema
    assert averages is not None
    for step in steps:
        torch.manual_seed(step)
        x = torch.randn(8, 4)
        trained.optimizer.zero_grad()
        (trained.network(x) - x.prod(1, keepdim=True)).square().mean().backward()
        trained.optimizer.step()
        averages.update(trained.network, step)
        direct.update(trained.network, step)
        if step in averages.ema.kept(step):
            snapshots.save(folder.snapshots, step, averages)
    checkpoint.save(folder.checkpoints, TrainState(step=steps[-1], images=8 * steps[-1]), trained)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Trained, Averages]:
    """A run with `power`, what it trained, and averages of other widths tracked beside it."""
    out = tmp_path_factory.mktemp("power")
    (out / "tiny.yaml").write_text(TINY.replace("steps: 12", "steps: 12, ema: power"))
    folder = RunFolder.create(out / "runs", load(out / "tiny.yaml"))
    torch.manual_seed(0)
    network = Network()
    trained = Trained(network, Averages(network, Power()), torch.optim.Adam(network.parameters(), 3e-2))
    direct = Averages(network, Power(std=DIRECT))
    train(folder, trained, direct, range(1, STEPS + 1))
    return folder, trained, direct


@pytest.fixture
def run(finished: tuple[RunFolder, Trained, Averages], tmp_path: Path) -> Path:
    """A copy of the run."""
    shutil.copytree(finished[0].path, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def flat(tensors: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([tensors[name].double().flatten() for name in names])


def test_rebuilt_averages_are_close_to_tracked_ones(
    finished: tuple[RunFolder, Trained, Averages], run: Path
) -> None:
    """The error is relative to how far the weights move within the average."""
    _, trained, direct = finished
    names = [name for name, _ in trained.network.named_parameters()]
    plain = flat(trained.network.state_dict(), names)
    for std, module in zip(reversed(DIRECT), direct.modules, strict=True):
        (rebuilt,) = rebuild(run, [std])
        assert rebuilt.error <= ERRORS[std]
        tracked = flat(module.state_dict(), names)
        error = (flat(load_file(rebuilt.file), names) - tracked).norm() / (tracked - plain).norm()
        assert error <= rebuilt.error, (std, float(error))


def test_widths_that_were_tracked_are_the_checkpoints_own_files(run: Path) -> None:
    last = run / "checkpoints" / str(STEPS)
    assert averaged_weights(run, 0.1) == last / "ema.safetensors"
    assert averaged_weights(run, 0.05) == last / "ema-1.safetensors"
    assert not list((run / "ema").glob("std-*"))


def test_a_rebuilt_file_is_a_networks_state_with_the_last_buffers_and_counters(
    finished: tuple[RunFolder, Trained, Averages], run: Path
) -> None:
    file = averaged_weights(run, 0.07)
    network = Network()
    checkpoint.load_weights(network, file)
    norm, last = network.layers[1], finished[1].network.layers[1]
    assert torch.equal(norm.running_mean, last.running_mean)
    assert int(norm.num_batches_tracked) == STEPS
    assert not torch.equal(norm.weight, last.weight)
    state = checkpoint.counters(file.parent)
    assert (state.step, state.images) == (STEPS, 8 * STEPS)


def test_a_rebuilt_average_is_kept_until_the_run_is_trained_further(
    finished: tuple[RunFolder, Trained, Averages], run: Path
) -> None:
    file = averaged_weights(run, 0.07)
    made = file.stat().st_ino
    content = file.read_bytes()
    assert averaged_weights(run, 0.07).stat().st_ino == made
    last = run / "checkpoints" / str(STEPS)
    trained = finished[1]
    assert trained.ema is not None
    network = Network()
    further = Trained(network, Averages(network, Power()), torch.optim.Adam(network.parameters(), 3e-2))
    checkpoint.load(last, further)
    train(RunFolder(run), further, Averages(network, Power()), range(STEPS + 1, STEPS + 41))
    assert averaged_weights(run, 0.07) == file
    assert file.read_bytes() != content
    assert checkpoint.counters(file.parent).step == STEPS + 40


@pytest.mark.parametrize("name", ["ema.safetensors", "state.json"])
def test_a_damaged_rebuilt_average_is_rebuilt(run: Path, name: str) -> None:
    file = averaged_weights(run, 0.07)
    content = file.read_bytes()
    (file.parent / name).write_bytes(b"damaged")
    assert averaged_weights(run, 0.07).read_bytes() == content


def test_what_a_killed_process_left_is_removed(run: Path) -> None:
    (run / "ema" / ".ddpmx-std-0.07.1").mkdir()
    averaged_weights(run, 0.07)
    assert not list((run / "ema").glob(".*"))


def test_a_damaged_snapshot_is_named_and_without_it_the_others_are_used(run: Path) -> None:
    whole = StoredAverages.of(run)
    snapshot = run / "ema" / str(whole.snapshots[-1])
    with (snapshot / "ema.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(SpecError, match=r"ema\.safetensors is damaged: its checksum") as error:
        averaged_weights(run, 0.02)
    assert "without the folder of a damaged snapshot" in error.value.hint
    shutil.rmtree(snapshot)
    (rebuilt,) = rebuild(run, [0.03])
    assert rebuilt.error > whole.combination(0.03).error


@pytest.mark.parametrize("std", [0.0, -0.1, 0.0005, 0.29, float("nan"), float("inf")])
def test_a_width_that_no_average_has_is_refused(run: Path, std: float) -> None:
    with pytest.raises(SpecError, match=r"a width should be from 0\.001 to 0\.2887"):
        averaged_weights(run, std)


def test_a_width_that_the_snapshots_do_not_support_is_refused_with_the_range(run: Path) -> None:
    with pytest.raises(
        SpecError, match=r"width 0\.01: its profile would be off by 8\.5%, and at most 5%"
    ) as error:
        averaged_weights(run, 0.01)
    assert error.value.hint == "supported: 0.0151 to 0.2586"
    for std in (0.0151, 0.2586):
        assert averaged_weights(run, std).exists()


def test_runs_without_snapshots_are_refused(trained: Path, run: Path) -> None:
    with pytest.raises(SpecError, match="it was trained with the average 'constant'") as error:
        averaged_weights(trained, 0.05)
    assert error.value.hint == "snapshots are kept with train.ema={name: power}"
    shutil.rmtree(run / "ema")
    with pytest.raises(SpecError, match="has no snapshots from which a width of 0.07"):
        averaged_weights(run, 0.07)
    assert averaged_weights(run, 0.05).exists()  # was tracked
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(SpecError, match="has no checkpoint yet"):
        averaged_weights(run, 0.05)


def test_a_run_without_an_average_is_refused(run: Path) -> None:
    resolved = load(run / "spec.yaml", ["train.ema=null"]).resolved()
    (run / "spec.yaml").write_text(to_yaml(resolved))
    with pytest.raises(SpecError, match="it was trained with no average"):
        averaged_weights(run, 0.07)


def test_the_command_says_what_can_be_rebuilt(ddpmx: Run, run: Path) -> None:
    said = ddpmx("ema", run)
    assert said.code == 0, said.err
    assert said.out.splitlines() == [
        "tracked in training: 0.05, 0.1",
        "snapshots: 31 from step 32 to 992; training ended at step 1000",
        "can be rebuilt: 0.0151 to 0.2586",
        f"next: ddpmx ema {run} --std 0.05,0.1",
    ]
    data = json.loads(ddpmx("ema", run, "--json").out)
    assert data["tracked"] == [0.05, 0.1]
    assert data["snapshots"] == list(range(32, 1000, 32))
    assert (data["run"], data["step"]) == (str(run), 1000)
    assert data["supported"] == [[pytest.approx(0.01506, abs=1e-5), pytest.approx(0.25862, abs=1e-5)]]


def test_the_command_rebuilds(ddpmx: Run, run: Path) -> None:
    said = ddpmx("ema", run, "--std", "0.02,0.05, 0.02")
    assert said.code == 0, said.err
    assert said.out.splitlines() == [
        f"0.02    profile off by 2.87%    {run}/ema/std-0.02/ema.safetensors",
        f"0.05    tracked in training     {run}/checkpoints/1000/ema-1.safetensors",
        f"next: ddpmx evaluate {run} --over weights.ema_std=0.02,0.05",
    ]
    (rebuilt,) = json.loads(ddpmx("ema", run, "--std", "0.02", "--json").out)
    assert (rebuilt["std"], rebuilt["file"]) == (0.02, f"{run}/ema/std-0.02/ema.safetensors")
    assert rebuilt["error"] == pytest.approx(0.0287, abs=1e-4)


@pytest.mark.parametrize(
    ("std", "message"),
    [
        ("0.02,0.01", "--std: the snapshots of "),
        ("0.02,x", "--std: should be numbers separated by commas, such as 0.02,0.05, not '0.02,x'"),
        ("", "--std: should be numbers separated by commas"),
        ("0.5", "--std: a width should be from 0.001 to 0.2887, not 0.5"),
    ],
)
def test_the_command_refuses_bad_widths_and_then_writes_nothing(
    ddpmx: Run, run: Path, std: str, message: str
) -> None:
    said = ddpmx("ema", run, "--std", std)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {message}")
    assert len(said.err.splitlines()) == 1
    assert not list((run / "ema").glob("std-*"))
