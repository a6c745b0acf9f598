"""`run --dry-run`: one step of everything, and the time that all of it would take."""

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
from ..storage import checkpoint
from ..storage.folder import RunFolder
from ..training.experiment import Experiment, build
from ..training.loop import StepDone, train
from ..training.objective import estimates_first
from ..training.pacing import Pacing
from ..training.state import Trained, TrainState, prepare
from ..training.validation import validate
from ..world import World
from .preflight import findings

WARM_UP, MEASURED, MOST = 2, 5, 100  # training steps
STRIP = 8  # images of the denoising strip, drawn like the final grid
SECONDS = 4.0  # of training that are watched; half of it: a call that takes longer is not made twice
FEW = 64  # images that a metric is tried on first
T = TypeVar("T")


def quietly(text: str) -> None:
    """Say nothing."""


def dry_run(spec: Spec, device: torch.device, say: Callable[[str], None]) -> None:
    """Build everything, train a few steps, validate, run one row of both samplers, measure real images; no run folder is left.

    Raises SpecError or RunError as a run would.
    """
    experiment = build(spec, device, training=True)
    say(f"data: {experiment.data.summary()}")
    say(f"{experiment.parameters:,} parameters; {device}")
    for finding in findings(experiment):
        say(f"note: {finding}")
    with ops.use_backend(spec.backend):
        say(f"backend: {ops.active(device)}")
        total = 0.0
        for what, seconds in estimate(experiment, say):
            say(f"{duration(seconds):>10}  {what}")
            total += seconds
    say(f"{duration(total):>10}  in all, patience aside")


def estimate(experiment: Experiment, say: Callable[[str], None] = quietly) -> Iterator[tuple[str, float]]:
    """Each part of a run, whose network is trained a little, and its seconds, as soon as it is measured.

    `say` is told what is about to be measured, where that may take long.
    """
    spec, network = experiment.spec, experiment.network
    evaluate, pacing = spec.evaluate, Pacing.from_spec(spec, len(experiment.data.train), experiment.table)
    epochs, times = pacing.epochs, pacing.evaluations
    trained = prepare(experiment)
    start = time.process_time()  # what this process has done so far, a run does too
    say("measuring a few training steps …")
    state, done, step = _train(experiment, trained)
    yield f"training, {pacing.steps:,} steps of {step * 1000:.0f} ms", pacing.steps * step
    save, pages = _written(spec, state, done, trained)
    yield "start, plots and report", start + pages
    yield f"checkpoints, {pacing.checkpoints} times", pacing.checkpoints * save
    say("measuring the validation …")
    _, plain = _timed(lambda: validate(experiment, network, World(), bits=False))
    _, curves = _timed(lambda: validate(experiment, network, World()))
    within = times - pacing.evaluations_at_epoch_ends
    yield f"validation, {epochs + within} times", (epochs + within - times) * plain + times * curves
    network.eval()
    if pacing.grid is not None:
        say("measuring the samplers …")
        strip = _image_seconds(experiment, spec.sampler, STRIP)
        shown = _image_seconds(experiment, spec.sampler, evaluate.grid)
        grid = _image_seconds(experiment, evaluate.sampler, evaluate.grid)
        seconds = pacing.grids * evaluate.grid * grid + evaluate.grid * shown + STRIP * strip
        yield f"grids of {evaluate.grid}, {pacing.grids} times", seconds
    metrics = [metric for metric in evaluate.metrics if not metric.missing()]
    if any(metric.needs_images for metric in metrics):
        say("measuring the sampling for the metrics …")
        drawn = _image_seconds(experiment, evaluate.sampler, min(evaluate.batch_size, evaluate.samples))
        yield (
            f"sampling {times * evaluate.samples:,} images for the metrics",
            times * evaluate.samples * drawn,
        )
    if metrics:
        names = ", ".join(metric.component_name for metric in metrics)
        say(
            f"measuring the metrics' own work ({names}); the first time on a data set may train or load a network …"
        )
        yield f"the metrics' own work, {times} times", times * measuring_seconds(experiment, metrics)


