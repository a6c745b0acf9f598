"""The `sample` command: images from an existing run, as a grid, an array, a GIF or a folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import ops, outputs
from ..errors import RunError, SpecError
from ..images import class_grid, gif, is_sample, png, save_png
from ..rows import Plan
from ..sampling.editing import Given, between
from ..spec.checks import check_guidance
from ..spec.loading import Override, option
from ..spec.schema import MAX_WEIGHT
from ..storage import checkpoint
from ..terminal.console import Bar
from ..text import shortened
from ..training.classes import parse_classes
from ..training.experiment import Experiment
from .evaluate import open_run
from .generate import Drawn, broken_weights, denoising, generate
from .sample_files import digest, free_path, marked
from .user_images import read_mask, read_pictures

SUFFIXES = (".png", ".npz", ".gif", "")
FRAMES = 40
COUNT = 64
"""Images, unless told otherwise."""


@dataclass(frozen=True)
class Editing:
    """What `sample` starts from, besides noise."""

    image: Path | None = None
    """A picture or a folder of them, to be changed or completed."""
    strength: float | None = None
    """How much of the picture is drawn anew, in (0, 1]; None: 1 with a mask, else 0.5."""
    mask: Path | None = None
    """White: as in the picture, black: to be drawn."""
    resample: int | None = None
    """How often each stretch of steps is run; None: 10 with a mask, else 1."""
    to_seed: int | None = None
    """The seed of the last image; the others lie between."""


def draw(
    run: Path,
    *,
    count: int,
    sampler: str | None,
    steps: int | None,
    overrides: tuple[str, ...],
    seed: int | None,
    classes: str | None,
    guidance: float | None,
    weights: str,
    out: Path | None,
    device: torch.device,
    editing: Editing = Editing(),
) -> Path:
    """Draw `count` images and write them to `out`, by its suffix; returns where.

    `classes` are names or numbers with commas between, all of them by default; the images are spread over them in order.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise SpecError(f"the suffix '{shortened(out.suffix)}' is not one of .png, .npz, .gif, or none for a folder", field="--out")
    if out is not None:
        _check(out)
    changes: list[Override] = []
    if sampler is not None:  # null first: none of the old one's parameters
        changes += [option("--sampler", sampler, "sampler", None), option("--sampler", sampler, "sampler", sampler)]
    changes += overrides
    if steps is not None:
        changes += [option("--steps", steps, "sampler.timesteps", None), option("--steps", steps, "sampler.steps", steps)]
    folder, spec, experiment = open_run(run, changes, device, weights)
    if guidance is not None:
        experiment = _guided(experiment, guidance)
    chosen = [] if classes is None else _chosen(experiment, classes, count)
    labels = experiment.spread(count, chosen)
    seed = spec.evaluate.seed if seed is None else seed
    plan, given = _planned(experiment, editing, count, seed)
    settings = ""
    if out is None:
        told = _told(editing, chosen, count, guidance) + _weights_told(weights)
        options = {"count": count, "seed": seed, "classes": chosen, "rows": len(plan), "editing": asdict(editing)}
        settings = digest(experiment.spec, checkpoint.weights_file(run, weights), given, options)
        out = free_path(folder.samples, f"{spec.sampler.component_name}-{len(plan)}-seed{seed}{told}", settings)
        _check(out)
    with ops.use_backend(spec.backend), Bar() as bar:
        if out.suffix == ".gif":
            drawn = denoising(experiment, experiment.network, plan, count, seed=seed, frames=FRAMES, labels=labels, given=given)
            outputs.write(out, gif([class_grid(frame, labels) for frame in drawn.pixels]), "--out")
            _check_finite(drawn, experiment, out)
            return out
        drawn = generate(
            experiment,
            experiment.network,
            plan,
            count,
            seed=seed,
            labels=labels,
            given=given,
            batch_size=spec.evaluate.batch_size,
            progress=lambda done, total: bar.show("sample", done, total),
        )
    images = drawn.pixels
    if out.suffix == ".png":
        outputs.write(out, png(class_grid(images, labels), marked(settings) if settings else None), "--out")
    elif out.suffix == ".npz":
        arrays: dict[str, Any] = {"images": images.permute(0, 2, 3, 1).numpy()}
        arrays |= {} if labels is None else {"labels": labels.numpy()}
        arrays |= {"finite": drawn.finite.numpy()} if drawn.problem else {}
        file = io.BytesIO()
        np.savez(file, **arrays)
        outputs.write(out, file.getvalue(), "--out")
    else:
        with outputs.whole_folder(out, "--out", is_sample) as folder_of_images:
            for index, image in enumerate(images):
                save_png(image, folder_of_images / f"{index:06d}.png")
    _check_finite(drawn, experiment, out)
    return out


