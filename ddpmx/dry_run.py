"""`run --dry-run`: one step of everything, and the time that all of it would take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import TypeVar

import torch

from . import ops
from .errors import RunError
from .experiment import Experiment, build
from .objective import runs_twice
from .page import duration
from .preflight import findings
from .rows import Plan
from .samplers import Sampler
from .sampling import sample
from .spec import Spec
from .train import StepDone, TrainState, prepare, steps_per_epoch, total_steps, train
from .validation import validate
from .world import World

MEASURED, MOST = 5, 40  # training steps, besides one that warms up
STRIP = 8  # images of the denoising strip, drawn like the final grid
SECONDS = 2.0  # of training that are watched; a call that takes longer is not made twice
T = TypeVar("T")


def dry_run(spec: Spec, device: torch.device, say: Callable[[str], None]) -> None:
    """Build everything, train a few steps, validate, run one row of both samplers; nothing is written.

    Raises SpecError or RunError as a run would.
    """
    experiment = build(spec, device)
    network, data, evaluate = experiment.network, experiment.data, spec.evaluate
    shape = f"{data.channels}×{data.size}×{data.size}"
    say(f"{data.name}: {len(data.train):,} training images, {shape}; {experiment.parameters:,} parameters; {device}")
    for finding in findings(experiment):
        say(f"note: {finding}")
    with ops.use_backend(spec.backend):
        say(f"backend: {ops.active(device)}")
        step = _step_seconds(experiment)
        _, validation = _timed(lambda: validate(experiment, network, World()))
        network.eval()
        shown = _image_seconds(experiment, spec.sampler, evaluate.grid)
        grid = _image_seconds(experiment, evaluate.sampler, evaluate.grid)
        drawn = _image_seconds(experiment, evaluate.sampler, min(evaluate.batch_size, evaluate.samples))
    steps = total_steps(spec.train, len(data.train))
    epochs = math.ceil(steps / steps_per_epoch(spec.train, len(data.train)))
    measured = math.ceil(epochs / evaluate.every_epochs) * evaluate.samples if evaluate.metrics else 0
    parts = {
        f"training, {steps:,} steps of {step * 1000:.0f} ms": steps * step,
        f"validation, {epochs} times": epochs * validation,
        f"grids of {evaluate.grid}, {epochs} times": epochs * evaluate.grid * grid + (evaluate.grid + STRIP) * shown,
        f"sampling {measured:,.0f} images for the metrics": measured * drawn,
    }
    for what, seconds in parts.items():
        say(f"{duration(seconds):>10}  {what}")
    say(f"{duration(sum(parts.values())):>10}  in all, patience and the metrics' own work aside")


def _step_seconds(experiment: Experiment) -> float:
    """Mean time of a training step; of one that runs a self-conditioned network twice and one that does not, where it is."""
    longer = experiment.spec.train.model_copy(update={"steps": MOST + 1, "epochs": MOST + 1, "patience": None})
    trial = replace(experiment, spec=experiment.spec.model_copy(update={"train": longer}))
    state, times, before = TrainState(), dict[bool, list[float]](), 0.0
    kinds = 2 if experiment.spec.model.self_conditioned else 1
    for event in train(trial, state, prepare(experiment), World(), lambda: False):
        if isinstance(event, StepDone):
            twice = kinds == 2 and runs_twice(experiment.spec.seed, state.step - 1)
            seconds = state.seconds - before if state.batch > 1 else state.seconds
            before = state.seconds
            if state.step > 1:
                times.setdefault(twice, []).append(seconds)
            spent = sum(map(sum, times.values()))
            if state.step > MEASURED and spent > SECONDS and len(times) == kinds:
                break
    return fmean(fmean(seconds) for seconds in times.values())


def _image_seconds(experiment: Experiment, sampler: Sampler, count: int) -> float:
    """Time that one image takes when `count` are drawn together, by the plan's first evaluation; guided, if the spec says so at all."""
    everywhere = experiment.spec.guidance.model_copy(update={"interval": None})
    experiment = replace(experiment, spec=experiment.spec.model_copy(update={"guidance": everywhere}))
    denoise = experiment.denoiser(experiment.network, experiment.spread(count))
    plan = sampler.plan(experiment.table, experiment.prediction)
    first = Plan((next(row for row in plan if row.evaluates),), plan.clip, plan.init_scale)
    shape = (count, *experiment.image_shape)
    fed_back = experiment.spec.model.self_conditioned
    images, seconds = _timed(lambda: sample(denoise, first, shape, device=experiment.device, self_condition=fed_back))
    if not bool(images.isfinite().all()):
        raise RunError(f"the first step of {sampler.component_name} gives values that are not finite")
    return seconds * plan.evaluations / count


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """A result and its time. A short call is made once more: the first one is slower, as memory and kernels are made ready."""
    started = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    if seconds > SECONDS:
        return result, seconds
    started = time.perf_counter()
    return call(), time.perf_counter() - started
