"""Measures a network: generates images, computes the spec's metrics, and records what was measured how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..errors import Interrupted, PluginError, RunError, SpecError
from ..metrics import Metric, Score, Subject
from ..metrics.score import finite, variance_facts
from ..metrics.subject import Progress, quiet
from ..plugins.faults import error_text, keep_trace, plugin_error
from ..storage import draws, pictures
from ..storage.provenance import DataRecord
from ..training.events import Event
from ..training.experiment import Experiment
from ..training.validation import Validated
from ..world import World
from .generate import Samples, generate
from .moments import Network

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
    metrics: dict[int, Metric] = {
        index: metric for index, metric in enumerate(spec.metrics) if _is_available(metric, warn, folder)
    }
    variance_error: float | None = None
    images, broken = torch.empty(0, *experiment.image_shape, dtype=torch.uint8), ""
    if any(metric.needs_images for metric in metrics.values()):
        plan = Network(experiment, network, folder, world, progress).plan(spec.sampler)
        variance_error = plan.error
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
        moments = Network(experiment, network, folder, progress=progress).moments
        subject = Subject(experiment.data, images, spec.seed, progress, experiment, network, moments)
        for index, metric in metrics.items():
            with experiment.spec.blame(f"evaluate.metrics.{index}"):
                try:
                    computed = finite(metric.compute(subject), warn)
                    block = metric.spec()
                    for name, score in computed.items():
                        facts = (
                            {**score.facts, **variance_facts(variance_error)}
                            if metric.needs_images
                            else score.facts
                        )
                        scores[name] = replace(score, metric=block, facts=facts)
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


def recorded(
    experiment: Experiment, scores: Mapping[str, Score], run: Path, step: int, *, training: bool
) -> Event:
    """The scores of the weights of `step` as an event holds them, with all that they were measured with.

    With `training`, the weights are the run's average at that step; otherwise they are the spec's `weights`.
    The values behind the intervals, and pictures, go into files of the run. Raises OSError if one cannot be
    written.
    """
    event: Event = {
        "metrics": {name: score.value for name, score in scores.items()},
        "scores": {name: score.fields() for name, score in scores.items()},
    }
    if not scores:
        return event
    spec = experiment.spec
    weights = spec.weights.model_dump(mode="json")
    event |= settings_of(experiment) | {
        "weights": {"checkpoint": step, "ema_std": None} if training else weights,
        "data": DataRecord.from_data(experiment.data).to_json(),
    }
    found = {
        name: draws.Draws(score.values_of, score.values.double().numpy(), _count(score))
        for name, score in scores.items()
        if score.values is not None
    }
    stem = f"step-{step:07d}" if training else f"evaluate-{_digest(event)}"
    if found:
        event["values"] = draws.write(run, f"{stem}.safetensors", draws.Stored(step, found))
    shown = {name: score.picture for name, score in scores.items() if score.picture is not None}
    if shown:
        event["pictures"] = pictures.write(run, stem, shown)
    return event


def files_of(event: Event) -> list[str]:
    """The files that `recorded` has written for an event, relative to the run's folder."""
    return [
        *([event["values"]] if "values" in event else []),
        *(picture["path"] for picture in event.get("pictures", {}).values()),
    ]


def store_losses(run: Path, step: int, validated: Validated) -> None:
    """Store the losses of the validation images, at a step with the lowest mean loss so far."""
    losses = validated.losses[validated.levels].numpy()
    stored = draws.Stored(step, {"val_loss": draws.Draws("strata", losses, len(losses))})
    draws.write(run, draws.VAL_LOSS, stored)


def settings_of(experiment: Experiment) -> Event:
    """The settings of the spec's evaluation as an event holds them, apart from its weights and data."""
    evaluate = experiment.spec.evaluate
    settings: Event = {
        "samples": evaluate.samples,
        "seed": evaluate.seed,
        "sampler": evaluate.sampler.spec(),
    }
    if experiment.classes:
        settings["guidance"] = experiment.spec.guidance.model_dump(mode="json")
    return settings


def _count(score: Score) -> int:
    """The number of images that a score is computed from."""
    return score.n if score.values is None or score.values_of == "halves" else len(score.values)


def _digest(event: Event) -> str:
    """16 hex digits that differ for other settings, data or metrics."""
    blocks = {name: details["metric"] for name, details in event["scores"].items()}
    keys = ("samples", "seed", "sampler", "guidance", "weights", "data")
    content = [blocks, *(event.get(key) for key in keys)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