def _check(out: Path) -> None:
    """Find what is in the way before the images are drawn."""
    if out.suffix:
        outputs.check(out, "--out")
    else:
        outputs.check_folder(out, "--out", is_sample)


def _check_finite(drawn: Drawn, experiment: Experiment, out: Path) -> None:
    """Raises RunError where images are not finite. They are written all the same: the others may have taken hours."""
    if drawn.problem:
        cause = broken_weights(experiment.network)
        raise RunError(f"{drawn.problem}; they are black in {out}" + (f"; {cause}" if cause else ""))


def _told(editing: Editing, classes: Sequence[int], count: int, guidance: float | None) -> str:
    """The options that are not the default ones, as a part of a file's name."""
    parts = {
        "n": None if count == COUNT else count,
        "classes": "_".join(map(str, classes)) or None,
        "guidance": None if guidance is None else f"{guidance:g}",
        "from-": None if editing.image is None else editing.image.stem,
        "strength": None if editing.strength is None else f"{editing.strength:g}",
        "mask-": None if editing.mask is None else editing.mask.stem,
        "resample": editing.resample,
        "to-seed": editing.to_seed,
    }
    return "".join(f"-{what}{value}" for what, value in parts.items() if value is not None)


def _weights_told(weights: str) -> str:
    return "" if weights == "best" else "-last" if weights == "last" else f"-weights-{Path(weights).stem}"


def _planned(experiment: Experiment, editing: Editing, count: int, seed: int) -> tuple[Plan, Given | None]:
    """The spec's sampler as the options change it, and what the images start from."""
    if editing.image is None:
        for option, value in (("--strength", editing.strength), ("--mask", editing.mask), ("--resample", editing.resample)):
            if value is not None:
                raise SpecError("is for changing a picture, and none is given", field=option, hint="--image FILE")
    elif editing.to_seed is not None:
        raise SpecError("goes from noise to noise, not from a picture", field="--to-seed")
    masked = editing.mask is not None
    strength = (1.0 if masked or editing.image is None else 0.5) if editing.strength is None else editing.strength
    try:
        plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction, strength=strength)
    except SpecError as error:
        raise SpecError(error.message, field="--strength", hint=error.hint) if error.field == "strength" else error from None
    resample = (10 if masked else 1) if editing.resample is None else editing.resample
    if resample > 1:
        if not masked:
            raise SpecError("is for completing a picture, and no mask says what is known", field="--resample", hint="--mask FILE")
        try:
            plan = plan.resampled(resample)
        except ValueError as error:
            raise SpecError(str(error), field="--resample", hint="--sampler ddpm, or --resample 1") from None
    if editing.to_seed is not None:
        return plan, between(seed, editing.to_seed, count, experiment.image_shape, plan.init_scale)
    if editing.image is None:
        return plan, None
    pictures = read_pictures(editing.image, count, experiment.image_shape)
    if editing.mask is None:
        return plan, Given(image=pictures)
    mask = read_mask(editing.mask, experiment.image_shape).expand(count, -1, -1, -1)
    return plan, Given(image=pictures if strength < 1 else None, known=pictures, mask=mask)


def _guided(experiment: Experiment, weight: float) -> Experiment:
    """The experiment with another guidance weight."""
    _need_classes(experiment, "--guidance")
    if weight > MAX_WEIGHT:
        raise SpecError(f"should be a number from 0 to {MAX_WEIGHT:g}, not {weight:g}", field="--guidance")
    block = experiment.spec.guidance.model_copy(update={"weight": weight})
    spec = experiment.spec.model_copy(update={"guidance": block})
    try:
        check_guidance(spec)
    except SpecError as error:
        raise SpecError(error.message, field="--guidance") from None
    return replace(experiment, spec=spec)


def _chosen(experiment: Experiment, text: str, count: int) -> list[int]:
    """The classes that --classes names, which `count` images are enough for."""
    _need_classes(experiment, "--classes")
    try:
        chosen = parse_classes(text, experiment.classes)
    except SpecError as error:
        raise error.at("--classes", None) from None
    if count < len(chosen):
        raise SpecError(f"{count} images are too few for {len(chosen)} classes", field="--classes", hint=f"-n {len(chosen)}")
    return chosen


def _need_classes(experiment: Experiment, option: str) -> None:
    if not experiment.classes:
        raise SpecError("the run's network is told no classes", field=option, hint="a run of a spec with model.classes: true is")
