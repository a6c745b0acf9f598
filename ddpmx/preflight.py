"""What is worth knowing of a combination before it is trained, in numbers."""

from __future__ import annotations

from .experiment import Experiment
from .train import total_steps

LEFT_SIGNAL = 0.05
"""Above this share of the image in the last step, samples that start from pure noise cannot match it well."""


def findings(experiment: Experiment) -> list[str]:
    """Warnings, one line each; none of them stops a run."""
    found = []
    spec, table = experiment.spec, experiment.table
    left = float(table.signal[-1])
    if left > LEFT_SIGNAL:
        found.append(
            f"schedule: {left:.0%} of the image is still there in the last of {table.timesteps} steps, but sampling starts from pure noise"
            " (more timesteps or a larger beta_end removes it)"
        )
    steps = total_steps(spec.train, len(experiment.data.train))
    ema = spec.train.ema
    if ema is not None and not ema.warmup and (memory := 1 / (1 - ema.decay)) > steps:
        found.append(f"train.ema: the average remembers {memory:,.0f} steps, the run has {steps:,} (ema.warmup helps)")
    return found
