"""The `sample` command: generates images from an existing run, as a grid, an array, a GIF or a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .. import ops
from ..errors import RunError, SpecError
from ..metrics.subject import Progress, quiet
from ..rows import Plan
from ..spec.checks import check_guidance
from ..spec.evaluation import MAX_WEIGHT
from ..spec.loading import Override, option
from ..terminal.console import Bar, say
from ..training.classes import parse_classes
from ..training.experiment import Experiment
from . import sample_files
from .edits import FROM_NOISE, Editing
from .generate import Samples, broken_weights, denoising, generate, not_finite, states
from .moments import Network, in_words
from .opening import OpenedRun, open_run

FRAMES = 40
"""Frames of a GIF."""
COUNT = 64
"""Images by default."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Which images to sample from a run."""

    count: int = COUNT
    """How many images."""
    seed: int | None = None
    """Seed of all noise. None: the spec's `evaluate.seed`."""
    classes: str | None = None
    """Names or numbers of classes, separated by commas; each gets as many images. None: all classes."""
    guidance: float | None = None
    """Weight of classifier-free guidance. None: the spec's."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The arguments of `generate` for a request, completed by the run's spec."""

    experiment: Experiment
    """The run's experiment, with the requested guidance."""
    plan: Plan
    """The rows that the sampler runs."""
    samples: Samples
    """The images to generate."""
    classes: list[int]
    """The requested classes; empty for all."""


def sample(
    run: Path,
    request: SampleRequest,
    editing: Editing = FROM_NOISE,
    *,
    device: torch.device,
    overrides: Iterable[Override] = (),
    weights: str | None = None,
    out: Path | None = None,
) -> Path:
    """Generate images and write them to `out`, in the format of its suffix; returns the path.

    Without `out`, they go into the run's folder under a name that shows the settings. Raises SpecError for
    options that do not fit together, and RunError if images are not finite. Images are written even then,
    since the finite ones may have taken hours.
    """
    if out is not None:
        sample_files.check(out)
    opened = open_run(run, overrides, device, weights)
    sampling = _prepare(opened, request, editing)
    settings = ""
    if out is None:
        settings = _digest(opened, sampling, editing)
        out = sample_files.free_path(
            opened.folder.samples, _stem(sampling, request, editing, weights), settings
        )
        sample_files.check(out)
    experiment, plan, samples = sampling.experiment, sampling.plan, sampling.samples
    with ops.use_backend(experiment.spec.backend), Bar() as bar:
        if out.suffix == ".gif":
            generated = denoising(experiment, experiment.network, plan, samples, frames=FRAMES)
        else:
            generated = generate(
                experiment,
                experiment.network,
                plan,
                samples,
                batch_size=experiment.spec.evaluate.batch_size,
                progress=lambda done, total: bar.show("sample", done, total),
            )
    sample_files.write(out, generated, samples.labels, settings)
    if generated.problem:
        cause = broken_weights(experiment.network)
        raise RunError(f"{generated.problem}; they are black in {out}" + (f"; {cause}" if cause else ""))
    return out


def images(
    run: Path,
    request: SampleRequest,
    *,
    device: torch.device,
    overrides: Iterable[Override] = (),
    weights: str | None = None,
) -> Tensor:
    """The images that `sample` writes, before they become bytes: float32 [n, c, h, w] in [−1, 1].

    Raises SpecError and RunError as `sample` does.
    """
    opened = open_run(run, overrides, device, weights)
    sampling = _prepare(opened, request, FROM_NOISE)
    experiment = sampling.experiment
    with ops.use_backend(experiment.spec.backend), Bar() as bar:
        x = states(
            experiment,
            experiment.network,
            sampling.plan,
            sampling.samples,
            batch_size=experiment.spec.evaluate.batch_size,
            progress=lambda done, total: bar.show("sample", done, total),
        )
    if problem := not_finite(x.isfinite().flatten(1).all(1)):
        cause = broken_weights(experiment.network)
        raise RunError(problem + (f"; {cause}" if cause else ""))
    return x.clamp(-1, 1)


def _prepare(opened: OpenedRun, request: SampleRequest, editing: Editing) -> Sampling:
    """`prepare` for an opened run, with its progress."""
    with ops.use_backend(opened.spec.backend), Bar() as bar:
        sampling = prepare(opened.experiment, request, editing, folder=opened.folder.path, progress=bar.show)
    if sampling.plan.error is not None:
        say(f"the variances of {opened.spec.sampler.component_name} {in_words(sampling.plan.error)}")
    return sampling


