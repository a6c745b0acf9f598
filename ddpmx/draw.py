"""The `sample` command: images from an existing run, as a grid, an array, a GIF or a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from . import ops
from .console import Bar
from .errors import SpecError
from .evaluate import open_run
from .generate import denoising, generate
from .images import grid, save_gif, save_png
from .rows import Plan

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
    weights: str,
    out: Path | None,
    device: torch.device,
) -> Path:
    """Draw `count` images and write them to `out`, by its suffix; returns where."""
    if out is not None and out.suffix not in SUFFIXES:
        raise SpecError(f"the suffix '{out.suffix}' is not one of .png, .npz, .gif, or none for a folder", field="--out")
    if sampler is not None:
        overrides = ("sampler=null", f"sampler={{name: {sampler}}}", *overrides)  # none of the old one's parameters
    if steps is not None:
        overrides = (*overrides, "sampler.timesteps=null", f"sampler.steps={steps}")
    folder, spec, experiment = open_run(run, overrides, device, weights)
    seed = spec.evaluate.seed if seed is None else seed
    plan: Plan = spec.sampler.plan(experiment.table, experiment.prediction)
    out = folder.samples / f"{spec.sampler.component_name}-{len(plan)}-seed{seed}.png" if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    with ops.use_backend(spec.backend), Bar() as bar:
        if out.suffix == ".gif":
            frames = denoising(experiment, experiment.network, plan, count, seed=seed, frames=FRAMES)
            save_gif([grid(frame) for frame in frames], out)
            return out
        images = generate(
            experiment,
            experiment.network,
            plan,
            count,
            seed=seed,
            batch_size=spec.evaluate.batch_size,
            progress=lambda done, total: bar.show("sample", done, total),
        )
    if out.suffix == ".png":
        grid(images).save(out)
    elif out.suffix == ".npz":
        np.savez(out, images=images.permute(0, 2, 3, 1).numpy())
    else:
        out.mkdir(exist_ok=True)
        for index, image in enumerate(images):
            save_png(image, out / f"{index:06d}.png")
    return out
