"""Times of parts of a run, each measured on a small piece of the work: for `run --dry-run`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch

from ..errors import RunError, SpecError
from ..metrics import Metric, Subject
from ..metrics.subject import quiet
from ..rows import Plan
from ..samplers import Sampler
from ..sampling.loop import sample
from ..spec.schema import Spec
from ..training.experiment import Experiment

TRIAL_SECONDS = 4.0
"""Training and metrics are timed for so long; a call that takes more than half of it is not repeated."""
TRIAL_IMAGES = 64
"""Images that a metric is tried on first."""
T = TypeVar("T")


def timed(call: Callable[[], T], again: bool = True) -> tuple[T, float]:
    """A call's result and its seconds.

    A short call is repeated, because the first one also allocates memory and loads kernels.
    """
    started = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    if seconds > TRIAL_SECONDS / 2 or not again:
        return result, seconds
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def image_seconds(experiment: Experiment, sampler: Sampler, count: int) -> float:
    """Seconds per image when `count` images are generated together.

    Estimated from the plan's first network evaluation. If the spec asks for guidance, it is counted in every
    row, even outside `guidance.interval`.
    """
    everywhere = experiment.spec.guidance.model_copy(update={"interval": None})
    experiment = replace(experiment, spec=experiment.spec.model_copy(update={"guidance": everywhere}))
    denoise = experiment.denoiser(experiment.network, experiment.spread(count))
    plan = sampler.plan(experiment.table, experiment.prediction)
    first = Plan((next(row for row in plan if row.evaluates),), plan.clip, plan.init_scale)
    shape = (count, *experiment.image_shape)
    self_condition = experiment.spec.model.self_conditioned
    images, seconds = timed(
        lambda: sample(denoise, first, shape, device=experiment.device, self_condition=self_condition)
    )
    if not bool(images.isfinite().all()):
        raise RunError(
            f"the first step of the sampler {sampler.component_name} gives values that are not finite"
        )
    return seconds * plan.evaluations / count


class _Enough(Exception):
    """Raised when a metric has been timed for long enough; its argument is the fraction of work done."""


def metric_seconds(experiment: Experiment, metrics: Sequence[Metric]) -> float:
    """Seconds that one evaluation of the metrics takes, with real images in place of generated ones.

    The first call does not count, since it may fill caches that the run will find filled. After it, the
    number of images grows as long as a call stays short, and the rest is extrapolated. A metric without
    images is timed for a while only.
    """
    image_metrics = [metric for metric in metrics if metric.needs_images]
    seconds = sum(_progress_seconds(experiment, metric) for metric in metrics if not metric.needs_images)
    if not image_metrics:
        return seconds
    needed = experiment.spec.evaluate.samples
    count, spent = min(TRIAL_IMAGES, needed), 0.0
    try:
        _compute(experiment, image_metrics, count)
    except SpecError:  # a metric needs more images than that
        count = needed
        _compute(experiment, image_metrics, count)
    while True:
        _, spent = timed(partial(_compute, experiment, image_metrics, count), again=False)
        if count == needed or spent > TRIAL_SECONDS / 2:
            return seconds + spent * needed / count
        count = min(4 * count, needed)


def _progress_seconds(experiment: Experiment, metric: Metric) -> float:
    """Seconds of a metric without images; extrapolated if it takes long and reports its progress."""
    started = time.perf_counter()

    def watch(what: str, done: int, total: int) -> None:
        if done and time.perf_counter() - started > TRIAL_SECONDS:
            raise _Enough(done / total)

    try:
        _compute(experiment, [metric], 0, watch)
    except _Enough as enough:
        return (time.perf_counter() - started) / float(enough.args[0])
    return time.perf_counter() - started


def _compute(
    experiment: Experiment,
    metrics: Sequence[Metric],
    count: int,
    progress: Callable[[str, int, int], None] = quiet,
) -> None:
    """Compute the metrics on the first `count` training images, repeated if there are fewer."""
    pixels = experiment.data.train.pixels
    images = pixels[torch.arange(count) % len(pixels)]
    subject = Subject(
        experiment.data, images, experiment.spec.evaluate.seed, progress, experiment, experiment.network
    )
    with experiment.spec.blame("evaluate.metrics"):
        for metric in metrics:
            metric.compute(subject)


@dataclass(frozen=True)
class MeasurementTimes:
    """Seconds of measurements with several settings; what they have in common is timed once."""

    experiment: Experiment
    """The run's experiment."""
    _generating: dict[str, float] = field(default_factory=dict)
    _computing: dict[str, float] = field(default_factory=dict)

    def generating(self, spec: Spec) -> float:
        """Seconds to generate the images of a spec's measurement; samplers of a name differ in steps only."""
        evaluate = spec.evaluate
        count = min(evaluate.batch_size, evaluate.samples)
        plan = evaluate.sampler.plan(self.experiment.table, self.experiment.prediction)
        key = repr((evaluate.sampler.component_name, spec.guidance, count))
        if key not in self._generating:
            experiment = replace(self.experiment, spec=spec)
            self._generating[key] = image_seconds(experiment, evaluate.sampler, count) / plan.evaluations
        return evaluate.samples * plan.evaluations * self._generating[key]

    def computing(self, spec: Spec, metrics: Sequence[Metric]) -> float:
        """Seconds to compute these metrics of a spec once."""
        images = spec.evaluate.samples if any(metric.needs_images for metric in metrics) else 0
        key = repr(([metric.spec() for metric in metrics], images))
        if key not in self._computing:
            self._computing[key] = metric_seconds(replace(self.experiment, spec=spec), metrics)
        return self._computing[key]
