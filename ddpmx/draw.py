"""The `sample` command: images from an existing run, as a grid, an array, a GIF or a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import ops
from .classes import parse_classes
from .console import Bar
from .errors import SpecError
from .evaluate import open_run
from .experiment import Experiment, check_guidance
from .generate import denoising, generate
from .images import class_grid, save_gif, save_png
from .rows import Plan
from .spec import MAX_WEIGHT

SUFFIXES = (".png", ".npz", ".gif", "")
FRAMES = 40


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
) -> Path:
    """Draw `count` images and write them to `out`, by its suffix; returns where.

    `classes` are names or numbers with commas between, all of them by default; the images are spread over them in order.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise SpecError(f"the suffix '{out.suffix}' is not one of .png, .npz, .gif, or none for a folder", field="--out")
    if sampler is not None:
        overrides = ("sampler=null", f"sampler={{name: {sampler}}}", *overrides)  # none of the old one's parameters
    if steps is not None:
        overrides = (*overrides, "sampler.timesteps=null", f"sampler.steps={steps}")
    folder, spec, experiment = open_run(run, overrides, device, weights)
    if guidance is not None:
        experiment = _guided(experiment, guidance)
    chosen = [] if classes is None else _chosen(experiment, classes, count)
    labels = experiment.spread(count, chosen)
    seed = spec.evaluate.seed if seed is None else seed
    plan: Plan = spec.sampler.plan(experiment.table, experiment.prediction)
    if out is None:
        told = f"-classes{'_'.join(map(str, chosen))}" if chosen else ""
        told += "" if guidance is None else f"-guidance{guidance:g}"
        out = folder.samples / f"{spec.sampler.component_name}-{len(plan)}-seed{seed}{told}.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    with ops.use_backend(spec.backend), Bar() as bar:
        if out.suffix == ".gif":
            frames = denoising(experiment, experiment.network, plan, count, seed=seed, frames=FRAMES, labels=labels)
            save_gif([class_grid(frame, labels) for frame in frames], out)
            return out
        images = generate(
            experiment,
            experiment.network,
            plan,
            count,
            seed=seed,
            labels=labels,
            batch_size=spec.evaluate.batch_size,
            progress=lambda done, total: bar.show("sample", done, total),
        )
    if out.suffix == ".png":
        class_grid(images, labels).save(out)
    elif out.suffix == ".npz":
        arrays: dict[str, Any] = {"images": images.permute(0, 2, 3, 1).numpy()}
        np.savez(out, **arrays if labels is None else {**arrays, "labels": labels.numpy()})
    else:
        out.mkdir(exist_ok=True)
        for index, image in enumerate(images):
            save_png(image, out / f"{index:06d}.png")
    return out


def _guided(experiment: Experiment, weight: float) -> Experiment:
    """The experiment with another guidance weight."""
    _need_classes(experiment, "--guidance")
    if not weight <= MAX_WEIGHT:  # nor NaN
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
