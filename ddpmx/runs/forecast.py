"""The estimate of its total time that a run prints near its start, extrapolated from its first steps.

`--dry-run` measures each part instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

import torch

from ..terminal.time_left import roughly
from ..training.experiment import Experiment
from ..training.moments import sampler_passes
from ..training.pacing import Pacing, passes_per_image, passes_per_trained_image
from ..training.state import TrainState
from .measurements import computed_after_training, during_training, image_passes, moments_passes, of_images

WARM_UP_STEPS, TIMED_STEPS = 2, 5
"""Steps that are not timed, and the fewest that are."""
TIMED_SECONDS, TIMED_PART = 1.0, 10
"""Steps are timed for so many seconds, or until 1/TIMED_PART of all steps are done."""
STRIP_IMAGES = 8
"""Images of the denoising strip."""
DAY = 86_400.0
"""Seconds above which an estimate for a CPU is a warning."""


@dataclass
class Forecast:
    """Times the first steps of this process until it can estimate, once, how long the rest will take."""

    experiment: Experiment
    """The experiment that is trained, and its device."""
    pacing: Pacing
    """How many steps, grids and evaluations there are."""
    first: int
    """The step that this process starts from."""
    seconds: float = 0.0
    """Training time of the current epoch up to the previous step."""
    reported: bool = False
    """Whether the estimate has been returned."""
    _times: list[float] = field(default_factory=list)

    def update(self, state: TrainState) -> str:
        """Time one more step; returns the message once enough steps are timed, otherwise an empty string."""
        if self.reported:
            return ""
        seconds, self.seconds = state.seconds - (self.seconds if state.batch > 1 else 0.0), state.seconds
        steps = state.step - self.first
        if steps > WARM_UP_STEPS:
            self._times.append(seconds)
        if len(self._times) < TIMED_STEPS or (
            sum(self._times) < TIMED_SECONDS and steps < (self.pacing.steps - self.first) / TIMED_PART
        ):
            return ""
        self.reported = True
        return self.text(fmean(self._times))

    def text(self, step: float) -> str:
        """The message if one step takes `step` seconds."""
        parts = self.parts(step)
        total = sum(parts.values())
        cpu = self.experiment.device.type == "cpu"
        threads = torch.get_num_threads()
        where = f"{threads} core{'s' if threads > 1 else ''}" if cpu else str(self.experiment.device)
        breakdown = ", ".join(
            f"{part} {roughly(seconds)}" for part, seconds in parts.items() if seconds > total / 1000
        )
        spec = self.experiment.spec
        metrics = ", plus the time to compute metrics" if spec.evaluate.metrics else ""
        at_most = " at most" if spec.train.patience else ""
        text = f"estimated time: about {roughly(total)}{at_most} on {where}: {breakdown}{metrics}"
        if cpu and total > DAY:
            return (
                f"warning: {text}; a GPU, a smaller network or fewer steps would make it hours"
                " (--dry-run measures each part)"
            )
        return text

    def parts(self, step: float) -> dict[str, float]:
        """The seconds of each remaining part of the run, if one training step takes `step` seconds.

        Sampling and validation are counted in passes of one image through the network, whose cost follows
        from that of a training step.
        """
        experiment, pacing = self.experiment, self.pacing
        spec, images = experiment.spec, len(experiment.data.train)
        pass_seconds = step / (passes_per_trained_image(spec) * min(spec.train.batch_size, images))
        remaining = 1 - self.first / pacing.steps
        each = passes_per_image(spec, experiment.table)
        evaluations = spec.evaluate.sampler.plan(experiment.table, spec.prediction).evaluations
        final = spec.sampler.plan(experiment.table, spec.prediction).evaluations * each / evaluations
        measured = during_training(spec, pacing) * of_images(spec)
        sampling = remaining * each * (pacing.grids * spec.evaluate.grid + measured * spec.evaluate.samples)
        last = 0 if pacing.grid is None else final * (spec.evaluate.grid + STRIP_IMAGES)
        measuring = sampler_passes(experiment, spec.sampler) + remaining * (
            sampler_passes(experiment, spec.evaluate.sampler) * (pacing.grids + measured)
        )
        later = computed_after_training(spec, pacing)
        after = image_passes(experiment, later) + moments_passes(experiment, later)
        validations = remaining * (pacing.epochs + pacing.evaluations - pacing.evaluations_at_epoch_ends)
        return {
            "training": (pacing.steps - self.first) * step,
            "sampling": (sampling + last + measuring + after) * pass_seconds,
            "validation": validations * len(experiment.data.validation) * pass_seconds,
        }
