"""Images of all points from the same noise, side by side: `docs/study_grids_<scale>.png`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from study_series import QUESTIONS, tick_of

from ddpmx.claims.found import KnownRuns
from ddpmx.claims.recorded import NAME, read
from ddpmx.comparison.grids import Pixels, read_sheet
from ddpmx.comparison.results import Run
from ddpmx.storage.folder import FINAL

COLUMNS = 8
"""Images of each point: the first ones, column by column from the same noise."""
GAP = 1
"""White pixels between images."""


def strip(run: Run) -> Pixels | None:
    """The first images of a run's final grid in a row: uint8 [side, width, channels]; None without a grid."""
    sheet = read_sheet(run.path / FINAL, run.spec["evaluate"]["grid"])
    if sheet is None:
        return None
    rows, columns, size, channels = sheet.shape
    # [rows, size, columns, size, channels], then [rows·columns, size, size, channels]
    tiles = sheet.pixels.reshape(rows, size, columns, size, channels).swapaxes(1, 2)
    images = tiles.reshape(rows * columns, size, size, channels)[:COLUMNS]
    white = np.full((size, GAP, channels), 255, dtype=np.uint8)
    return np.concatenate([part for image in images for part in (image, white)][:-1], axis=1)


def strips(results: Path, sweep: str) -> Iterator[tuple[str, Pixels]]:
    """Name and images of each point of a sweep whose first seed is published."""
    for point in KnownRuns(results).points(read(results / sweep / NAME)):
        run = next((run for run in point.own if run.seed == point.seeds[0]), None)
        if run is not None and (images := strip(run)) is not None:
            yield tick_of(point.label), images


def write_grids(results: Path, file: Path) -> None:
    """Write the picture: for each question its points, and to the right those of the corrected twin."""
    found = {
        (row, column): list(strips(results, sweep))
        for row, question in enumerate(QUESTIONS.values())
        for column, sweep in enumerate(question.sweeps)
    }
    heights = [max(1, *(len(found[row, column]) for column in (0, 1))) for row in range(len(QUESTIONS))]
    figure = Figure(figsize=(8.6, 0.46 * sum(heights) + 0.5 * len(heights)))
    ratios = [height + 0.9 for height in heights]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for row, (part, question) in enumerate(zip(parts, QUESTIONS.values(), strict=True)):
        part.suptitle(question.title, x=0.01, ha="left", fontsize=9, fontweight="bold")
        cells = part.subplots(heights[row], 4, squeeze=False, width_ratios=(1, COLUMNS, 1, COLUMNS))
        for axes in cells.flat:
            axes.set_axis_off()
        for column, heading in enumerate(question.names):
            names, pictures = cells[:, 2 * column], cells[:, 2 * column + 1]
            pictures[0].set_title(heading, fontsize=7.5, fontweight="normal", pad=3)
            for label, picture, (name, images) in zip(names, pictures, found[row, column], strict=False):
                label.text(1, 0.5, name, ha="right", va="center", fontsize=7.5)
                grey = images[..., 0] if images.shape[2] == 1 else images
                picture.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    figure.savefig(file)
