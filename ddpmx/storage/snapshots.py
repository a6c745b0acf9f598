"""Snapshots of moving averages: `ema/<step>/`, from which averages of other lengths are rebuilt.

    ema.safetensors     the averaged parameters, without buffers
    ema-1.safetensors   those of a further average, in the order of `Ema.decays`
    state.json          the step, and the checksums of the other files

They are written like checkpoints, but which ones are kept is up to the average. The averages of the end of
training are in its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from ..training.ema import Averages
from . import checkpoint_folder
from .sealed import staged


def save(folder: Path, step: int, averages: Averages) -> None:
    """Write the snapshot `folder/<step>`, and delete those that are not kept any longer.

    Raises RunError or OSError if that fails; earlier snapshots stay intact.
    """
    parts = {
        name: dict(module.named_parameters(remove_duplicate=False))
        for name, module in averages.named().items()
    }
    with staged(folder / str(step), parts, {"train": {"step": step}, "optimizer": {}}) as temporary:
        temporary.rename(folder / str(step))
    checkpoint_folder.sync(folder)
    checkpoint_folder.prune(folder, averages.ema.kept(step))
