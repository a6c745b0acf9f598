"""The preflight: notes, with numbers, on specs that work but are likely to disappoint.

Specs that cannot work are errors, which are raised elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import combinations

import torch

from ..data import Data
from ..emas.power import Power
from ..emas.profile import MOST_ERROR, in_words
from ..errors import SpecError
from ..metrics.base import reference_note, size_notes
from ..models import embed_time
from ..models.embedding import LOG_SNR_BOUND
from ..process import processor
from ..schedules import Table
from ..spec.checks import check
from ..spec.over import evaluations
from ..spec.same_objective import TOLERANCE, same_objective
from ..spec.schema import Spec, difference
from ..theory.variance import prior_terms
from ..training.experiment import Experiment, check_data, choose_device, look
from ..training.moments import moment_images, sampler_passes
from ..training.pacing import Pacing, passes_per_image, passes_per_trained_image

MAX_TERMINAL_SIGNAL = 0.05
"""If more of the image is left at the last timestep, starting from pure noise does not match training."""
MAX_WEIGHT_FRACTION = 0.5
"""A single timestep with a larger fraction of the total weight leaves little for the others."""
LOWEST_FREQUENCY = 1e-4
"""The lowest frequency in the networks' time embedding."""
EMULATED_BFLOAT16 = 5
"""The time of a training step in bfloat16 without instructions for it, relative to float32 (measured, see
benchmarks/RESULTS.md)."""
OBJECTIVE_BLOCKS = ("schedule", "prediction", "time", "loss")
"""The blocks of a spec that together define its objective."""


def notes(experiment: Experiment) -> list[str]:
    """All notes on an experiment, one line each. None of them stops a run."""
    return [
        *evaluation_notes(experiment),
        *spec_notes(experiment.spec, experiment.table),
        *budget_notes(experiment.spec, len(experiment.data.train), experiment.table),
        *device_notes(experiment.spec, experiment.device),
        *moment_notes(experiment),
    ]


def moment_notes(experiment: Experiment) -> list[str]:
    """Notes on samplers that have the network measured before they sample, and how much work that is."""
    spec, images = experiment.spec, moment_images(experiment.image_shape)
    return [
        f"{field}: before it samples, the network is measured on {images} training images at each of its"
        f" timesteps: {passes:,} passes of one image for each set of weights"
        for field, sampler in (("sampler", spec.sampler), ("evaluate.sampler", spec.evaluate.sampler))
        if (passes := sampler_passes(experiment, sampler))
    ]


def evaluation_notes(experiment: Experiment) -> list[str]:
    """Notes on metrics that are skipped, or that do not compare with the usual reference images."""
    skipped_metrics = [
        f"the metric '{metric.component_name}' is skipped: {why}"
        for metric in experiment.spec.evaluate.metrics
        if (why := metric.missing())
    ]
    return [*skipped_metrics, *metric_notes(experiment.spec, experiment.data)]


def examine(spec: Spec, examined: dict[str, Data | SpecError]) -> tuple[str, list[str]]:
    """A line that describes the spec's data, and the notes on the spec. Raises SpecError if it cannot work.

    `examined` caches each data set, or the error that it raises, for other specs with the same one.
    """
    table = check(spec)
    key = json.dumps(spec.resolved()["dataset"], sort_keys=True)
    if key not in examined:
        try:
            examined[key] = look(spec)
        except SpecError as error:
            examined[key] = error
    data = examined[key]
    if isinstance(data, SpecError):
        raise data
    check_data(spec, data)
    device = choose_device(None)
    return data.summary(), [
        *metric_notes(spec, data),
        *spec_notes(spec, table),
        *device_notes(spec, device),
    ]


def metric_notes(spec: Spec, data: Data) -> list[str]:
    """Notes on metrics that compare with unusual reference images, or with too few images.

    The number of generated images is the smallest of the spec's measurements.
    """
    samples = min(each.evaluate.samples for each in [spec, *evaluations(spec)])
    return [
        note
        for metric in spec.evaluate.metrics
        for note in [reference_note(metric, data), *size_notes(metric, data, samples)]
        if note
    ]


def device_notes(spec: Spec, device: torch.device) -> list[str]:
    """Notes on what this machine does slowly."""
    if spec.train.precision != "bfloat16" or device.type != "cpu" or processor.has_bfloat16():
        return []
    return [
        "train.precision: this processor has no bfloat16 instructions, so torch emulates bfloat16: a training"
        f" step of the study's network took {EMULATED_BFLOAT16} times as long as in float32 on such a"
        " processor (float32 is faster here)"
    ]


def spec_notes(spec: Spec, table: Table) -> list[str]:
    """Notes on what the spec's parts do together, whatever the data, and on fields dropped on loading."""
    more = len(evaluations(spec))
    return [
        *spec.notes,
        *([f"evaluate.over: {more} more measurements after the training"] if more else []),
        *_terminal_signal(spec, table),
        *_dominant_index(spec, table),
        *_time_range(spec, table),
    ]


