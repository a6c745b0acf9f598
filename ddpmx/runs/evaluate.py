"""Measuring a network: the metrics of a spec, during a run and on an existing one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from .. import ops, outputs
from ..errors import Interrupted, PluginError, RunError, SpecError
from ..metrics import Metric, Score, Subject
from ..metrics.score import finite
from ..metrics.subject import Progress, quiet
from ..plugins.faults import error_text, keep_trace, plugin_error
from ..spec.loading import Override, option
from ..storage import checkpoint
from ..storage.provenance import DataRecord
from ..terminal.console import Bar, say
from ..training.events import Event
from ..training.experiment import Experiment
from ..world import World
from .generate import Samples, generate
from .opening import RunData, open_run
from .preflight import of_metrics

Warn = Callable[[str], None]
"""Called with what to tell the user."""


def measure(
    experiment: Experiment,
    network: nn.Module,
    warn: Warn,
    *,
    world: World | None = None,
    progress: Progress = quiet,
    strict: bool = False,
    folder: Path | None = None,
) -> dict[str, Score]:
    """All metrics of `evaluate:`, on images that `evaluate.sampler` draws, but for those that this machine lacks something for.

    Images that are not finite are not measured, scores that are not finite are left out, and so are metrics that fail, whatever
    they raise: `warn` is told. A traceback of theirs goes into `folder`. Raises SpecError, if `strict`, where the user asked for
    what a metric of ddpmx cannot do.
    """
    spec, world = experiment.spec.evaluate, world or World()
    plan = spec.sampler.plan(experiment.table, experiment.prediction)
    metrics: dict[int, Metric] = {
        index: metric for index, metric in enumerate(spec.metrics) if _is_here(metric, warn, folder)
    }
    images, unmeasured = torch.empty(0, *experiment.image_shape, dtype=torch.uint8), ""
    if any(metric.needs_images for metric in metrics.values()):
        generated = generate(
            experiment,
            network,
            plan,
            Samples(spec.samples, spec.seed),
            batch_size=spec.batch_size,
            world=world,
            progress=lambda done, total: progress("sampling for the metrics", done, total),
        )
        images, unmeasured = generated.pixels, generated.problem
        if unmeasured:
            metrics = {index: metric for index, metric in metrics.items() if not metric.needs_images}
    scores: dict[str, Score] = {}
    if world.is_main:
        if unmeasured:
            warn(f"{unmeasured}: no metric of images is taken")
        subject = Subject(experiment.data, images, spec.seed, progress, experiment, network)
        for index, metric in metrics.items():
            with experiment.spec.blame(f"evaluate.metrics.{index}"):
                try:
                    scores.update(finite(metric.compute(subject), warn))
                except (Exception, SystemExit) as error:
                    wrong = isinstance(error, SpecError) and not isinstance(error, PluginError)
                    if isinstance(error, Interrupted) or (strict and wrong):
                        raise
                    warn(_left_out(metric, error, folder))
    return scores


def _is_here(metric: Metric, warn: Warn, folder: Path | None) -> bool:
    """Whether this machine has what the metric needs."""
    try:
        return not metric.missing()
    except PluginError as error:
        warn(_left_out(metric, error, folder))
        return False


def _left_out(metric: Metric, error: BaseException, folder: Path | None) -> str:
    """That a metric failed, and why."""
    fault = error if isinstance(error, SpecError) else plugin_error(error)
    why = (
        str(fault) if fault is not None else str(error) if isinstance(error, RunError) else error_text(error)
    )
    text = f"the metric '{metric.component_name}' is left out: {why}"
    kept = keep_trace(fault.trace, folder) if fault is not None and fault.trace and folder is not None else ""
    return f"{text}. {kept}" if kept else text


def as_event(scores: dict[str, Score]) -> dict[str, object]:
    """The scores in an event of metrics.jsonl: the bare values, and all that is known of each."""
    return {
        "metrics": {name: score.value for name, score in scores.items()},
        "scores": {name: score.fields() for name, score in scores.items()},
    }


def evaluate(
    run: Path,
    *,
    device: torch.device,
    samples: int | None = None,
    metrics: Sequence[str] = (),
    overrides: Sequence[Override] = (),
    allow_changed_data: bool = False,
) -> Event:
    """Measure an existing run's best weights; adds an `evaluate` event to its metrics.jsonl, renews its report, returns the event."""
    from ..pages.report import write_report  # slow to load, and a run that starts needs none yet

    changes: list[Override] = [*overrides]
    if samples is not None:
        changes.append(option("-n", samples, "evaluate.samples", samples))
    if metrics:
        changes.append(option("--metrics", ",".join(metrics), "evaluate.metrics", list(metrics)))
    needed = RunData.ANY if allow_changed_data else RunData.SAME
    opened = open_run(run, changes, device, "best", needed)
    folder, spec, experiment = opened.folder, opened.spec, opened.experiment
    if not spec.evaluate.metrics:
        raise SpecError(
            "the run's spec names no metrics", field="evaluate.metrics", hint="--metrics fd_cnn,is_cnn"
        )
    for index, metric in enumerate(spec.evaluate.metrics):
        if metric.missing():
            raise spec.error(
                f"evaluate.metrics.{index}",
                f"'{metric.component_name}' can't be taken here: {metric.missing()}",
            )
    for note in of_metrics(spec, experiment.data):
        say(f"note: {note}")
    for name in ("metrics.jsonl", "report.html"):
        outputs.check(folder.path / name, "RUN")
    state = checkpoint.counters(opened.weights.parent)
    problems: list[str] = []
    with ops.use_backend(spec.backend), Bar() as bar:
        scores = measure(
            experiment, experiment.network, problems.append, progress=bar.show, strict=True, folder=run
        )
    if not scores:
        raise RunError("; ".join(problems))
    event: Event = {
        "event": "evaluate",
        "epoch": state.row.get("epoch", state.epoch),
        "step": state.step,
        "samples": spec.evaluate.samples,
        "sampler": spec.evaluate.sampler.spec(),
        "data": DataRecord.from_data(experiment.data).to_json(),
        **as_event(scores),
    }
    if experiment.classes:
        event["guidance"] = spec.guidance.model_dump(mode="json")
    folder.add_event(event)
    write_report(run)
    if problems:
        raise RunError(f"{'; '.join(problems)}; the other scores are written: {', '.join(scores)}")
    return event
