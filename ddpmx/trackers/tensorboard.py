"""TensorBoard's event files."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..components.registry import TRACKERS
from .base import Event, Session, Tracker, flattened, intervals, picture_file, picture_tag, require, scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """TensorBoard: curves, sample grids and the spec in the run's folder; `tensorboard --logdir runs` shows them.

    What an evaluation measures over the timesteps is below Histograms: t to the right, evaluations behind each other.
    """

    def check(self) -> None:
        require("torch.utils.tensorboard", "tensorboard")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> Session:
        return TensorBoardSession(require("torch.utils.tensorboard", "tensorboard"), folder, config, resume)


class TensorBoardSession:
    def __init__(
        self, tensorboard: ModuleType, folder: Path, config: dict[str, object], resume: bool
    ) -> None:
        self._tensorboard, self._folder, self._config, self._resume = tensorboard, folder, config, resume
        self._writer: SummaryWriter | None = None  # the first step is known only at the first event
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
                picture_tag(event),
                _pixels(picture_file(self._folder, event)),
                event["step"],
                dataformats="HWC",
            )

    def _open(self, purge: int | None) -> SummaryWriter:
        """A new file, which replaces what the earlier ones have from step `purge` on: the run makes that again."""
        writer: SummaryWriter = self._tensorboard.SummaryWriter(
            str(self._folder / "tensorboard"), purge_step=purge
        )
        return writer

    def close(self, status: str) -> None:
        if self._writer is not None:
            plain = {
                key: value
                for key, value in flattened(self._config).items()
                if isinstance(value, bool | int | float | str)
            }
            results = {f"final/{name}": value for name, value in self._results.items()}
            self._writer.add_hparams({**plain, "status": status}, results, run_name=".")
            self._writer.close()


def _over_t(t: list[float], values: list[float | None]) -> dict[str, object]:
    """A curve over t as a histogram whose bars are its values: TensorBoard shows those of all evaluations behind each other."""
    middle, bars = np.array(t), np.array([value or 0.0 for value in values])
    inner = (middle[1:] + middle[:-1]) / 2
    edges = (
        np.array([2 * middle[0] - inner[0], *inner, 2 * middle[-1] - inner[-1]])
        if len(inner)
        else middle[0] + np.array([-0.5, 0.5])
    )
    moments = {"num": bars.sum(), "sum": bars @ middle, "sum_squares": bars @ middle**2}
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
