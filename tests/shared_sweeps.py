"""A small sweep whose points share trainings, and what tests look at in its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import TINIER, Result
from safetensors.torch import load_file

from ddpmx.spec.schema import Spec
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.points import Sweep, load_sweep

Run = Callable[..., Result]
BASE = TINIER.replace("samples: 8", "samples: 8, metrics: [pixel_fd, bpd]")
SAMPLERS = (
    "sweep: {evaluate.sampler.steps: [2, 3], sampler: [{name: ddim, steps: 2}, {name: ddim, steps: 4}]}\n"
)
FIRST, *OTHERS = (f"tiny-steps_{steps}-sampler_ddim_steps_{own}" for steps in (2, 3) for own in (2, 4))
"""The points of SAMPLERS."""
CPU = torch.device("cpu")


def write(folder: Path, sweep: str, base: str = BASE) -> Path:
    """A spec file with a sweep."""
    (folder / "tiny.yaml").write_text(base + sweep)
    return folder / "tiny.yaml"


def points(folder: Path) -> Sweep:
    """The sweep in tiny.yaml."""
    return load_sweep(folder / "tiny.yaml")


def runs(out: Path) -> dict[str, Path]:
    """The only run of each point."""
    found = {path.parent.name: path for path in sorted(out.glob("tiny/*/*/"))}
    assert len(found) == len(list(out.glob("tiny/*/*/")))
    return found


def with_checkpoints(out: Path) -> list[str]:
    """The points that have checkpoints, sorted."""
    return sorted(path.parent.parent.name for path in out.rglob("checkpoints"))


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """The averaged weights of a run's checkpoint."""
    return load_file(RunFolder(run).checkpoints / name / "ema.safetensors")


def final_metrics(run: Path) -> dict[str, Any]:
    """The scores of the last event that has metrics, with all their fields."""
    measured = [event for event in RunFolder(run).events("epoch", "evaluate") if event["metrics"]]
    assert measured
    return {"metrics": measured[-1]["metrics"], "scores": measured[-1]["scores"]}


def evaluations(run: Path) -> list[dict[str, Any]]:
    return list(RunFolder(run).events("evaluate"))


def status(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "status.json").read_text())
    return content


def without_training(run: Path) -> None:
    """Delete a run's folder, as if the point had never been started."""
    shutil.rmtree(run.parent)


def trained_alone(spec: Spec, out: Path) -> Path:
    """The spec's own training, as an older version would have made it."""
    from ddpmx.runs.run import run

    return run(spec, out=out, device=CPU)
