"""Opens an existing run: its folder, its spec with overrides, and its network with loaded weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from ..errors import SpecError
from ..spec.evaluation import WeightsSpec
from ..spec.loading import Override, load_run
from ..spec.schema import Spec
from ..storage import checkpoint, checkpoint_folder
from ..storage.folder import RunFolder, checkpoints_of
from ..storage.provenance import ALLOW, DataRecord, difference, refuse_changed, without_images
from ..storage.rebuilt import averaged_weights
from ..terminal.console import say
from ..training.experiment import Experiment, build


class RunData(Enum):
    """Which data a command needs of the run it opens."""

    SHAPE = "only the shape and classes of the images"
    SAME = "the images, unchanged since the run"
    ANY = "the images, even if they have changed"


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """An existing run whose weights are loaded."""

    folder: RunFolder
    """The run's folder."""
    experiment: Experiment
    """The run's experiment; its network has the loaded weights."""
    weights: Path
    """The file that the weights were loaded from."""

    @property
    def spec(self) -> Spec:
        """The run's spec with the overrides applied."""
        return self.experiment.spec


def open_run(
    run: Path,
    overrides: Iterable[Override],
    device: torch.device,
    weights: str | None = None,
    data: RunData = RunData.SHAPE,
) -> OpenedRun:
    """Open a run with the weights `best`, `last` or those of a safetensors file; None: its spec's `weights`.

    Raises SpecError if the run's images are needed but have changed, unless `data` allows that or an override
    names another data set.
    """
    overrides = tuple(overrides)
    folder = RunFolder(run)
    spec = load_run(run, overrides)
    for note in spec.notes:
        say(f"note: {note}")
    if weights is None:
        with spec.blame("weights"):
            file, _ = choose_weights(run, spec.weights)
    else:
        file = checkpoint.weights_file(run, weights)
    other_data = any(
        isinstance(change, str) and change.partition("=")[0].strip().split(".")[0] == "dataset"
        for change in overrides
    )
    shape = None if other_data or data is not RunData.SHAPE else without_images(folder)
    experiment = build(spec, device, shape)
    if shape is None and not other_data:
        present = DataRecord.from_data(experiment.data)
        if data is RunData.SAME:
            hint = f"add {ALLOW} to use the present data, or name another data set with -s dataset=…"
            refuse_changed(spec, folder, present, hint)
        elif change := difference(folder, present):
            say(f"warning: {change}")
    checkpoint.load_weights(experiment.network, file)
    return OpenedRun(folder, experiment, file)


def choose_weights(run: Path, weights: WeightsSpec) -> tuple[Path, int]:
    """The file with the weights that a spec's `weights` names, and their training step.

    Raises SpecError if the run does not have them.
    """
    folder = checkpoints_of(run)
    if isinstance(weights.checkpoint, int):
        found = folder / str(weights.checkpoint)
        if weights.checkpoint not in (kept := checkpoint_folder.steps(folder)):
            hint = f"kept: {', '.join(map(str, kept)) or 'none'}; train.keep_every keeps more"
            text = f"{run} has no checkpoint of step {weights.checkpoint}"
            raise SpecError(text, field="checkpoint", hint=hint)
    else:
        found = checkpoint.weights_file(run, weights.checkpoint).parent
    # in a copied run, `best` and `last` may be folders of their own
    step = int(found.name) if found.name.isdecimal() else checkpoint.counters(found).step
    if weights.ema_std == 0:
        return found / "model.safetensors", step
    if weights.ema_std:
        try:
            return averaged_weights(run, weights.ema_std), step
        except SpecError as error:
            raise error.at("ema_std", None) from None
    averaged = found / "ema.safetensors"
    return averaged if averaged.exists() else found / "model.safetensors", step
