"""How long the sweeps with papers' claims will take: from the dry run of one point of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from study_commands import worker_environments
from study_estimate import kind_of

from ddpmx import ops
from ddpmx.runs.dry_run import estimate
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import Sweep
from ddpmx.sweeps.trainings import Progress, Remaining, trainings_of
from ddpmx.terminal.time_left import roughly
from ddpmx.training.experiment import build, choose_device


@dataclass(frozen=True)
class Seconds:
    """What the points of a kind take."""

    training: float
    """The training steps."""
    rest: float
    """All else, most of it to sample and to measure; a point that shares a training takes only this."""


def say_estimate(grids: Mapping[str, Sweep], out: Path, jobs: int | None) -> None:
    """Print how many points of each sweep are left, and how long they will take.

    `out` is the folder for runs, and `jobs` the number of trainings at the same time.
    """
    device, total, kinds = choose_device(None), 0.0, dict[str, Seconds]()
    unit = "core-minutes" if device.type == "cpu" else "GPU-minutes"
    for name, grid in grids.items():
        trainings = trainings_of(grid.points)
        workers = worker_environments(len(trainings), jobs)
        threads = int(workers[0].get("OMP_NUM_THREADS", "1"))  # none for a GPU
        if device.type == "cpu":
            torch.set_num_threads(threads)
        progress = Progress.look(grid.points, out, out / name)
        seconds, left = 0.0, 0
        for training in trainings:
            remaining = Remaining.of(training, progress)
            trained = [spec for spec in (remaining.trainer, *remaining.separate) if spec is not None]
            seconds += sum(_of(spec, kinds, device).training for spec in trained)
            seconds += sum(_of(spec, kinds, device).rest for spec in (*trained, *remaining.measured))
            left += len(trained) + len(remaining.measured)
        total += seconds * threads
        print(
            f"{name}: {left} of {len(grid.points)} points are left, {seconds * threads / 60:.2g} {unit}, "
            f"about {roughly(seconds / len(workers))} with {len(workers)} at a time",
            flush=True,
        )
    print(f"in all {total / 60:.3g} {unit}")


def _of(spec: Spec, kinds: dict[str, Seconds], device: torch.device) -> Seconds:
    """The times of a point, which are measured for the first point of a kind."""
    kind = kind_of(spec)
    if kind not in kinds:
        print(f"timing a point such as {spec.name} …", flush=True)
        with ops.use_backend(spec.backend):
            training, *rest = (seconds for _, seconds in estimate(build(spec, device, training=True)))
        kinds[kind] = Seconds(training, sum(rest))
    return kinds[kind]
