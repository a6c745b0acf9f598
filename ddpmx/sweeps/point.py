"""Runs one point of a sweep, and for the first point of a training also the others that share it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import RunError, SpecError
from ..runs.known_runs import unfinished_run
from ..runs.measured import measure_with
from ..runs.resume import Resume, wait_until_free
from ..runs.run import run
from ..spec.schema import Spec
from ..storage.folder import RunFolder
from ..storage.provenance import ALLOW, PresentData, refuse_changed
from ..world import World
from .claims import keep_claims_of_part
from .points import Sweep
from .trainings import Progress, Remaining, Training, trainings_of

KEEP = (
    f"{ALLOW} keeps finished points and resumes the others; "
    "another --out trains all points on the present data"
)
"""The hint of the error about changed data."""


def run_point(
    grid: Sweep, spec: Spec, *, out: Path, device: torch.device, allow_changed_data: bool = False
) -> Path:
    """Run one point as its sweep does: keep a finished run, resume a stopped one. Returns its folder.

    A point that shares another one's training is measured with its weights; what has to be trained for that
    is. The first point of a shared training also measures all others.
    """
    training = next(training for training in trainings_of(grid.points) if spec in training)
    with World.joined(device) as world:
        points = _Points(grid, training, out, device, allow_changed_data, world)
        return points.run(spec)


@dataclass
class _Points:
    """The points of one training, which this process completes."""

    grid: Sweep
    training: Training
    out: Path
    """The folder for runs."""
    device: torch.device
    allow_changed_data: bool
    world: World
    """The processes; the main one decides what to do."""
    failed: list[str] = field(default_factory=list)
    """The points that failed, and why."""

    @property
    def folder(self) -> Path:
        """The sweep's own folder."""
        return self.out / self.grid.name

    def run(self, spec: Spec) -> Path:
        """Complete the point, and all points if it is the first one; returns the point's folder."""
        progress = Progress.look(self.training.points, self.out, self.folder)
        remaining, done = Remaining.of(self.training, progress), progress.finished.runs
        if spec.name in done and not self.allow_changed_data:
            refuse_changed(spec, RunFolder(done[spec.name]), PresentData().load(spec), KEEP)
        self.world.any(False, self.device)  # no process writes anything before all have looked
        if self.world.is_main:
            keep_claims_of_part(self.grid, self.folder)
        wanted = self.training.points if spec is self.training.first else (spec,)
        measured = [point for point in remaining.measured if point in wanted]
        weights, folders = remaining.trained, dict(done)
        if remaining.trainer is not None and (measured or remaining.trainer in wanted):
            weights = folders[remaining.trainer.name] = self._train(remaining.trainer)
        if spec in remaining.separate:
            folders[spec.name] = self._train(spec)
        for point in measured:
            assert weights is not None  # without a finished training there is a trainer
            with self._going_on_after(point):
                folders[point.name] = self._measure(point, weights)
        if self.failed:
            points = "1 point" if len(self.failed) == 1 else f"{len(self.failed)} points"
            raise RunError(f"{points} could not be measured: {'; '.join(self.failed)}")
        return folders[spec.name]

    def _train(self, spec: Spec) -> Path:
        """Train a point, or complete its training; returns its folder."""
        previous = self._previous(spec, shares=False)
        if self._is_finished(previous):
            return self._path(previous)
        resume = Resume(previous, self.allow_changed_data) if previous else None
        path = run(spec, out=self.folder, device=self.device, resume=resume)
        gc.collect()  # the training's objects refer to one another; free them before points are measured
        return path

    def _measure(self, spec: Spec, weights: Path) -> Path:
        """Measure a point with the weights of a finished run; returns its folder."""
        previous = self._previous(spec, shares=True)
        if self._is_finished(previous):
            return self._path(previous)
        return measure_with(
            spec,
            weights,
            out=self.folder,
            device=self.device,
            previous=previous,
            allow_changed_data=self.allow_changed_data,
        )

    def _previous(self, spec: Spec, *, shares: bool) -> Path | None:
        """The point's unfinished run, once no process works on it; None if there is none."""
        previous = unfinished_run(spec, self.folder, shares=shares) if self.world.is_main else None
        if previous is not None:
            wait_until_free(previous)
        return previous

    def _is_finished(self, previous: Path | None) -> bool:
        """Whether another process has finished the run meanwhile."""
        return self.world.any(previous is not None and RunFolder(previous).is_finished, self.device)

    def _path(self, path: Path | None) -> Path:
        """The path that the main process has found."""
        return Path(self.world.text(str(path or ""), self.device))

    @contextmanager
    def _going_on_after(self, point: Spec) -> Iterator[None]:
        """Remember why a point fails, so that the others are measured; with several processes, stop."""
        try:
            yield
        except (RunError, SpecError) as error:
            if self.world.size > 1:  # the other processes may be waiting for this one
                raise
            self.failed.append(f"{point.name}: {error}")
