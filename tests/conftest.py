"""Fixtures for all tests: one thread, a private cache, and the command line in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddpmx.storage.folder import RunFolder

os.environ.setdefault("OMP_NUM_THREADS", "1")

from cpu_levels import level  # noqa: F401  (a fixture; torch is loaded with one thread)

# A network and a budget that train in a second.
TINY = """
name: tiny
dataset: digits
model: {name: convnext_unet, dim: 8, dim_mults: [1, 2]}
schedule: {name: cosine, timesteps: 20}
train: {steps: 12, batch_size: 64, lr: 1e-3}
evaluate: {sampler: {name: ddim, steps: 3}, grid: 4, samples: 8}
"""
# An even smaller budget: 6 steps in 2 epochs.
TINIER = TINY.replace("dataset: digits", "dataset: {name: digits, limit: 192}").replace(
    "steps: 12", "epochs: 2"
)
SHORT = (
    TINY.replace("dataset: digits", "dataset: {name: digits, limit: 100}")  # two steps an epoch
    .replace("steps: 12", "steps: 7")
    .replace("samples: 8", "samples: 8, every_epochs: 1, metrics: [pixel_fd]")
)


@dataclass
class Result:
    code: int
    out: str
    err: str


def last(run: Path) -> str:
    return (run / "checkpoints" / "last").readlink().name


def command(
    folder: Path, *arguments: str, code: int = 0, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "ddpmx", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def only_run(out: Path) -> Path:
    """The folder of the only run below `out`."""
    (run,) = (file.parent for file in out.glob("*/*/spec.yaml"))
    return run


def epochs(run: Path) -> list[dict[str, Any]]:
    """The events of a run's epochs."""
    return [event for event in RunFolder(run).events() if event["event"] == "epoch"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Use a cache of decoded data and classifiers that belongs to this session alone."""
    path = tmp_path_factory.mktemp("cache")
    os.environ["DDPMX_CACHE"] = str(path)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two checkpoints, which tests must not change. Its spec is `tiny.yaml` two folders
    above."""
    import torch

    from ddpmx.runs.run import run
    from ddpmx.spec.loading import load

    out = tmp_path_factory.mktemp("trained")
    (out / "tiny.yaml").write_text(TINIER)
    return run(load(out / "tiny.yaml"), out=out, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep of four points with one training, which tests must not change."""
    import torch
    from shared_sweeps import SAMPLERS, points, write

    from ddpmx.sweeps.point import run_point

    folder = tmp_path_factory.mktemp("shared")
    write(folder, SAMPLERS)
    grid = points(folder)
    run_point(grid, grid.points[0], out=folder / "runs", device=torch.device("cpu"))
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that a test may damage."""
    run = tmp_path / "runs" / "tiny" / trained.name
    shutil.copytree(trained, run, symlinks=True)
    return run


@pytest.fixture
def ddpmx(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in this process: exit code, stdout, stderr."""
    from ddpmx.cli import main
    from ddpmx.terminal.console import warn

    def run(*arguments: str | Path) -> Result:
        warn.cache_clear()  # as in a process of its own
        monkeypatch.setattr("sys.argv", ["ddpmx", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        output = capsys.readouterr()
        return Result(code if isinstance(code, int) else int(code is not None), output.out, output.err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A spec that trains in a second, in a folder of its own."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
