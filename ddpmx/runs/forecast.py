"""What a run says at its start of the time that it will take: from its first steps, at no cost.

`--dry-run` measures each part instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

import torch

from ..terminal.time_left import roughly
from ..training.experiment import Experiment
from ..training.pacing import Pacing, passes_per_image, passes_per_trained_image
from ..training.state import TrainState

WARM_UP, LEAST = 2, 5
"""Steps that do not count, and the fewest that do."""
SECONDS, SHARE = 1.0, 10
"""As many steps are watched as take so long, but no more than 1/SHARE of all where those are enough."""
STRIP = 8
"""Images of the denoising strip, drawn like the final grid."""
DAY = 86_400.0


@dataclass
class Forecast:
    """Watches the first steps of this process, until it has said once what all the rest will take."""

    experiment: Experiment
    pacing: Pacing
    first: int
    """The step that this process starts from."""
    seconds: float = 0.0
    """Of the pass under way, at the last look."""
    said: bool = False
    _times: list[float] = field(default_factory=list)

    def see(self, state: TrainState) -> str:
        """After each step: the one message, as soon as enough of them were seen, else nothing."""
        if self.said:
            return ""
        seconds, self.seconds = state.seconds - (self.seconds if state.batch > 1 else 0.0), state.seconds
        seen = state.step - self.first
        if seen > WARM_UP:
            self._times.append(seconds)
        if len(self._times) < LEAST or (
            sum(self._times) < SECONDS and seen < (self.pacing.steps - self.first) / SHARE
        ):
            return ""
        self.said = True
        return self.text(fmean(self._times))

    def text(self, step: float) -> str:
        """The message, where a step takes so many seconds."""
        parts = self.parts(step)
        total = sum(parts.values())
        cpu = self.experiment.device.type == "cpu"
        threads = torch.get_num_threads()
        where = f"{threads} core{'s' if threads > 1 else ''}" if cpu else str(self.experiment.device)
        told = ", ".join(
            f"{what} {roughly(seconds)}" for what, seconds in parts.items() if seconds > total / 1000
        )
        spec = self.experiment.spec
        more = ", besides the metrics' own work" if spec.evaluate.metrics else ""
        text = f"about {roughly(total)}{' at most' if spec.train.patience else ''} on {where}: {told}{more}"
        if cpu and total > DAY:
            return f"warning: {text}; a GPU, a smaller network or a smaller budget makes that hours (--dry-run measures each part)"
        return text

    def parts(self, step: float) -> dict[str, float]:
        """The seconds of what this process has ahead of it. All but training is counted in passes of an image through the network."""
        experiment, pacing = self.experiment, self.pacing
        spec, images = experiment.spec, len(experiment.data.train)
        a_pass = step / (passes_per_trained_image(spec) * min(spec.train.batch_size, images))
        share = 1 - self.first / pacing.steps
        each = passes_per_image(spec, experiment.table)
        evaluations = spec.evaluate.sampler.plan(experiment.table, spec.prediction).evaluations
        final = spec.sampler.plan(experiment.table, spec.prediction).evaluations * each / evaluations
        measured = pacing.evaluations if any(metric.needs_images for metric in spec.evaluate.metrics) else 0
        drawn = share * each * (pacing.grids * spec.evaluate.grid + measured * spec.evaluate.samples)
        last = 0 if pacing.grid is None else final * (spec.evaluate.grid + STRIP)
        validations = share * (pacing.epochs + pacing.evaluations - pacing.evaluations_at_epoch_ends)
        return {
            "training": (pacing.steps - self.first) * step,
            "sampling": (drawn + last) * a_pass,
            "validation": validations * len(experiment.data.validation) * a_pass,
        }
