"""Plans for generating images: a sampler's rows, with the moments of the network that it may need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from ..data.no_images import Shape
from ..metrics.subject import Progress, quiet
from ..rows import Plan
from ..samplers import Moments, Sampler
from ..storage import moments as stored
from ..storage.folder import RunFolder
from ..storage.provenance import DataRecord, recorded_data, refuse_changed
from ..terminal.console import warn
from ..training.experiment import Experiment, load_data
from ..training.moments import measure_moments, moment_images
from ..world import World

WORK = "moments of the network"
"""The name of the work, for progress."""


@dataclass(frozen=True)
class Network:
    """A network with given weights, and what is needed to measure its moments."""

    experiment: Experiment
    """The network's experiment."""
    module: nn.Module
    """The network itself."""
    run: Path | None = None
    """The run's folder, which keeps the moments; None: they are measured each time."""
    world: World = field(default_factory=World)
    """The processes that measure; the main one reads and writes."""
    progress: Progress = quiet
    """Reports the progress of the measurement."""

    def plan(self, sampler: Sampler, strength: float = 1.0) -> Plan:
        """The sampler's plan, with the moments of this network if it needs them.

        Raises SpecError as `Sampler.plan` does, and if the training images are needed but not there.
        """
        table, prediction = self.experiment.table, self.experiment.prediction
        plan = sampler.plan(table, prediction, strength=strength)
        if not plan.lacks_moments:
            return plan
        moments = self.moments([row.t for row in plan if row.evaluates])
        return sampler.plan(table, prediction, strength=strength, moments=moments)

    def moments(self, timesteps: Sequence[float]) -> Moments:
        """The moments at these indices; those that the run has are not measured again."""
        images = moment_images(self.experiment.image_shape)
        file = None if self.run is None else self._file(self.run, images)
        # several processes would have to agree on what is known, so they measure all again
        known = None if file is None or self.world.size > 1 else stored.read(file, images)
        missing = [t for t in dict.fromkeys(timesteps) if known is None or t not in known.gammas]
        if known is not None and not missing:
            return known
        measured = measure_moments(
            self._with_images(),
            self.module,
            missing,
            self.world,
            lambda done, total: self.progress(WORK, done, total),
        )
        if known is not None:
            measured = replace(measured, gammas={**known.gammas, **measured.gammas})
        if file is not None and self.world.is_main:
            try:
                stored.write(file, measured)
            except OSError as error:
                warn(f"{file} cannot be written, so these moments are measured again next time: {error}")
        return measured

    def _file(self, run: Path, images: int) -> Path:
        data = self.experiment.data
        record = recorded_data(RunFolder(run)) if isinstance(data, Shape) else DataRecord.from_data(data)
        fingerprint = "" if record is None else record.fingerprint
        return stored.file_of(run, self.experiment.spec, self.module, fingerprint, images)

    def _with_images(self) -> Experiment:
        """The experiment with its images, which a command that only samples has not loaded."""
        if not isinstance(self.experiment.data, Shape):
            return self.experiment
        spec, data = self.experiment.spec, load_data(self.experiment.spec)
        if self.run is not None and not isinstance(data, Shape):
            hint = "the moments of the network need the data that it was trained on"
            refuse_changed(spec, RunFolder(self.run), DataRecord.from_data(data), hint)
        return replace(self.experiment, data=data)


def in_words(error: float) -> str:
    """How well a plan's variances are known, from its `error`."""
    return f"are known to ±{error:.1%} (the largest standard error of a step's)"
