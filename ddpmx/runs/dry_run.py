"""`run --dry-run`: tries a step of everything that a run does, and estimates how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from .. import ops
from ..errors import RunError
from ..metrics import Metric
from ..pages.page import duration
from ..pages.plots import write_plots
from ..pages.report import write_report
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
from .measurements import computed_after_training, during_training, moments_passes, of_images
from .preflight import notes
from .timings import TRIAL_SECONDS, MeasurementTimes, image_seconds, timed

WARM_UP_STEPS, TIMED_STEPS, MAX_STEPS = 2, 5, 100
"""Training steps that are not timed, that are timed at least, and that are taken at most."""
STRIP_IMAGES = 8
"""Images of the denoising strip."""


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
    _, plain = timed(lambda: validate(experiment, network, World(), bits=False))
    _, curves = timed(lambda: validate(experiment, network, World()))
    within = times - pacing.evaluations_at_epoch_ends
    yield f"validation (×{epochs + within})", (epochs + within - times) * plain + times * curves
    network.eval()
    if pacing.grid is not None:
        say("timing the samplers …")
        strip = image_seconds(experiment, spec.sampler, STRIP_IMAGES)
        final = image_seconds(experiment, spec.sampler, evaluate.grid)
        grid = image_seconds(experiment, evaluate.sampler, evaluate.grid)
        seconds = pacing.grids * evaluate.grid * grid + evaluate.grid * final + STRIP_IMAGES * strip
        yield f"grids of {evaluate.grid} images (×{pacing.grids})", seconds
    yield from _measurements(experiment, pacing, say)


def _measurements(
    experiment: Experiment, pacing: Pacing, say: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """The measurements of the metrics, during training and after it, and the moments that samplers need."""
    spec, seconds = experiment.spec, MeasurementTimes(experiment)
    times = during_training(spec, pacing)
    metrics, later = _available(spec), computed_after_training(spec, pacing)
    yield from _moments(experiment, pacing, times * of_images(spec), later)
    if times and of_images(spec):
        say("timing the generation of images for the metrics …")
        count = times * spec.evaluate.samples
        yield f"generating {count:,} images for the metrics", times * seconds.generating(spec)
    if times and metrics:
        _announce(metrics, say)
        yield f"computing the metrics (×{times})", times * seconds.computing(spec, metrics)
    if not later:
        return
    generated = [each for each in later if of_images(each)]
    if generated:
        say("timing the generation of images for the measurements after the training …")
        count = sum(each.evaluate.samples for each in generated)
        total = sum(map(seconds.generating, generated))
        yield f"generating {count:,} images for the measurements after the training", total
    _announce([metric for each in later for metric in _available(each)], say)
    total = sum(seconds.computing(each, _available(each)) for each in later)
    yield f"computing the metrics of the measurements after the training (×{len(later)})", total


def _available(spec: Spec) -> list[Metric]:
    """The spec's metrics that can be computed on this machine."""
    return [metric for metric in spec.evaluate.metrics if not metric.missing()]


def _announce(metrics: Sequence[Metric], say: Callable[[str], None]) -> None:
    names = ", ".join(dict.fromkeys(metric.component_name for metric in metrics))
    say(f"timing the metrics ({names}); the first time on a data set, this may train or load a network …")


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
            _, saving = timed(lambda: checkpoint.save(folder.checkpoints, state, trained), again=False)
            folder.add_event({"event": "step", **asdict(done)})
            _, plotting = timed(lambda: write_plots(folder.plots, spec), again=False)
            _, reporting = timed(lambda: write_report(folder.path), again=False)
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
        _, seconds = timed(lambda: snapshots.save(Path(folder), kept[-1], averages), again=False)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))
    written = sum(step in averages.ema.kept(step) for step in range(1, steps + 1))
    kept_size = f"{len(kept)} kept in {len(kept) * size / 1e6:,.0f} MB"
    yield f"snapshots of the averages (×{written}, {kept_size})", written * seconds


def _moments(
    experiment: Experiment, pacing: Pacing, times: int, later: Sequence[Spec]
) -> Iterator[tuple[str, float]]:
    """The moments of the network, if a sampler needs them: a description, and the seconds of a whole run.

    `times` is how often the training generates images for the metrics, and `later` what is measured after it.
    """
    spec = experiment.spec
    passes = sampler_passes(experiment, spec.evaluate.sampler) * (pacing.grids + times)
    passes += sampler_passes(experiment, spec.sampler) * (pacing.grid is not None)
    passes += moments_passes(experiment, later)
    if not passes:
        return
    middle = [float(experiment.table.timesteps // 2)]
    _, seconds = timed(lambda: measure_moments(experiment, experiment.network, middle))
    each = seconds / index_passes(experiment)
    yield f"moments of the network ({passes:,} passes of one image)", passes * each
