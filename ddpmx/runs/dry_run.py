"""`run --dry-run`: tries a step of everything that a run does, and estimates how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch

from .. import ops
from ..errors import RunError, SpecError
from ..metrics import Metric, Subject
from ..metrics.subject import quiet
from ..pages.page import duration
from ..pages.plots import write_plots
from ..pages.report import write_report
from ..rows import Plan
from ..samplers import Sampler
from ..sampling.loop import sample
from ..spec.schema import Spec
from ..storage import checkpoint, snapshots
from ..storage.folder import RunFolder
from ..training.experiment import Experiment, build
from ..training.loop import StepDone, train
from ..training.moments import index_passes, measure_moments, sampler_passes
from ..training.objective import estimates_first
from ..training.pacing import Pacing
from ..training.state import Trained, TrainState, prepare
from ..training.validation import validate
from ..world import World
from .preflight import notes

WARM_UP_STEPS, TIMED_STEPS, MAX_STEPS = 2, 5, 100
"""Training steps that are not timed, that are timed at least, and that are taken at most."""
STRIP_IMAGES = 8
"""Images of the denoising strip."""
TRIAL_SECONDS = 4.0
"""Training and metrics are timed for so long; a call that takes more than half of it is not repeated."""
TRIAL_IMAGES = 64
"""Images that a metric is tried on first."""
T = TypeVar("T")


def quietly(text: str) -> None:
    """Print nothing."""


def dry_run(spec: Spec, device: torch.device, say: Callable[[str], None]) -> None:
    """Try everything that a run does, and print what each part would take. Leaves no run folder.

    Trains a few steps, validates, runs the first row of both samplers and computes the metrics on real
    images. Raises SpecError or RunError as a run would.
    """
    experiment = build(spec, device, training=True)
    say(f"data: {experiment.data.summary()}")
    say(f"{experiment.parameters:,} parameters; {device}")
    for note in notes(experiment):
        say(f"note: {note}")
    with ops.use_backend(spec.backend):
        say(f"backend: {ops.active(device)}")
        total = 0.0
        for part, seconds in estimate(experiment, say):
            say(f"{duration(seconds):>10}  {part}")
            total += seconds
    say(f"{duration(total):>10}  in total, without early stopping")


def estimate(experiment: Experiment, say: Callable[[str], None] = quietly) -> Iterator[tuple[str, float]]:
    """Measure each part of a run on a briefly trained network; yields (description, seconds of a whole run).

    `say` announces each measurement that may take long.
    """
    spec, network = experiment.spec, experiment.network
    evaluate, pacing = spec.evaluate, Pacing.from_spec(spec, len(experiment.data.train), experiment.table)
    epochs, times = pacing.epochs, pacing.evaluations
    trained = prepare(experiment)
    start = time.process_time()  # a run starts with what this process has done so far
    say("timing a few training steps …")
    state, done, step = _train(experiment, trained)
    yield f"training, {pacing.steps:,} steps of {step * 1000:.0f} ms", pacing.steps * step
    save, pages = _file_seconds(spec, state, done, trained)
    yield "start, plots and report", start + pages
    yield f"checkpoints (×{pacing.checkpoints})", pacing.checkpoints * save
    yield from _snapshots(trained, pacing.steps)
    say("timing validation …")
    _, plain = _timed(lambda: validate(experiment, network, World(), bits=False))
    _, curves = _timed(lambda: validate(experiment, network, World()))
    within = times - pacing.evaluations_at_epoch_ends
    yield f"validation (×{epochs + within})", (epochs + within - times) * plain + times * curves
    network.eval()
    if pacing.grid is not None:
        say("timing the samplers …")
        strip = _image_seconds(experiment, spec.sampler, STRIP_IMAGES)
        final = _image_seconds(experiment, spec.sampler, evaluate.grid)
        grid = _image_seconds(experiment, evaluate.sampler, evaluate.grid)
        seconds = pacing.grids * evaluate.grid * grid + evaluate.grid * final + STRIP_IMAGES * strip
        yield f"grids of {evaluate.grid} images (×{pacing.grids})", seconds
    metrics = [metric for metric in evaluate.metrics if not metric.missing()]
    yield from _moments(experiment, pacing, any(metric.needs_images for metric in metrics))
    if any(metric.needs_images for metric in metrics):
        say("timing the generation of images for the metrics …")
        each = _image_seconds(experiment, evaluate.sampler, min(evaluate.batch_size, evaluate.samples))
        count = times * evaluate.samples
        yield f"generating {count:,} images for the metrics", count * each
    if metrics:
        names = ", ".join(metric.component_name for metric in metrics)
        say(f"timing the metrics ({names}); the first time on a data set, this may train or load a network …")
        yield f"computing the metrics (×{times})", times * metric_seconds(experiment, metrics)


def _train(experiment: Experiment, trained: Trained) -> tuple[TrainState, StepDone, float]:
    """Train a few steps; returns the state after them, the last step, and the mean seconds of a step.

    A self-conditioned network runs twice in half of the steps; the mean then weighs both kinds of step
    equally.
    """
    budget = {"steps": MAX_STEPS, "epochs": MAX_STEPS, "patience": None}
    longer = experiment.spec.train.model_copy(update=budget)
    trial = replace(experiment, spec=experiment.spec.model_copy(update={"train": longer}))
    state, times, before = TrainState(), dict[bool, list[float]](), 0.0
    kinds = 2 if experiment.spec.model.self_conditioned else 1
    for event in train(trial, state, trained, World(), lambda: False):
        if isinstance(event, StepDone):
            done = event
            twice = kinds == 2 and estimates_first(experiment.spec.seed, state.step - 1)
            seconds = state.seconds - before if state.batch > 1 else state.seconds
            before = state.seconds
            if state.step > WARM_UP_STEPS:
                times.setdefault(twice, []).append(seconds)
            spent = sum(map(sum, times.values()))
            enough_steps = state.step >= WARM_UP_STEPS + TIMED_STEPS
            if enough_steps and spent > TRIAL_SECONDS and len(times) == kinds:
                break
    return state, done, fmean(fmean(seconds) for seconds in times.values())


def _file_seconds(spec: Spec, state: TrainState, done: StepDone, trained: Trained) -> tuple[float, float]:
    """Seconds to write a checkpoint, and to write plots and report, in a temporary run folder."""
    try:
        with TemporaryDirectory(prefix="ddpmx-dry-run-") as out:
            folder = RunFolder.create(Path(out), spec)
            _, saving = _timed(lambda: checkpoint.save(folder.checkpoints, state, trained), again=False)
            folder.add_event({"event": "step", **asdict(done)})
            _, plotting = _timed(lambda: write_plots(folder.plots, spec), again=False)
            _, reporting = _timed(lambda: write_report(folder.path), again=False)
    except OSError as error:
        raise RunError(f"a run's files cannot be written: {error}") from error
    return saving, plotting + reporting


def _snapshots(trained: Trained, steps: int) -> Iterator[tuple[str, float]]:
    """The snapshots of the averages, if the spec keeps any: a description, and the seconds of a whole run."""
    averages = trained.ema
    kept = () if averages is None else averages.ema.kept(steps)
    if averages is None or not kept:
        return
    with TemporaryDirectory(prefix="ddpmx-dry-run-") as folder:
        _, seconds = _timed(lambda: snapshots.save(Path(folder), kept[-1], averages), again=False)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))
    written = sum(step in averages.ema.kept(step) for step in range(1, steps + 1))
    kept_size = f"{len(kept)} kept in {len(kept) * size / 1e6:,.0f} MB"
    yield f"snapshots of the averages (×{written}, {kept_size})", written * seconds


def _moments(experiment: Experiment, pacing: Pacing, generates: bool) -> Iterator[tuple[str, float]]:
    """The moments of the network, if a sampler needs them: a description, and the seconds of a whole run."""
    spec = experiment.spec
    passes = sampler_passes(experiment, spec.evaluate.sampler) * (
        pacing.grids + pacing.evaluations * generates
    )
    passes += sampler_passes(experiment, spec.sampler) * (pacing.grid is not None)
    if not passes:
        return
    middle = [float(experiment.table.timesteps // 2)]
    _, seconds = _timed(lambda: measure_moments(experiment, experiment.network, middle))
    each = seconds / index_passes(experiment)
    yield f"moments of the network ({passes:,} passes of one image)", passes * each


def _image_seconds(experiment: Experiment, sampler: Sampler, count: int) -> float:
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
    images, seconds = _timed(
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
        _, spent = _timed(partial(_compute, experiment, image_metrics, count), again=False)
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


def _timed(call: Callable[[], T], again: bool = True) -> tuple[T, float]:
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
