"""The tracker that writes TensorBoard's event files."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..components.registry import TRACKERS
from .base import (
    Event,
    Tracker,
    TrackerSession,
    flattened,
    intervals,
    require,
    sample_grid_file,
    sample_grid_tag,
    scalars,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """TensorBoard: curves, sample grids and the spec, in the run's folder. View: `tensorboard --logdir runs`.

    Values over the timesteps are under Histograms: t is the horizontal axis, and evaluations are stacked in
    depth.
    """

    def check(self) -> None:
        require("torch.utils.tensorboard", "tensorboard")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> TrackerSession:
        return TensorBoardSession(require("torch.utils.tensorboard", "tensorboard"), folder, config, resume)


class TensorBoardSession:
    """One run's event files, written with torch's SummaryWriter."""

    def __init__(
        self, tensorboard: ModuleType, folder: Path, config: dict[str, object], resume: bool
    ) -> None:
        self._tensorboard, self._folder, self._config, self._resume = tensorboard, folder, config, resume
        self._writer: SummaryWriter | None = None  # opened at the first event, which has the first step
        self._results: dict[str, float] = {}

    def log(self, event: Event) -> None:
        if event["event"] == "end":
            return
        if self._writer is None:
            self._writer = self._open(event["step"] if self._resume else None)
            self._writer.add_text("spec", f"```\n{json.dumps(self._config, indent=2)}\n```", event["step"])
        elif event.get("action") == "rollback":
            self._writer.close()
            self._writer = self._open(event["step"] + 1)
        values = scalars(event) | intervals(event)
        for name, value in values.items():
            self._writer.add_scalar(name, value, event["step"])
        self._results |= {name: value for name, value in values.items() if name.startswith("metrics/")}
        if event["event"] == "per_t":
            for key in ("loss", "share", "bits"):
                self._writer.add_histogram_raw(
                    f"per_t/{key}", **_over_t(event["t"], event[key]), global_step=event["step"]
                )
        if event["event"] == "samples":
            self._writer.add_image(
                sample_grid_tag(event),
                _pixels(sample_grid_file(self._folder, event)),
                event["step"],
                dataformats="HWC",
            )

    def _open(self, purge: int | None) -> SummaryWriter:
        """Open a new file. It replaces everything from step `purge` on, which the run is about to repeat."""
        writer: SummaryWriter = self._tensorboard.SummaryWriter(
            str(self._folder / "tensorboard"), purge_step=purge
        )
        return writer

    def close(self, status: str) -> None:
        if self._writer is not None:
            hparams = {
                key: value
                for key, value in flattened(self._config).items()
                if isinstance(value, bool | int | float | str)
            }
            results = {f"final/{name}": value for name, value in self._results.items()}
            self._writer.add_hparams({**hparams, "status": status}, results, run_name=".")
            self._writer.close()


def _over_t(t: list[float], values: list[float | None]) -> dict[str, object]:
    """A curve over t as a histogram with its values as bars, since TensorBoard stacks histograms in depth."""
    centres, bars = np.array(t), np.array([value or 0.0 for value in values])
    inner = (centres[1:] + centres[:-1]) / 2
    edges = (
        np.array([2 * centres[0] - inner[0], *inner, 2 * centres[-1] - inner[-1]])
        if len(inner)
        else centres[0] + np.array([-0.5, 0.5])
    )
    moments = {"num": bars.sum(), "sum": bars @ centres, "sum_squares": bars @ centres**2}
    return {
        "min": edges[0],
        "max": edges[-1],
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": bars.tolist(),
        **moments,
    }


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A PNG as uint8 [height, width, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
