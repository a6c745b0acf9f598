"""The `show` command: plots on one page what a spec means, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .. import ops, outputs
from ..components.registry import Component
from ..data import Data, Images
from ..images import grid, to_model, to_pixels
from ..pages import canvas, page, plots
from ..samplers import Sampler
from ..schedules import Table
from ..spec.checks import check
from ..spec.schema import Spec
from ..storage.folder import to_yaml
from ..text import number
from ..training.experiment import choose_device, load_data
from .preflight import budget_notes, device_notes, metric_notes, spec_notes

IMAGES, LEVELS = 8, 10
"""Images on the page, and noise levels at which each is shown."""


def show(spec: Spec, out: Path) -> Path:
    """Write a self-contained HTML page to `out`.

    It shows the schedule, the loss weights, the samplers' grids and real images with increasing noise. Builds
    no network. Raises SpecError for a spec that cannot work, for missing data and for a wrong suffix.
    """
    page.check_suffix(out, "--out")
    outputs.check(out, "--out")
    table = check(spec)
    data = load_data(spec)
    figures = plots.spec_figures(spec)
    levels = torch.linspace(0, table.timesteps - 1, min(LEVELS, table.timesteps)).round().long()
    html = page.render(
        "show.html.jinja",
        spec=spec,
        facts=_facts(spec, table, data),
        figures=[
            page.figure(canvas.to_svg(figures[name]), caption)
            for name, caption in plots.CAPTIONS.items()
            if name in figures
        ],
        strip=page.embed_image(
            noising_strip(_examples(data.train), table, levels, spec.seed),
            "real images, more noise to the right",
        ),
        ticks=[("image", "")] + [(f"t {t}", f"{table.log_snr[t]:.1f}") for t in levels.tolist()],
        spec_yaml=to_yaml(spec.resolved()),
    )
    outputs.write(out, html, "--out")
    return out


def noising_strip(pixels: Tensor, table: Table, levels: Tensor, seed: int) -> Image.Image:
    """A picture with a row per image of `pixels` (uint8 [n, c, h, w]): the image, then x_t at the `levels`.

    Each image keeps one ε in all its columns. Where signal² + sigma² exceeds 1, x_t is divided by its square
    root; otherwise hardly any pixel would be within the picture's range.
    """
    n, k = len(pixels), len(levels)
    x_start = to_model(pixels.cpu())
    ids = torch.arange(n).repeat_interleave(k)
    scale = torch.hypot(table.signal, table.sigma)[levels].clamp(min=1)
    signal, sigma = ((column[levels] / scale).float().repeat(n) for column in (table.signal, table.sigma))
    # x_t = signal·x_0 + sigma·ε, [n·k, c, h, w]
    x_t = ops.add_noise(
        x_start[ids], signal, sigma, noise=ops.Noise(seed, ops.stream(ops.Purpose.NOISE, 0), ids)
    )
    rows = torch.cat([x_start[:, None], x_t.unflatten(0, (n, k))], dim=1)  # [n, 1 + k, c, h, w]
    return grid(to_pixels(rows.flatten(0, 1)), columns=1 + k)


def _examples(images: Images) -> Tensor:
    """The first image of each class, or the first images of unlabelled data; at most IMAGES."""
    if images.labels is None:
        return images.pixels[:IMAGES]
    return images.pixels[
        [int((images.labels == label).nonzero()[0]) for label in images.labels.unique()[:IMAGES]]
    ]


def _facts(spec: Spec, table: Table, data: Data) -> list[tuple[str, str]]:
    """The page's table: (label, text) pairs."""

    def block(component: Component) -> str:
        """The component's name and its parameters, except those that are defaults, null or false."""
        parameters = []
        for key, value in component:
            plain = value.spec() if isinstance(value, Component) else value
            if plain not in (None, False, type(component).model_fields[key].get_default()):
                parameters.append(f"{key} {block(value) if isinstance(value, Component) else number(value)}")
        name = component.component_name
        return f"{name} ({', '.join(parameters)})" if parameters else name

    def sampler(component: Sampler) -> str:
        return (
            f"{block(component)}: {component.plan(table, spec.prediction).evaluations:,} network evaluations"
        )

    first, last = (float(table.log_snr[i]) for i in (0, -1))
    left = f"{100 * float(table.signal[-1] / torch.hypot(table.signal[-1], table.sigma[-1])):.2g} %"
    classes = len(data.classes or ()) if spec.model.conditional else 0
    return [
        ("Data", data.summary()),
        ("Schedule", block(spec.schedule)),
        ("Noise levels", f"log-SNR from {first:.4g} to {last:.4g}; the last step keeps {left} of the image"),
        ("Prediction", block(spec.prediction)),
        ("Loss", f"{spec.loss.norm}, weighting {block(spec.loss.weighting)}, time {block(spec.time)}"),
        *([("Classes", f"{classes}, guidance weight {spec.guidance.weight:g}")] if classes else []),
        ("Sampler", sampler(spec.sampler)),
        ("Evaluation sampler", sampler(spec.evaluate.sampler)),
        *(
            ("Note", note)
            for note in [
                *metric_notes(spec, data),
                *spec_notes(spec, table),
                *budget_notes(spec, len(data.train), table),
                *device_notes(spec, choose_device(None)),
            ]
        ),
    ]
