"""Runs, and the numbers that their samples start from, for the tests of export and import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import TINY

from ddpmx.runs.opening import open_run
from ddpmx.sampling.loop import sample
from ddpmx.spec.loading import load
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder
from ddpmx.training.experiment import build
from ddpmx.training.state import TrainState, prepare

SIZE = 2


def spec(**blocks: str) -> str:
    """The tiny spec with some blocks replaced."""
    lines = [line for line in TINY.strip().splitlines() if line.split(":")[0] not in blocks]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in blocks.items())]) + "\n"


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise(k: int, shape: tuple[int, ...]) -> torch.Tensor:
    return randn(*shape, seed=1000 + k)


def ours(run: Path, dtype: torch.dtype, overrides: tuple[str, ...] = ()) -> torch.Tensor:
    """Images in [0, 1] from the run's best weights, with the start and the noise of these tests."""
    experiment = open_run(run, overrides, torch.device("cpu"), "best").experiment
    plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction)
    network = experiment.network.eval().to(dtype)
    shape = (SIZE, *experiment.image_shape)
    x = sample(
        experiment.denoiser(network),
        plan,
        shape,
        x_init=randn(*shape, seed=0).to(dtype),
        noise=lambda k, shape: noise(k, shape).to(dtype),
        dtype=dtype,
    )
    return (x / 2 + 0.5).clamp(0, 1)


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def make_run(folder: Path, text: str) -> Path:
    """A run's folder whose network has random weights, none of them 0, as after training."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(text)
    experiment = build(load(folder / "spec.yaml"), torch.device("cpu"))
    torch.manual_seed(1)
    for parameter in experiment.network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5
    run = RunFolder.create(folder / "runs", experiment.spec)
    checkpoint.save(run.checkpoints, TrainState(), prepare(experiment))
    return run.path