def prepare(
    experiment: Experiment,
    request: SampleRequest,
    editing: Editing = FROM_NOISE,
    *,
    folder: Path | None = None,
    progress: Progress = quiet,
) -> Sampling:
    """Complete the request, for the weights that the network has.

    `folder` is the run's, where moments of the network are kept. Raises SpecError if the run's network or
    sampler cannot do what the request asks.
    """
    if request.guidance is not None:
        experiment = _guided(experiment, request.guidance)
    classes = [] if request.classes is None else _selected_classes(experiment, request.classes, request.count)
    labels = experiment.spread(request.count, classes)
    seed = experiment.spec.evaluate.seed if request.seed is None else request.seed
    editing.check()
    plan = editing.plan(Network(experiment, experiment.network, folder, progress=progress))
    inputs = editing.inputs(request.count, seed, experiment.image_shape, plan.init_scale)
    return Sampling(experiment, plan, Samples(request.count, seed, labels, inputs), classes)


def sampler_changes(name: str | None, steps: int | None, overrides: Iterable[Override]) -> list[Override]:
    """The overrides, preceded by those of --sampler and followed by those of --steps."""
    changes: list[Override] = []
    if name is not None:  # null first, so that no parameter of the old sampler is kept
        changes += [option("--sampler", name, "sampler", None), option("--sampler", name, "sampler", name)]
    changes += overrides
    if steps is not None:
        changes += [
            option("--steps", steps, "sampler.timesteps", None),
            option("--steps", steps, "sampler.steps", steps),
        ]
    return changes


def _digest(opened: OpenedRun, sampling: Sampling, editing: Editing) -> str:
    """A digest of all settings that determine the images."""
    samples = sampling.samples
    counts = {"count": samples.count, "seed": samples.seed, "rows": len(sampling.plan)}
    options = {**counts, "classes": sampling.classes, "editing": asdict(editing)}
    return sample_files.digest(sampling.experiment.spec, opened.weights, samples.inputs, options)


def _stem(sampling: Sampling, request: SampleRequest, editing: Editing, weights: str | None) -> str:
    """A file name that shows the sampler, its steps, the seed, and every option that is not the default."""
    parts = {
        "n": None if request.count == COUNT else request.count,
        "classes": "_".join(map(str, sampling.classes)) or None,
        "guidance": None if request.guidance is None else f"{request.guidance:g}",
        "from-": None if editing.image is None else editing.image.stem,
        "strength": None if editing.strength is None else f"{editing.strength:g}",
        "mask-": None if editing.mask is None else editing.mask.stem,
        "resample": editing.resample,
        "to-seed": editing.to_seed,
    }
    options = "".join(f"-{what}{value}" for what, value in parts.items() if value is not None)
    if weights not in (None, "best"):
        options += "-last" if weights == "last" else f"-weights-{Path(str(weights)).stem}"
    sampler = sampling.experiment.spec.sampler.component_name
    return f"{sampler}-{len(sampling.plan)}-seed{sampling.samples.seed}{options}"


def _guided(experiment: Experiment, weight: float) -> Experiment:
    """The experiment with another guidance weight."""
    _require_classes(experiment, "--guidance")
    if weight > MAX_WEIGHT:
        raise SpecError(f"should be a number from 0 to {MAX_WEIGHT:g}, not {weight:g}", field="--guidance")
    block = experiment.spec.guidance.model_copy(update={"weight": weight})
    spec = experiment.spec.model_copy(update={"guidance": block})
    try:
        check_guidance(spec)
    except SpecError as error:
        raise SpecError(error.message, field="--guidance") from None
    return replace(experiment, spec=spec)


def _selected_classes(experiment: Experiment, text: str, count: int) -> list[int]:
    """The numbers of the classes that --classes names. Raises SpecError if there are more than `count`."""
    _require_classes(experiment, "--classes")
    try:
        chosen = parse_classes(text, experiment.classes)
    except SpecError as error:
        raise error.at("--classes", None) from None
    if count < len(chosen):
        raise SpecError(
            f"{count} images are too few for {len(chosen)} classes",
            field="--classes",
            hint=f"use -n {len(chosen)} or more",
        )
    return chosen


def _require_classes(experiment: Experiment, option: str) -> None:
    if not experiment.classes:
        raise SpecError(
            "the run's network is not class-conditional",
            field=option,
            hint="train one with model.classes: true",
        )
