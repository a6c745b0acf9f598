"""What is worth knowing of a combination before it is trained, in numbers. What cannot work at all is an error elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import combinations

import torch

from ..data import Data
from ..errors import SpecError
from ..metrics.base import reference_note
from ..models import embed_time
from ..models.embedding import LOG_SNR_BOUND
from ..schedules import Table
from ..spec.checks import check
from ..spec.same_objective import TOLERANCE, same_objective
from ..spec.schema import Spec, difference
from ..theory.variance import prior_terms
from ..training.experiment import Experiment, check_data, look
from ..training.pacing import Pacing, passes_per_image, passes_per_trained_image

LEFT_SIGNAL = 0.05
"""Above this share of the image in the last step, samples that start from pure noise cannot match it well."""
DOMINANT = 0.5
"""A single timestep above this share of all weight leaves little to the others."""
SLOWEST = 1e-4
"""The smallest frequency of the networks' time embedding."""
WRITTEN_IN = ("schedule", "prediction", "time", "loss")
"""The blocks of a spec that an objective is written in."""


def findings(experiment: Experiment) -> list[str]:
    """Warnings, one line each; none of them stops a run."""
    left_out = [
        f"'{metric.component_name}' is left out: {why}"
        for metric in experiment.spec.evaluate.metrics
        if (why := metric.missing())
    ]
    return [
        *left_out,
        *of_metrics(experiment.spec, experiment.data),
        *of_combination(experiment.spec, experiment.table),
        *of_budget(experiment.spec, len(experiment.data.train), experiment.table),
        *of_device(experiment.spec, experiment.device),
    ]


def examine(spec: Spec, looked: dict[str, Data | SpecError]) -> tuple[str, list[str]]:
    """What a short look at the spec's data finds, and what is worth knowing. Raises SpecError for a spec that cannot work.

    `looked` keeps what was found, or why nothing was, for other specs with the same data set.
    """
    table = check(spec)
    key = json.dumps(spec.resolved()["dataset"], sort_keys=True)
    if key not in looked:
        try:
            looked[key] = look(spec)
        except SpecError as error:
            looked[key] = error
    data = looked[key]
    if isinstance(data, SpecError):
        raise data
    check_data(spec, data)
    return data.summary(), [*of_metrics(spec, data), *of_combination(spec, table)]


def of_metrics(spec: Spec, data: Data) -> list[str]:
    """Which metrics compare with other images than usual."""
    return [note for metric in spec.evaluate.metrics if (note := reference_note(metric, data))]


def of_device(spec: Spec, device: torch.device) -> list[str]:
    """What this machine is bad at."""
    if spec.train.precision != "bfloat16" or device.type != "cpu":
        return []
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return []
    return [
        "train.precision: this processor has no instructions for bfloat16, which takes many times as long as float32 on it"
    ]


def of_combination(spec: Spec, table: Table) -> list[str]:
    """What reading the spec left out, and what its parts do together, whatever the data."""
    return [
        *spec.notes,
        *_terminal_signal(spec, table),
        *_dominant_index(spec, table),
        *_time_range(spec, table),
    ]


def of_sweep(specs: Sequence[Spec]) -> list[str]:
    """The pairs of specs that differ in nothing but how they write one objective: what a sweep should not compare as two."""
    found = []
    resolved = [spec.resolved() for spec in specs]
    for (a, data_a), (b, data_b) in combinations(zip(specs, resolved, strict=True), 2):
        fields = [field for field in difference(data_a, data_b) if field != "name"]
        if not fields or any(field.split(".")[0] not in WRITTEN_IN for field in fields):
            continue
        factor = same_objective(a, b)
        if factor is not None:
            up_to = "" if abs(factor - 1) < TOLERANCE else f", up to a factor of {factor:.2f}"
            found.append(
                f"'{a.name}' and '{b.name}' are the same objective{up_to}: they differ in {', '.join(fields)} only"
            )
    return found


def prior_bits(table: Table) -> float:
    """The bound's term that training cannot change, for an x_0 of mean square 1, the most that images in [−1, 1] have."""
    return float(prior_terms(torch.ones(1, 1, dtype=torch.float64), table))


def _left(table: Table) -> float:
    """The share of the image in the last step, relative to the size of x_T."""
    signal, sigma = float(table.signal[-1]), float(table.sigma[-1])
    return signal / math.hypot(signal, sigma)


def _terminal_signal(spec: Spec, table: Table) -> list[str]:
    left = _left(table)
    if left <= LEFT_SIGNAL:
        return []
    remedy = "zero_terminal_snr: true" if getattr(spec.schedule, "rescale", True) else "rescale: true"
    return [
        f"schedule: {left:.0%} of the image is still there in the last of {table.timesteps} steps ({prior_bits(table):.3f} bits a"
        f" dimension), but sampling starts from pure noise, so samples cannot match ({remedy}, or more noise, removes it)"
    ]


def _dominant_index(spec: Spec, table: Table) -> list[str]:
    weight = (
        spec.loss.weighting.weights(table, spec.prediction).abs()
        * spec.time.probabilities(table)
        * spec.time.importance(table)
    )
    share = weight / weight.sum()
    index = int(share.argmax())
    if float(share[index]) <= DOMINANT or table.timesteps < 4:
        return []
    return [
        f"loss.weighting: index {index} carries {share[index]:.0%} of the weight that '{spec.loss.weighting.component_name}' gives to"
        f" {table.timesteps} timesteps"
    ]


def _time_range(spec: Spec, table: Table) -> list[str]:
    kind = spec.model.time
    if kind == "log_snr":
        beyond = int((table.log_snr.abs() > LOG_SNR_BOUND).sum())
        return (
            [f"model.time: {beyond} indices have a log-SNR beyond ±{LOG_SNR_BOUND:g} and look the same"]
            if beyond > 1
            else []
        )
    largest = float(embed_time(torch.tensor([table.timesteps - 1.0]), table, kind))
    if largest * SLOWEST <= 2 * math.pi:
        return []
    return [
        f"model.time: an index of {largest:,.0f} turns even the slowest wave of the embedding round (use time: scaled_1000)"
    ]


def of_budget(spec: Spec, images: int, table: Table) -> list[str]:
    """How averaging and evaluation compare with the training of so many images."""
    found = []
    pacing = Pacing.from_spec(spec, images, table)
    steps = pacing.steps
    ema = spec.train.ema
    if ema is not None and not ema.warmup and (memory := 1 / (1 - ema.decay)) > steps:
        found.append(
            f"train.ema: the average remembers {memory:,.0f} steps, the run has {steps:,} (ema.warmup helps)"
        )
    times = pacing.evaluations if spec.evaluate.metrics else 0
    drawn = pacing.grids * spec.evaluate.grid + times * spec.evaluate.samples
    sampling = drawn * passes_per_image(spec, table)
    training = int(passes_per_trained_image(spec) * steps * spec.train.batch_size)
    if sampling > training:
        found.append(
            f"evaluate: its {drawn:,} images take {sampling:,} passes of an image through the network, all of training about {training:,}"
            " (larger every_epochs, fewer samples or sampler steps)"
        )
    return found
