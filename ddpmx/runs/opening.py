"""Opening an existing run: its folder, its spec as overrides change it, and its weights in the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from ..spec.loading import Override, load_run
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.folder import RunFolder
from ..storage.provenance import ALLOW, DataRecord, difference, refuse_changed, without_images
from ..terminal.console import say
from ..training.experiment import Experiment, build


class RunData(Enum):
    """What opening a run needs of its data."""

    SHAPE = "shape and classes of the images"
    SAME = "the images, unchanged since the run"
    ANY = "the images, as they are now"


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """An existing run whose weights are in its network."""

    folder: RunFolder
    experiment: Experiment
    weights: Path
    """The file that the network's weights came from."""

    @property
    def spec(self) -> Spec:
        """The run's spec with the overrides that it was opened with."""
        return self.experiment.spec


def open_run(
    run: Path,
    overrides: Iterable[Override],
    device: torch.device,
    weights: str,
    data: RunData = RunData.SHAPE,
) -> OpenedRun:
    """Open a run with `weights`: `best`, `last` or a safetensors file.

    Raises SpecError where its images are needed and have changed, unless `data` allows that or an override names others.
    """
    overrides = tuple(overrides)
    folder = RunFolder(run)
    spec = load_run(run, overrides)
    for note in spec.notes:
        say(f"note: {note}")
    file = checkpoint.weights_file(run, weights)
    others = any(
        isinstance(change, str) and change.partition("=")[0].strip().split(".")[0] == "dataset"
        for change in overrides
    )
    shape = None if others or data is not RunData.SHAPE else without_images(folder)
    experiment = build(spec, device, shape)
    if shape is None and not others:
        present = DataRecord.from_data(experiment.data)
        if data is RunData.SAME:
            hint = f"{ALLOW} measures with them as they are; -s dataset=… names others"
            refuse_changed(spec, folder, present, hint)
        elif what := difference(folder, present):
            say(f"warning: {what}")
    checkpoint.load_weights(experiment.network, file)
    return OpenedRun(folder, experiment, file)