def _train(experiment: Experiment, trained: Trained) -> tuple[TrainState, StepDone, float]:
    """A few steps: where they lead, the last one, and the mean time of one.

    Where a self-conditioned network runs twice in some steps, it is the mean of both kinds of step.
    """
    longer = experiment.spec.train.model_copy(update={"steps": MOST, "epochs": MOST, "patience": None})
    trial = replace(experiment, spec=experiment.spec.model_copy(update={"train": longer}))
    state, times, before = TrainState(), dict[bool, list[float]](), 0.0
    kinds = 2 if experiment.spec.model.self_conditioned else 1
    for event in train(trial, state, trained, World(), lambda: False):
        if isinstance(event, StepDone):
            done = event
            twice = kinds == 2 and estimates_first(experiment.spec.seed, state.step - 1)
            seconds = state.seconds - before if state.batch > 1 else state.seconds
            before = state.seconds
            if state.step > WARM_UP:
                times.setdefault(twice, []).append(seconds)
            spent = sum(map(sum, times.values()))
            if state.step >= WARM_UP + MEASURED and spent > SECONDS and len(times) == kinds:
                break
    return state, done, fmean(fmean(seconds) for seconds in times.values())


def _written(spec: Spec, state: TrainState, done: StepDone, trained: Trained) -> tuple[float, float]:
    """The times of a checkpoint, and of the plots and the report, in a run folder that is deleted again."""
    try:
        with TemporaryDirectory(prefix="ddpmx-dry-run-") as out:
            folder = RunFolder.create(Path(out), spec)
            _, saving = _timed(lambda: checkpoint.save(folder.checkpoints, state, trained), again=False)
            folder.add_event({"event": "step", **asdict(done)})
            _, drawing = _timed(lambda: write_plots(folder.plots, spec), again=False)
            _, reporting = _timed(lambda: write_report(folder.path), again=False)
    except OSError as error:
        raise RunError(f"the files of a run cannot be written: {error}") from error
    return saving, drawing + reporting


def _image_seconds(experiment: Experiment, sampler: Sampler, count: int) -> float:
    """Time that one image takes when `count` are drawn together, by the plan's first evaluation; guided, if the spec says so at all."""
    everywhere = experiment.spec.guidance.model_copy(update={"interval": None})
    experiment = replace(experiment, spec=experiment.spec.model_copy(update={"guidance": everywhere}))
    denoise = experiment.denoiser(experiment.network, experiment.spread(count))
    plan = sampler.plan(experiment.table, experiment.prediction)
    first = Plan((next(row for row in plan if row.evaluates),), plan.clip, plan.init_scale)
    shape = (count, *experiment.image_shape)
    fed_back = experiment.spec.model.self_conditioned
    images, seconds = _timed(
        lambda: sample(denoise, first, shape, device=experiment.device, self_condition=fed_back)
    )
    if not bool(images.isfinite().all()):
        raise RunError(f"the first step of {sampler.component_name} gives values that are not finite")
    return seconds * plan.evaluations / count


class _Enough(Exception):
    """A metric has been watched for long enough. Its argument: the share of the work that was done by then."""


def measuring_seconds(experiment: Experiment, metrics: Sequence[Metric]) -> float:
    """Time of the metrics' own work, once, with real images in place of drawn ones.

    The first time of all does not count: it may fill caches, which the run then finds filled. Then more and more images are
    measured, as long as it takes little time; the rest is taken in proportion. A metric of the model itself is watched for a while.
    """
    of_images = [metric for metric in metrics if metric.needs_images]
    seconds = sum(_watched(experiment, metric) for metric in metrics if not metric.needs_images)
    if not of_images:
        return seconds
    wanted = experiment.spec.evaluate.samples
    count, spent = min(FEW, wanted), 0.0
    try:
        _compute(experiment, of_images, count)
    except SpecError:  # too few: then all
        count = wanted
        _compute(experiment, of_images, count)
    while True:
        _, spent = _timed(partial(_compute, experiment, of_images, count), again=False)
        if count == wanted or spent > SECONDS / 2:
            return seconds + spent * wanted / count
        count = min(4 * count, wanted)


def _watched(experiment: Experiment, metric: Metric) -> float:
    """Time of a metric without images, from a part of it if it takes long and tells its progress."""
    started = time.perf_counter()

    def watch(what: str, done: int, total: int) -> None:
        if done and time.perf_counter() - started > SECONDS:
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
    pixels = experiment.data.train.pixels
    images = pixels[torch.arange(count) % len(pixels)]
    subject = Subject(
        experiment.data, images, experiment.spec.evaluate.seed, progress, experiment, experiment.network
    )
    with experiment.spec.blame("evaluate.metrics"):
        for metric in metrics:
            metric.compute(subject)


def _timed(call: Callable[[], T], again: bool = True) -> tuple[T, float]:
    """A result and its time. A short call is made once more: the first one is slower, as memory and kernels are made ready."""
    started = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    if seconds > SECONDS / 2 or not again:
        return result, seconds
    started = time.perf_counter()
    return call(), time.perf_counter() - started
