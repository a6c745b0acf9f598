"""Which measurements of its metrics a run makes, during its training and after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from ..spec.evaluation import WeightsSpec
from ..spec.over import evaluations
from ..spec.schema import Spec
from ..terminal.console import to_json
from ..training.experiment import Experiment
from ..training.moments import sampler_passes
from ..training.pacing import Pacing, passes_per_image


def during_training(spec: Spec, pacing: Pacing) -> int:
    """How often the training measures the metrics, with its average so far.

    At its end only if the spec's `weights` are that average, or if an evaluation is due there anyway.
    """
    if not spec.evaluate.metrics:
        return 0
    if spec.weights.is_own:
        return pacing.evaluations
    return (pacing.steps if pacing.evaluation.steps else pacing.epochs) // pacing.evaluation.count


def after_training(spec: Spec) -> list[Spec]:
    """The spec, if its `weights` are not those that the training measures, and its `evaluate.over`."""
    own = [] if spec.weights.is_own or not spec.evaluate.metrics else [spec]
    return [*own, *evaluations(spec)]


def computed_after_training(spec: Spec, pacing: Pacing) -> list[Spec]:
    """Those of `after_training` that the log does not have yet, so that they are computed.

    `best` weights count as measured during training only if every epoch ends with an evaluation: which epoch
    is the best is not known before.
    """
    known: dict[str, list[set[str]]] = {}
    if during_training(spec, pacing):
        last = spec.weights.model_copy(update={"checkpoint": "last", "ema_std": None})
        every_epoch = pacing.evaluations_at_epoch_ends == pacing.epochs
        best = last.model_copy(update={"checkpoint": "best"})
        for weights in [last, best] if every_epoch else [last]:
            known[_settings(spec, pacing, weights)] = [_metrics(spec)]
    computed = []
    for measured in after_training(spec):
        metrics, found = (
            _metrics(measured),
            known.setdefault(_settings(measured, pacing, measured.weights), []),
        )
        if not any(metrics <= earlier for earlier in found):
            computed.append(measured)
            found.append(metrics)
    return computed


def image_passes(experiment: Experiment, later: Sequence[Spec]) -> int:
    """Forward passes of one image that generate the images of these measurements."""
    return sum(
        spec.evaluate.samples * passes_per_image(spec, experiment.table) for spec in later if of_images(spec)
    )


def moments_passes(experiment: Experiment, later: Sequence[Spec]) -> int:
    """Forward passes of one image for the moments that the samplers of these measurements need.

    Those of equal weights, seed and sampler are measured once.
    """
    distinct = {
        plain([spec.weights.model_dump(), spec.evaluate.seed, spec.evaluate.sampler.spec()]): spec
        for spec in later
        if of_images(spec)
    }
    return sum(sampler_passes(experiment, spec.evaluate.sampler) for spec in distinct.values())


def of_images(spec: Spec) -> bool:
    """Whether a measurement of the spec generates images."""
    return any(metric.needs_images and not metric.missing() for metric in spec.evaluate.metrics)


def _settings(spec: Spec, pacing: Pacing, weights: WeightsSpec) -> str:
    """What a measurement is made with, apart from the metrics, as a text."""
    resolved = spec.resolved()
    evaluate = cast(Mapping[str, object], resolved["evaluate"])
    checkpoint = "last" if weights.checkpoint == pacing.steps else weights.checkpoint
    settings = [evaluate[key] for key in ("sampler", "samples", "seed")]
    return plain([*settings, resolved["guidance"], checkpoint, weights.ema_std])


def _metrics(spec: Spec) -> set[str]:
    """The blocks of the spec's metrics, as texts."""
    return {plain(metric.spec()) for metric in spec.evaluate.metrics}


def plain(value: object) -> str:
    """A value as JSON text, so that tuples equal lists."""
    return json.dumps(json.loads(to_json(value)), sort_keys=True)
