"""Checks of a run's folder before anything is read or written there: it may come from someone else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SpecError
from .shared_training import FILE

FILES = (
    *("spec.yaml", "status.json", "environment.json", "metrics.jsonl", "log.csv", "report.html", ".lock"),
    FILE,
)
FOLDERS = ("samples", "checkpoints", "draws", "ema", "plots", "plugins")


def refuse_links_out(run: Path) -> None:
    """Raise SpecError for a link that leads out of the folder, since ddpmx would write through it."""
    root = run.resolve()
    for folder, folders, files in os.walk(root):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise SpecError(
                    f"{entry} is a link out of the run's folder, and ddpmx would write through it",
                    hint="replace the link with a copy of what it points to",
                )
        if Path(folder) == root and "wandb" in folders:
            folders.remove("wandb")  # W&B links to its own logs; ddpmx writes nothing there


def refuse_other_kinds(run: Path) -> None:
    """Raise SpecError if a file of the run is not a regular file, or a folder of the run is not a folder."""
    for names, is_kind, kind in ((FILES, stat.S_ISREG, "file"), (FOLDERS, stat.S_ISDIR, "folder")):
        for name in names:
            path = run / name
            if os.path.lexists(path) and not is_kind(path.stat().st_mode):
                raise SpecError(f"{path} is not a {kind}, so this is not a run's folder written by ddpmx")