def sweep_notes(specs: Sequence[Spec]) -> list[str]:
    """Notes on pairs of specs that write the same objective in two ways, which a sweep should not compare."""
    messages = []
    resolved = [spec.resolved() for spec in specs]
    for (a, data_a), (b, data_b) in combinations(zip(specs, resolved, strict=True), 2):
        fields = [field for field in difference(data_a, data_b) if field != "name"]
        if not fields or any(field.split(".")[0] not in OBJECTIVE_BLOCKS for field in fields):
            continue
        factor = same_objective(a, b)
        if factor is not None:
            up_to = "" if abs(factor - 1) < TOLERANCE else f", up to a factor of {factor:.2f}"
            messages.append(
                f"'{a.name}' and '{b.name}' have the same objective{up_to}: they differ only in"
                f" {', '.join(fields)}"
            )
    return messages


def prior_bits(table: Table) -> float:
    """The prior term of the variational bound, in bits per dimension, which training cannot change.

    It is for an x_0 of mean square 1, the largest that images in [−1, 1] can have.
    """
    return float(prior_terms(torch.ones(1, 1, dtype=torch.float64), table))


def _terminal_fraction(table: Table) -> float:
    """The fraction of x_T that is the image: signal/√(signal² + sigma²) at the last timestep."""
    signal, sigma = float(table.signal[-1]), float(table.sigma[-1])
    return signal / math.hypot(signal, sigma)


def _terminal_signal(spec: Spec, table: Table) -> list[str]:
    left = _terminal_fraction(table)
    if left <= MAX_TERMINAL_SIGNAL:
        return []
    remedy = "zero_terminal_snr: true" if getattr(spec.schedule, "rescale", True) else "rescale: true"
    return [
        f"schedule: {left:.0%} of the image is left at the last of {table.timesteps} timesteps"
        f" ({prior_bits(table):.3f} bits per dimension), but sampling starts from pure noise, so samples will"
        f" not match the data ({remedy} or a schedule with more noise removes it)"
    ]


def _dominant_index(spec: Spec, table: Table) -> list[str]:
    weight = (
        spec.loss.weighting.weights(table, spec.prediction).abs()
        * spec.time.probabilities(table)
        * spec.time.importance(table)
    )
    fraction = weight / weight.sum()
    index = int(fraction.argmax())
    if float(fraction[index]) <= MAX_WEIGHT_FRACTION or table.timesteps < 4:
        return []
    return [
        f"loss.weighting: '{spec.loss.weighting.component_name}' gives {fraction[index]:.0%} of the total"
        f" weight to a single one of {table.timesteps} timesteps, index {index}"
    ]


def _time_range(spec: Spec, table: Table) -> list[str]:
    kind = spec.model.time
    if kind == "log_snr":
        beyond = int((table.log_snr.abs() > LOG_SNR_BOUND).sum())
        return (
            [
                f"model.time: {beyond} timesteps have a log-SNR beyond ±{LOG_SNR_BOUND:g}, so the network"
                " cannot tell them apart"
            ]
            if beyond > 1
            else []
        )
    largest = float(embed_time(torch.tensor([table.timesteps - 1.0]), table, kind))
    if largest * LOWEST_FREQUENCY <= 2 * math.pi:
        return []
    return [
        f"model.time: at index {largest:,.0f} even the slowest wave of the time embedding completes a period,"
        " so timesteps become ambiguous (use time: scaled_1000)"
    ]


def _unsupported_widths(spec: Spec, steps: int) -> list[str]:
    """A note on averages that the snapshots of a training of so many steps will not support."""
    ema = spec.train.ema
    stds = {each.weights.ema_std for each in [spec, *evaluations(spec)]}
    if not isinstance(ema, Power):
        return []
    profiles = ema.profiles(steps)
    errors = {std: profiles.combination(std).error for std in stds if std and std not in ema.std}
    bad = ", ".join(f"{std:g}" for std, error in sorted(errors.items()) if error > MOST_ERROR)
    if not bad:
        return []
    supported = in_words(profiles.supported())
    return [
        f"weights.ema_std: snapshots of {steps:,} steps do not support a width of {bad}, only {supported}"
        " (increase train.ema.snapshots for narrower ones)"
    ]


def budget_notes(spec: Spec, images: int, table: Table) -> list[str]:
    """Notes on averaging and evaluation that do not suit the training budget, for so many training images."""
    messages = []
    pacing = Pacing.from_spec(spec, images, table)
    steps = pacing.steps
    if spec.train.ema is not None and (note := spec.train.ema.note(steps)):
        messages.append(f"train.ema: {note}")
    messages += _unsupported_widths(spec, steps)
    times = pacing.evaluations if spec.evaluate.metrics else 0
    images_generated = pacing.grids * spec.evaluate.grid + times * spec.evaluate.samples
    sampling = images_generated * passes_per_image(spec, table)
    training = int(passes_per_trained_image(spec) * steps * spec.train.batch_size)
    if sampling > training:
        messages.append(
            f"evaluate: generating its {images_generated:,} images takes {sampling:,} passes of one image"
            f" through the network, and all of training only about {training:,}"
            " (increase every_epochs, or use fewer samples or sampler steps)"
        )
    return messages
