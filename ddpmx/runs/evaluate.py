"""Computes a spec's metrics, during a run and for an existing one."""

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
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.provenance import DataRecord
from ..terminal.console import Bar, say
from ..training.events import Event
from ..training.experiment import Experiment
from ..world import World
from .generate import Samples, generate
from .opening import RunData, open_run
from .preflight import metric_notes

Warn = Callable[[str], None]
"""Called with a warning for the user."""


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
    """Compute the metrics of `evaluate:` on images that `evaluate.sampler` generates.

    Skips metrics that this machine lacks something for, metrics that fail for any reason, metrics of images
    if an image is not finite, and scores that are not finite; each is reported to `warn`. A plugin's
    traceback goes into `folder`. With `strict`, raises the SpecError of a built-in metric that cannot do what
    the spec asks.
    """
    spec, world = experiment.spec.evaluate, world or World()
    plan = spec.sampler.plan(experiment.table, experiment.prediction)
    metrics: dict[int, Metric] = {
        index: metric for index, metric in enumerate(spec.metrics) if _is_available(metric, warn, folder)
    }
    images, broken = torch.empty(0, *experiment.image_shape, dtype=torch.uint8), ""
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
        images, broken = generated.pixels, generated.problem
        if broken:
            metrics = {index: metric for index, metric in metrics.items() if not metric.needs_images}
    scores: dict[str, Score] = {}
    if world.is_main:
        if broken:
            warn(f"{broken}, so the metrics of images are skipped")
        subject = Subject(experiment.data, images, spec.seed, progress, experiment, network)
        for index, metric in metrics.items():
            with experiment.spec.blame(f"evaluate.metrics.{index}"):
                try:
                    scores.update(finite(metric.compute(subject), warn))
                except (Exception, SystemExit) as error:
                    wrong_input = isinstance(error, SpecError) and not isinstance(error, PluginError)
                    if isinstance(error, Interrupted) or (strict and wrong_input):
                        raise
                    warn(_skipped(metric, error, folder))
    return scores


def _is_available(metric: Metric, warn: Warn, folder: Path | None) -> bool:
    """Whether this machine has everything that the metric needs."""
    try:
        return not metric.missing()
    except PluginError as error:
        warn(_skipped(metric, error, folder))
        return False


def _skipped(metric: Metric, error: BaseException, folder: Path | None) -> str:
    """A warning that a metric failed, and why; a plugin's traceback goes into `folder`."""
    fault = error if isinstance(error, SpecError) else plugin_error(error)
    why = (
        str(fault) if fault is not None else str(error) if isinstance(error, RunError) else error_text(error)
    )
    text = f"the metric '{metric.component_name}' is skipped: {why}"
    if fault is not None and fault.trace and folder is not None:
        text += f". {keep_trace(fault.trace, folder)}"
    return text


def as_event(scores: dict[str, Score]) -> dict[str, object]:
    """The scores as an event of metrics.jsonl holds them: the values alone, and each with all its fields."""
    return {
        "metrics": {name: score.value for name, score in scores.items()},
        "scores": {name: score.fields() for name, score in scores.items()},
    }


def check_metrics(spec: Spec) -> None:
    """Raise SpecError if the spec has no metrics, or one that cannot be computed on this machine."""
    if not spec.evaluate.metrics:
        hint = "name some: --metrics fd_cnn,is_cnn"
        raise SpecError("the run's spec has no metrics", field="evaluate.metrics", hint=hint)
    for index, metric in enumerate(spec.evaluate.metrics):
        if metric.missing():
            problem = f"'{metric.component_name}' cannot be computed on this machine: {metric.missing()}"
            raise spec.error(f"evaluate.metrics.{index}", problem)


def evaluate(
    run: Path,
    *,
    device: torch.device,
    samples: int | None = None,
    metrics: Sequence[str] = (),
    overrides: Sequence[Override] = (),
    allow_changed_data: bool = False,
) -> Event:
    """Compute metrics for the best weights of an existing run.

    Adds an `evaluate` event to the run's metrics.jsonl, rewrites its report, and returns the event. Raises
    SpecError for metrics that cannot be computed here, and RunError if one failed; the other scores are then
    stored.
    """
    from ..pages.report import write_report  # imported late: slow to load, and not needed when a run starts

    changes: list[Override] = [*overrides]
    if samples is not None:
        changes.append(option("-n", samples, "evaluate.samples", samples))
    if metrics:
        changes.append(option("--metrics", ",".join(metrics), "evaluate.metrics", list(metrics)))
    needed = RunData.ANY if allow_changed_data else RunData.SAME
    opened = open_run(run, changes, device, "best", needed)
    folder, spec, experiment = opened.folder, opened.spec, opened.experiment
    check_metrics(spec)
    for note in metric_notes(spec, experiment.data):
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
        raise RunError(f"{'; '.join(problems)}; the other scores are stored: {', '.join(scores)}")
    return event
